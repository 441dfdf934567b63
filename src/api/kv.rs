//! Service `etcdserverpb.KV`.

use super::call::Call;
use super::service::{Service, another_kind, reply};
use super::{Replica, status};
use crate::kv::{self, Op};
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::request_op::Request as Nested;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Kv for Service<R> {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let call = self.call(&request)?;
        let r = request.into_inner();
        kv::check_range(&r).map_err(status::of_kv)?;
        let view = self.view(r.serializable, call).await?;
        let mut response = match is_short(&r) {
            true => view.range(&r, &*self.replica().rows()).map_err(status::of_kv)?,
            false => self.scan(move |rows| view.range(&r, rows)).await?,
        };
        self.fill(&mut response.header);
        reply(response)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let call = self.call(&request)?;
        match self.write(Op::Put(request.into_inner()), call).await? {
            kv::Response::Put(mut response) => {
                self.fill(&mut response.header);
                reply(response)
            }
            other => Err(another_kind(other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let call = self.call(&request)?;
        match self.write(Op::DeleteRange(request.into_inner()), call).await? {
            kv::Response::DeleteRange(mut response) => {
                self.fill(&mut response.header);
                reply(response)
            }
            other => Err(another_kind(other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let call = self.call(&request)?;
        let r = request.into_inner();
        let mut response = if kv::reads_only(&r) {
            let op = Op::Txn(r);
            kv::check(&op, &self.limits().request).map_err(status::of_kv)?;
            let Op::Txn(r) = op else { unreachable!("it was just made") };
            let view = self.view(is_serializable(&r), call).await?;
            match is_short_txn(&r) {
                true => view.txn(&r, &*self.replica().rows()).map_err(status::of_kv)?,
                false => self.scan(move |rows| view.txn(&r, rows)).await?,
            }
        } else {
            match self.write(Op::Txn(r), call).await? {
                kv::Response::Txn(response, _) => response,
                other => return Err(another_kind(other)),
            }
        };
        // Those of the nested responses have the revision only, as etcd's do.
        self.fill(&mut response.header);
        reply(response)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let call = self.call(&request)?;
        match self.write(Op::Compact(request.into_inner()), call).await? {
            kv::Response::Compact(mut response) => {
                self.fill(&mut response.header);
                reply(response)
            }
            other => Err(another_kind(other)),
        }
    }
}

impl<R: Replica> Service<R> {
    async fn write(&self, op: Op, call: Call) -> Result<kv::Response, Status> {
        let mut response = self.execute(op, call).await?;
        match &response {
            kv::Response::Txn(_, unresolved) if !unresolved.is_empty() => {
                self.scan(move |rows| response.resolve(rows).map(|()| response)).await
            }
            _ => Ok(response),
        }
    }
}

/// Whether a read is over before another task would miss the thread: one key, its newest version,
/// which is in memory.
fn is_short(r: &RangeRequest) -> bool {
    r.range_end.is_empty() && r.revision <= 0
}

fn is_short_txn(r: &TxnRequest) -> bool {
    r.compare.iter().all(|c| c.range_end.is_empty()) && ranges(r, is_short)
}

/// Whether a transaction that only reads asks for no more than what this replica has. One without
/// any range does not say so.
fn is_serializable(r: &TxnRequest) -> bool {
    !(r.success.is_empty() && r.failure.is_empty()) && ranges(r, |r| r.serializable)
}

/// Whether all ranges of a transaction, nested ones included, are as wanted.
fn ranges(r: &TxnRequest, wanted: fn(&RangeRequest) -> bool) -> bool {
    r.success.iter().chain(&r.failure).all(|op| match &op.request {
        Some(Nested::RequestRange(r)) => wanted(r),
        Some(Nested::RequestTxn(r)) => ranges(r, wanted),
        Some(Nested::RequestPut(_) | Nested::RequestDeleteRange(_)) | None => true,
    })
}

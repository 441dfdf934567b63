//! Service `etcdserverpb.KV`.

use super::call::Call;
use super::cost::{is_serializable, is_short, is_short_txn};
use super::outflow::{Connection, Reserved};
use super::service::{Service, another_kind, reply, reply_in};
use super::{Replica, status};
use crate::kv::{self, Op};
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl<R: Replica> Kv for Service<R> {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let (call, connection) = (self.call(&request)?, self.connection(&request));
        let r = request.into_inner();
        kv::check_range(&r).map_err(status::of_kv)?;
        let view = self.view(r.serializable, call).await?;
        let max = self.limits().reply_bytes;
        let (mut response, room) = match is_short(&r) {
            true => (view.range(&r, &*self.replica().rows(), max).map_err(status::of_kv)?, None),
            false => {
                let (first, again) = ((view.clone(), r.clone()), (view, r));
                let bytes = move || first.0.range_bytes(&first.1, max);
                self.read(&connection, call, bytes, move |rows| again.0.range(&again.1, rows, max)).await?
            }
        };
        self.fill(&mut response.header);
        reply_in(room, response)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let call = self.call(&request)?;
        match self.execute(Op::Put(request.into_inner()), call).await? {
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
        let (call, connection) = (self.call(&request)?, self.connection(&request));
        match self.write(Op::DeleteRange(request.into_inner()), call, &connection).await? {
            (kv::Response::DeleteRange(mut response), room) => {
                self.fill(&mut response.header);
                reply_in(room, response)
            }
            (other, _) => Err(another_kind(other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (call, connection) = (self.call(&request)?, self.connection(&request));
        let r = request.into_inner();
        let (mut response, room) = if kv::reads_only(&r) {
            self.read_txn(r, call, &connection).await?
        } else {
            match self.write(Op::Txn(r), call, &connection).await? {
                (kv::Response::Txn(response, _), room) => (response, room),
                (other, _) => return Err(another_kind(other)),
            }
        };
        // Those of the nested responses have the revision only, as etcd's do.
        self.fill(&mut response.header);
        reply_in(room, response)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let call = self.call(&request)?;
        match self.execute(Op::Compact(request.into_inner()), call).await? {
            kv::Response::Compact(mut response) => {
                self.fill(&mut response.header);
                reply(response)
            }
            other => Err(another_kind(other)),
        }
    }
}

/// A response, and the room that is reserved for it.
type Roomed<T> = (T, Option<Arc<Reserved>>);

impl<R: Replica> Service<R> {
    async fn read_txn(
        &self,
        r: TxnRequest,
        call: Call,
        connection: &Arc<Connection>,
    ) -> Result<Roomed<TxnResponse>, Status> {
        let op = Op::Txn(r);
        kv::check(&op, &self.limits().request).map_err(status::of_kv)?;
        let Op::Txn(r) = &op else { unreachable!("it was just made") };
        let view = self.view(is_serializable(r), call).await?;
        let max = self.limits().reply_bytes;
        if is_short_txn(r) {
            let response = view.txn(r, &*self.replica().rows(), max);
            return Ok((response.map_err(status::of_kv)?, None));
        }
        let (again, txn) = (view.clone(), r.clone());
        let bytes = move || view.bytes_of(&op, max);
        self.read(connection, call, bytes, move |rows| again.txn(&txn, rows, max)).await
    }

    async fn write(
        &self,
        op: Op,
        call: Call,
        connection: &Arc<Connection>,
    ) -> Result<Roomed<kv::Response>, Status> {
        kv::check(&op, &self.limits().request).map_err(status::of_kv)?;
        let room = self.afford(&op, call, connection).await?;
        let mut response = self.execute(op, call).await?;
        let response = match &response {
            kv::Response::Txn(_, unresolved) if !unresolved.is_empty() => {
                let max = self.limits().reply_bytes;
                self.scan(move |rows| response.resolve(rows, max).map(|()| response)).await?
            }
            _ => response,
        };
        Ok((response, room))
    }
}

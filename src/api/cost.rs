//! What a command would cost, asked before it is proposed: a refusal here is cheaper than one by every
//! replica, and what a reply says of the past is checked nowhere else.

use super::Replica;
use super::call::Call;
use super::outflow::{Connection, Reserved, SHORT};
use super::service::Service;
use crate::kernel::Rows;
use crate::kv::{self, Op, View};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{DeleteRangeRequest, RangeRequest, TxnRequest};
use std::sync::Arc;
use tonic::Status;

impl<R: Replica> Service<R> {
    /// Refuses a command that the state here would refuse for its cost, and reserves room for its reply.
    /// The state may have changed when the command is executed, which therefore asks again.
    pub(super) async fn afford(
        &self,
        op: &Op,
        call: Call,
        connection: &Arc<Connection>,
    ) -> Result<Option<Arc<Reserved>>, Status> {
        let bytes = match self.bytes_of(op, call).await {
            Ok(bytes) => bytes,
            Err(why) if call.session.is_none() => return Err(why),
            // A call that is repeated is answered as it was, whatever it would cost now.
            Err(_) => self.limits().reply_bytes,
        };
        self.reserve(connection, bytes, call).await
    }

    /// Room for a reply of so many bytes; none, where it is short enough to be made first.
    async fn reserve(
        &self,
        connection: &Arc<Connection>,
        bytes: u64,
        call: Call,
    ) -> Result<Option<Arc<Reserved>>, Status> {
        match bytes {
            ..=SHORT => Ok(None),
            _ => self.outflow().reserve(connection, bytes, call.patience).await.map(Some),
        }
    }

    /// Reads in a view, off the async threads: what is long only once there is room for it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        connection: &Arc<Connection>,
        call: Call,
        bytes: impl FnOnce() -> Result<u64, kv::Error> + Send + 'static,
        read: impl FnOnce(&dyn Rows) -> Result<T, kv::Error> + Send + 'static,
    ) -> Result<(T, Option<Arc<Reserved>>), Status> {
        let first = self.scan(move |rows| match bytes()? {
            ..=SHORT => read(rows).map(Ok),
            bytes => Ok(Err((bytes, read))),
        });
        match first.await? {
            Ok(short) => Ok((short, None)),
            Err((bytes, read)) => {
                let room = self.reserve(connection, bytes, call).await?;
                Ok((self.scan(read).await?, room))
            }
        }
    }

    async fn bytes_of(&self, op: &Op, call: Call) -> Result<u64, Status> {
        let newest = match op {
            Op::DeleteRange(r) if !is_short_delete(r) => 0,
            Op::Txn(r) if !is_short_txn(r) => newest(r),
            _ => return Ok(0),
        };
        let Some(view) = self.view_at(newest, call).await? else { return Ok(0) };
        let (op, max) = (op.clone(), view.budget().reply_bytes);
        self.scan(move |_| view.bytes_of(&op, max)).await
    }

    /// A view that has reached a revision, if anybody was ever told of it.
    async fn view_at(&self, revision: i64, call: Call) -> Result<Option<View>, Status> {
        match self.replica().view() {
            Some(view) if view.revision() < revision => Ok(Some(self.view(false, call).await?)),
            view => Ok(view),
        }
    }
}

/// Whether a read is over before another task would miss the thread: one key, its newest version,
/// which is in memory.
pub(super) fn is_short(r: &RangeRequest) -> bool {
    r.range_end.is_empty() && r.revision <= 0
}

fn is_short_delete(r: &DeleteRangeRequest) -> bool {
    r.range_end.is_empty()
}

/// The same for a transaction: a few of them.
pub(super) fn is_short_txn(r: &TxnRequest) -> bool {
    r.compare.iter().all(|c| c.range_end.is_empty())
        && all(r, &|op| match op {
            Request::RequestRange(r) => is_short(r),
            Request::RequestDeleteRange(r) => is_short_delete(r),
            Request::RequestPut(_) => true,
            Request::RequestTxn(r) => is_short_txn(r),
        })
}

/// Whether a transaction that only reads asks for no more than what this replica has. One without
/// any range does not say so.
pub(super) fn is_serializable(r: &TxnRequest) -> bool {
    !(r.success.is_empty() && r.failure.is_empty()) && ranges(r, &|r| r.serializable)
}

/// Whether all ranges of a transaction, nested ones included, are as wanted.
fn ranges(r: &TxnRequest, wanted: &dyn Fn(&RangeRequest) -> bool) -> bool {
    all(r, &|op| match op {
        Request::RequestRange(r) => wanted(r),
        Request::RequestTxn(r) => ranges(r, wanted),
        Request::RequestPut(_) | Request::RequestDeleteRange(_) => true,
    })
}

/// The newest revision that a transaction asks for by its number.
fn newest(r: &TxnRequest) -> i64 {
    let newest_of = |op: &Request| match op {
        Request::RequestRange(r) => r.revision,
        Request::RequestTxn(r) => newest(r),
        Request::RequestPut(_) | Request::RequestDeleteRange(_) => 0,
    };
    let ops = r.success.iter().chain(&r.failure).filter_map(|op| op.request.as_ref());
    ops.map(newest_of).max().unwrap_or(0)
}

fn all(r: &TxnRequest, holds: &dyn Fn(&Request) -> bool) -> bool {
    r.success.iter().chain(&r.failure).filter_map(|op| op.request.as_ref()).all(holds)
}

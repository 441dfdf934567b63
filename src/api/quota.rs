//! The quota: what may still be added.

use super::call::Call;
use super::service::Service;
use super::{Replica, status};
use crate::kv::{Error, Op};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{AlarmRequest, AlarmType, PutRequest, RequestOp, TxnRequest};
use tonic::Status;

impl<R: Replica> Service<R> {
    /// Refuses what adds anything while the space alarm is on, and an operation that would exceed the
    /// quota; that raises the alarm, which goes through the log: from then on every replica refuses
    /// what adds anything, until the alarm is disarmed.
    ///
    /// The check itself is not part of the log. Replicas with another quota, or a view that is a
    /// little behind, may let some more operations pass: the state machine does not depend on it.
    pub(super) async fn make_room(&self, op: &Op, call: Call) -> Result<(), Status> {
        if op.grows() {
            self.has_room()?;
        }
        let cost = match op {
            Op::Put(r) => cost(r),
            Op::Txn(r) => cost_txn(r),
            Op::DeleteRange(_) | Op::Compact(_) | Op::Alarm(_) => 0,
            Op::OpenSession | Op::CloseSession(_) => 0,
        };
        let quota = self.limits().quota;
        let Some(view) = self.replica().view().filter(|_| cost > 0 && quota > 0) else { return Ok(()) };
        let bytes = view.size().bytes;
        if bytes.saturating_add(cost) <= quota {
            return Ok(());
        }
        tracing::warn!(bytes, quota, "the quota is reached: compact, then disarm the alarm");
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.member_id(),
            alarm: AlarmType::Nospace.into(),
        };
        // Whatever becomes of it, this operation is refused.
        let _ = self.replica().execute(Op::Alarm(alarm).into(), call.patience).await;
        Err(status::of_kv(Error::NoSpace))
    }

    /// Refuses what adds anything, while the space alarm is on, before it comes near the log. (The
    /// stack looks again, with the newest state there is.)
    pub(super) fn has_room(&self) -> Result<(), Status> {
        match self.replica().view() {
            Some(view) if view.is_full() => Err(status::of_kv(Error::NoSpace)),
            Some(_) | None => Ok(()),
        }
    }
}

fn cost(r: &PutRequest) -> u64 {
    (r.key.len() + r.value.len()) as u64
}

/// Of the more expensive branch.
fn cost_txn(r: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(r)) => cost(r),
                Some(Request::RequestTxn(r)) => cost_txn(r),
                Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
            })
            .sum::<u64>()
    };
    branch(&r.success).max(branch(&r.failure))
}

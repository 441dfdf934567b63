//! Views: the state after a prefix of the log, for readers on their own threads.

use super::keyspace::Keyspace;
use super::meter::{Budget, Meter};
use super::range::{Holes, Unreadable, select};
use super::txn::Execution;
use super::{Error, Op, check_range};
use crate::kernel::Rows;
use crate::proto::etcdserverpb::{
    AlarmMember, AlarmType, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use imbl::OrdSet;

/// An immutable state of the store. Cloning is O(1): views share their structure with each other
/// and with the state machine.
#[derive(Clone)]
pub struct View {
    pub(super) space: Keyspace,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) applied: u64,
    /// Alarm and member.
    pub(super) alarms: OrdSet<(i32, u64)>,
    pub(super) budget: Budget,
}

/// How much there is. Counts are of the whole store; bytes are estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys that exist.
    pub keys: u64,
    /// Versions of keys, tombstones included, as far as they are not cleaned up.
    pub versions: u64,
    /// Keys and values of all versions, in bytes: etcd's `dbSize`, the quota counts it.
    pub bytes: u64,
    /// Keys and values of the keys that exist, in bytes: etcd's `dbSizeInUse`.
    pub live_bytes: u64,
    /// Bytes of rows on disk, as they were written.
    pub row_bytes: u64,
    /// Bytes of memory that the index and the values take.
    pub memory: u64,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.revision)
            .field("compacted", &self.compacted)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl View {
    pub(super) fn new() -> Self {
        View {
            space: Keyspace::default(),
            revision: 1,
            compacted: -1,
            applied: 0,
            alarms: OrdSet::new(),
            budget: Budget::default(),
        }
    }

    /// The current revision. An empty store is at 1.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction: reads below it are refused. −1 before the first.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The length of the log prefix that led here.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Alarms that are on, of all members.
    pub fn alarms(&self) -> impl Iterator<Item = AlarmMember> {
        self.alarms.iter().map(|&(alarm, member_id)| AlarmMember { member_id, alarm })
    }

    /// What a transaction may cost.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Reads a range, which answers `max_bytes` at most. Blocks where it reads superseded versions,
    /// which are on disk. The header has the current revision only.
    pub fn range(&self, r: &RangeRequest, rows: &dyn Rows, max_bytes: u64) -> Result<RangeResponse, Error> {
        let mut meter = Meter::new(Budget { reply_bytes: max_bytes, ..Budget::NONE });
        let (mut response, holes) = self.select(r, &mut meter)?;
        holes.fill(&mut response, rows).map_err(|e| match e {
            // A compaction that this view does not know yet.
            Unreadable::Gone => Error::Compacted,
            Unreadable::Disk(e) => Error::Disk(e),
        })?;
        Ok(response)
    }

    /// The bytes that a range answers, if they are `max_bytes` at most. Reads nothing from disk.
    pub fn range_bytes(&self, r: &RangeRequest, max_bytes: u64) -> Result<u64, Error> {
        let mut meter = Meter::making(Budget { reply_bytes: max_bytes, ..Budget::NONE }, 0);
        self.select(r, &mut meter)?;
        Ok(meter.bytes())
    }

    fn select(&self, r: &RangeRequest, meter: &mut Meter) -> Result<(RangeResponse, Holes), Error> {
        check_range(r)?;
        if self.has(AlarmType::Corrupt) {
            return Err(Error::Corrupt);
        }
        select(&self.space, r, self.revision, self.compacted, meter)
    }

    /// Executes a transaction on a copy: for those that only read, and answer `max_bytes` at most. Blocks
    /// as [`View::range`] does.
    pub fn txn(&self, r: &TxnRequest, rows: &dyn Rows, max_bytes: u64) -> Result<TxnResponse, Error> {
        let mut meter = Meter::new(Budget { reply_bytes: max_bytes, ..self.budget });
        let (mut response, unresolved) = self.execute(&mut meter, |txn| txn.txn(r))?;
        unresolved.read(&mut response, rows, &mut meter)?;
        Ok(response)
    }

    /// The bytes that a command would answer here and now, if they are `max_bytes` at most and it looks at
    /// no more keys than it may. Changes nothing, and reads nothing from disk.
    pub fn bytes_of(&self, op: &Op, max_bytes: u64) -> Result<u64, Error> {
        let mut meter = Meter::making(Budget { reply_bytes: max_bytes, ..self.budget }, 0);
        match op {
            Op::Txn(r) => self.execute(&mut meter, |txn| txn.txn(r))?.1.count(&mut meter)?,
            Op::DeleteRange(r) => self.execute(&mut meter, |txn| txn.find(r).map(|_| ()))?,
            Op::Put(_) | Op::Compact(_) | Op::Alarm(_) | Op::OpenSession | Op::CloseSession(_) => {}
        }
        Ok(meter.bytes())
    }

    fn execute<T>(
        &self,
        meter: &mut Meter,
        f: impl FnOnce(&mut Execution<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.has(AlarmType::Corrupt) {
            return Err(Error::Corrupt);
        }
        let View { mut space, revision, compacted, .. } = self.clone();
        f(&mut Execution::new(&mut space, revision, compacted, meter))
    }

    /// How much there is.
    pub fn size(&self) -> Size {
        self.space.size()
    }

    /// Whether space is short: the alarm `NOSPACE` is on, of whichever member.
    pub fn is_full(&self) -> bool {
        self.has(AlarmType::Nospace)
    }

    pub(super) fn has(&self, alarm: AlarmType) -> bool {
        let alarm = i32::from(alarm);
        self.alarms.get_next(&(alarm, 0)).is_some_and(|(on, _)| *on == alarm)
    }
}

const _: () = {
    const fn readers_may_hold_it_on_any_thread<T: Send + Sync>() {}
    readers_may_hold_it_on_any_thread::<View>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{DiskError, Row, RowKey};
    use crate::kv::{Machine, Response};
    use crate::proto::etcdserverpb::{PutRequest, RequestOp, request_op::Request};

    struct NoRows;

    impl Rows for NoRows {
        fn row(&self, _: RowKey) -> Result<Option<bytes::Bytes>, DiskError> {
            Ok(None)
        }
        fn scan(&self, _: RowKey, _: u64, _: usize) -> Result<Vec<Row>, DiskError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_transaction_on_a_view_answers_as_the_machine_does_and_changes_nothing() {
        let mut machine = Machine::new();
        let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        machine.apply(0, &Op::Put(put.clone()).into()).unwrap();
        let range = RangeRequest { key: "k".into(), ..Default::default() };
        let ops = [Request::RequestRange(range.clone()), Request::RequestPut(put)];
        let ops = ops.map(|request| RequestOp { request: Some(request) });
        let txn = TxnRequest { success: ops.to_vec(), ..Default::default() };
        let view = machine.view();
        let seen = view.txn(&txn, &NoRows, u64::MAX).unwrap();
        assert_eq!(view.revision(), 2);
        assert_eq!(view.range(&range, &NoRows, u64::MAX).unwrap().kvs[0].version, 1);
        let Ok(Response::Txn(done, _)) = machine.apply(1, &Op::Txn(txn).into()) else { panic!("no txn") };
        assert_eq!(seen, done);
    }
}

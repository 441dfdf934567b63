//! Tests of the state machine as a whole.

mod budget;
mod checkpoint;
mod machine;
mod model;
mod random;
mod range;
mod session;
mod txn;

use super::*;
use crate::kernel::{Bounds, Config, DiskError, Mutants, Row, RowKey, Rows, SharedBounds};
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::*;
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a process alone is told at boot.
fn config(shared: SharedBounds, mutants: Mutants) -> Config {
    Config { bounds: Bounds { shared, ..Bounds::default() }, mutants, ..Config::of(0, 1) }
}

/// The durable image of a replica's disk: rows and metadata.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub rows: BTreeMap<RowKey, Bytes>,
    pub meta: Option<Bytes>,
}

impl Image {
    /// Stores a piece, as one batch; true when it was the last one.
    pub fn store(&mut self, piece: Piece) -> bool {
        let (puts, deletes, meta) = match piece {
            Piece::More { puts, deletes } => (puts, deletes, None),
            Piece::Finished { puts, deletes, meta } => (puts, deletes, Some(meta)),
        };
        for key in deletes {
            assert!(self.rows.remove(&key).is_some(), "{key:?} was there");
            assert!(puts.iter().all(|(put, _)| *put != key), "{key:?} is written and deleted");
        }
        self.rows.extend(puts);
        let finished = meta.is_some();
        self.meta = meta.or(self.meta.take());
        finished
    }

    /// Boots from the image.
    pub fn boot(&self) -> Result<Machine, Damaged> {
        let mut loader = self.meta.clone().map_or(Ok(Loader::empty()), Loader::new)?;
        for (key, row) in &self.rows {
            loader.row(*key, row.clone())?;
        }
        loader.finish()
    }

    /// Makes a whole checkpoint.
    pub fn checkpoint(&mut self, machine: &mut Machine) {
        machine.checkpoint_begin();
        while !self.store(machine.checkpoint_step(4096)) {}
    }
}

impl Rows for Image {
    fn row(&self, key: RowKey) -> Result<Option<Bytes>, DiskError> {
        Ok(self.rows.get(&key).cloned())
    }

    fn scan(&self, from: RowKey, end: u64, _max_bytes: usize) -> Result<Vec<Row>, DiskError> {
        let of = |key: &RowKey| key.generation == from.generation && key.main < end;
        Ok(self.rows.range(from..).take_while(|(key, _)| of(key)).map(|(k, v)| (*k, v.clone())).collect())
    }
}

/// A machine with its log's length and its disk: a test reads like a transcript.
#[derive(Default)]
pub(super) struct Store {
    pub machine: Machine,
    pub disk: Image,
    pub log: u64,
}

impl Store {
    pub fn try_do(&mut self, command: impl Into<Command>) -> Reply {
        let mut reply = self.machine.apply(self.log, &command.into());
        self.log += 1;
        if let Ok(response) = &mut reply {
            response.resolve(&self.disk, u64::MAX)?;
        }
        reply
    }

    pub fn put(&mut self, key: &str, value: &str) -> PutResponse {
        match self.try_do(put(key, value)) {
            Ok(Response::Put(r)) => r,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, key: &str, end: &str) -> DeleteRangeResponse {
        match self.try_do(Op::DeleteRange(delete(key, end))) {
            Ok(Response::DeleteRange(r)) => r,
            other => panic!("{other:?}"),
        }
    }

    pub fn txn(&mut self, r: TxnRequest) -> TxnResponse {
        match self.try_do(Op::Txn(r)) {
            Ok(Response::Txn(r, unresolved)) if unresolved.is_empty() => r,
            other => panic!("{other:?}"),
        }
    }

    pub fn compact(&mut self, revision: i64) -> Result<i64, Error> {
        match self.try_do(Op::Compact(CompactionRequest { revision, physical: false }))? {
            Response::Compact(r) => Ok(r.header.unwrap().revision),
            other => panic!("{other:?}"),
        }
    }

    pub fn alarm(
        &mut self,
        action: alarm_request::AlarmAction,
        member_id: u64,
        alarm: AlarmType,
    ) -> Vec<(u64, i32)> {
        let r = AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
        match self.try_do(Op::Alarm(r)) {
            Ok(Response::Alarm(r)) => r.alarms.iter().map(|a| (a.member_id, a.alarm)).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn try_range(&self, r: RangeRequest) -> Result<RangeResponse, Error> {
        self.machine.view().range(&r, &self.disk, u64::MAX)
    }

    pub fn range(&self, r: RangeRequest) -> RangeResponse {
        self.try_range(r).unwrap()
    }

    pub fn revision(&self) -> i64 {
        self.machine.view().revision()
    }

    pub fn checkpoint(&mut self) {
        self.disk.checkpoint(&mut self.machine);
    }
}

pub(super) fn bytes(s: &str) -> Bytes {
    Bytes::copy_from_slice(s.as_bytes())
}

pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put(PutRequest { key: bytes(key), value: bytes(value), ..Default::default() })
}

pub(super) fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false }
}

pub(super) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

pub(super) fn all() -> RangeRequest {
    range("\0", "\0")
}

pub(super) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(super) fn put_op(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }))
}

pub(super) fn delete_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestDeleteRange(delete(key, end)))
}

pub(super) fn range_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestRange(range(key, end)))
}

pub(super) fn txn_op(r: TxnRequest) -> RequestOp {
    op(Request::RequestTxn(r))
}

pub(super) fn compare(key: &str, result: CompareResult, target: TargetUnion) -> Compare {
    let kind = match target {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        key: bytes(key),
        result: result.into(),
        target: kind.into(),
        target_union: Some(target),
        range_end: Bytes::new(),
    }
}

pub(super) fn keys(r: &RangeResponse) -> Vec<String> {
    r.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

pub(super) fn values(r: &RangeResponse) -> Vec<String> {
    r.kvs.iter().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap()).collect()
}

pub(super) fn kv(key: &str, value: &str, create: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: bytes(key),
        value: bytes(value),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

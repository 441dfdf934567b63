//! Executing requests on the keyspace. Every write is a transaction, also a lone put: it has one
//! main revision, and its changes are numbered within.

use super::Error;
use super::keyspace::{Keyspace, Live, Seen};
use super::meter::{DELETION, Meter, comparing, sorting};
use super::range::{check_revision, header, select};
use super::reply::{Past, Unresolved};
use super::revision::{KeyRange, Revision};
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::range_request::SortTarget;
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseOp, TxnRequest, TxnResponse, response_op,
};
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use std::cmp::Ordering;

/// A transaction that is being executed.
pub(super) struct Execution<'a> {
    space: &'a mut Keyspace,
    /// The current revision when it began.
    begin: i64,
    compacted: i64,
    changes: u32,
    meter: &'a mut Meter,
}

impl<'a> Execution<'a> {
    pub(super) fn new(space: &'a mut Keyspace, begin: i64, compacted: i64, meter: &'a mut Meter) -> Self {
        Execution { space, begin, compacted, changes: 0, meter }
    }

    /// The current revision: a new one once something has changed.
    pub(super) fn now(&self) -> i64 {
        if self.changes == 0 { self.begin } else { self.begin + 1 }
    }

    fn next(&mut self) -> Revision {
        let at = Revision { main: self.begin + 1, sub: self.changes };
        self.changes += 1;
        at
    }

    /// Executes a put, or refuses it.
    pub(super) fn put(&mut self, r: &PutRequest) -> Result<PutResponse, Error> {
        check_put(self.space, r)?;
        self.set(r)
    }

    fn set(&mut self, r: &PutRequest) -> Result<PutResponse, Error> {
        self.meter.visit(1)?;
        let before = self.space.live(&r.key);
        if let Some(before) = before.filter(|_| r.prev_kv) {
            self.meter.answer(r.key.len(), before.value.len())?;
        }
        let value = match before {
            Some(before) if r.ignore_value => before.value.clone(),
            // Copied, as in `Keyspace::put`: it must not keep a larger buffer in memory.
            Some(_) | None => Bytes::copy_from_slice(&r.value),
        };
        let lease = match before {
            Some(before) if r.ignore_lease => before.lease,
            Some(_) | None => r.lease,
        };
        let at = self.next();
        let before = self.space.put(at, &r.key, value, lease);
        let prev_kv = before.filter(|_| r.prev_kv).map(|before| key_value(&r.key, before));
        Ok(PutResponse { header: header(self.now()), prev_kv })
    }

    /// Executes a delete, or refuses it before anything has changed.
    pub(super) fn delete(&mut self, r: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        let keys = self.find(r)?;
        let tell = r.prev_kv && self.meter.is_whole();
        let mut response = DeleteRangeResponse { deleted: keys.len() as i64, ..Default::default() };
        for key in keys {
            let at = self.next();
            let before = self.space.delete(at, &key);
            response.prev_kvs.extend(before.filter(|_| tell).map(|before| key_value(&key, before)));
        }
        response.header = header(self.now());
        Ok(response)
    }

    /// The keys that a delete deletes.
    pub(super) fn find(&mut self, r: &DeleteRangeRequest) -> Result<Vec<Bytes>, Error> {
        self.meter.visit(1)?;
        let mut keys = Vec::new();
        for seen in self.space.seen(KeyRange::new(&r.key, &r.range_end), None) {
            self.meter.visit(DELETION)?;
            if r.prev_kv {
                self.meter.answer(seen.key.len(), seen.size())?;
            }
            keys.push(seen.key.clone());
        }
        Ok(keys)
    }

    /// Executes a transaction, or refuses it before anything has changed. Which branches run is
    /// decided on the state before it, nested ones included, as etcd does.
    ///
    /// What it costs is known once it has run. Unless it surely costs less than it may, it runs on a copy,
    /// which shares with the state what neither changes.
    pub(super) fn txn(&mut self, r: &TxnRequest) -> Result<(TxnResponse, Unresolved), Error> {
        let mut taken = Vec::new();
        decide(self.space, r, &mut taken, self.meter)?;
        self.check(r, &mut taken.iter().copied())?;
        let mut most = self.meter.clone();
        if self.at_most(r, &mut taken.iter().copied(), longest_put(r), &mut most) {
            return self.run_all(r, taken);
        }
        let mut draft = self.space.clone();
        let mut execution = Execution::new(&mut draft, self.begin, self.compacted, self.meter);
        let result = execution.run_all(r, taken)?;
        self.changes = execution.changes;
        *self.space = draft;
        Ok(result)
    }

    fn run_all(&mut self, r: &TxnRequest, taken: Vec<bool>) -> Result<(TxnResponse, Unresolved), Error> {
        let mut unresolved = Unresolved::default();
        let response = self.run(r, &mut taken.into_iter(), &mut Vec::new(), &mut unresolved)?;
        Ok((response, unresolved))
    }

    /// Counts the most that a transaction costs, if each of its operations is about one key: that has the
    /// value that it had, or one that the transaction puts. Returns whether that can be said, and is within
    /// the budget.
    fn at_most(
        &self,
        r: &TxnRequest,
        taken: &mut impl Iterator<Item = bool>,
        longest: usize,
        most: &mut Meter,
    ) -> bool {
        let size = |key: &Bytes| self.space.live(key).map_or(0, |live| live.value.len()).max(longest);
        branch(r, taken.next()).iter().all(|op| match &op.request {
            Some(Request::RequestRange(r)) => {
                let size = size(&r.key);
                let visit = |most: &mut Meter| most.visit(1 + sorting(SortTarget::Value, size));
                r.range_end.is_empty() && visit(most).and_then(|()| most.answer(r.key.len(), size)).is_ok()
            }
            Some(Request::RequestPut(r)) => {
                let told = |most: &mut Meter| most.answer(r.key.len(), size(&r.key));
                most.visit(1).is_ok() && (!r.prev_kv || told(most).is_ok())
            }
            Some(Request::RequestDeleteRange(r)) => {
                let told = |most: &mut Meter| most.answer(r.key.len(), size(&r.key));
                r.range_end.is_empty()
                    && most.visit(1 + DELETION).is_ok()
                    && (!r.prev_kv || told(most).is_ok())
            }
            Some(Request::RequestTxn(r)) => self.at_most(r, taken, longest, most),
            None => true,
        })
    }

    /// Whether all operations that will run can. What only an earlier operation of the same
    /// transaction makes true does not count, as in etcd.
    fn check(&self, r: &TxnRequest, taken: &mut impl Iterator<Item = bool>) -> Result<(), Error> {
        branch(r, taken.next()).iter().try_for_each(|op| match &op.request {
            Some(Request::RequestRange(r)) => check_revision(r.revision, self.begin, self.compacted),
            Some(Request::RequestPut(r)) => check_put(self.space, r),
            Some(Request::RequestTxn(r)) => self.check(r, taken),
            Some(Request::RequestDeleteRange(_)) | None => Ok(()),
        })
    }

    fn run(
        &mut self,
        r: &TxnRequest,
        taken: &mut impl Iterator<Item = bool>,
        path: &mut Vec<usize>,
        unresolved: &mut Unresolved,
    ) -> Result<TxnResponse, Error> {
        let succeeded = taken.next();
        let mut responses = Vec::new();
        for (i, op) in branch(r, succeeded).iter().enumerate() {
            path.push(i);
            responses.push(match &op.request {
                Some(Request::RequestRange(r)) => {
                    response_op::Response::ResponseRange(self.range(r, path, unresolved)?).into()
                }
                Some(Request::RequestPut(r)) => response_op::Response::ResponsePut(self.set(r)?).into(),
                Some(Request::RequestDeleteRange(r)) => {
                    response_op::Response::ResponseDeleteRange(self.delete(r)?).into()
                }
                Some(Request::RequestTxn(r)) => {
                    response_op::Response::ResponseTxn(self.run(r, taken, path, unresolved)?).into()
                }
                // An operation that asks for nothing: `check` refuses it, the log might carry it.
                None => ResponseOp::default(),
            });
            path.pop();
        }
        Ok(TxnResponse { header: header(self.now()), succeeded: succeeded == Some(true), responses })
    }

    /// Reads what is there now; leaves the past to whoever answers.
    fn range(
        &mut self,
        r: &RangeRequest,
        path: &[usize],
        unresolved: &mut Unresolved,
    ) -> Result<RangeResponse, Error> {
        let (now, compacted) = (self.now(), self.compacted);
        if r.revision > 0 {
            self.meter.visit(1)?;
            unresolved.push(path, Past { space: self.space.clone(), request: r.clone(), now, compacted });
            return Ok(RangeResponse { header: header(now), ..Default::default() });
        }
        let (response, holes) = select(self.space, r, now, compacted, self.meter)?;
        debug_assert!(holes.is_empty(), "what is there now is in memory");
        Ok(response)
    }
}

fn branch(r: &TxnRequest, taken: Option<bool>) -> &[RequestOp] {
    if taken == Some(true) { &r.success } else { &r.failure }
}

fn key_value(key: &Bytes, live: Live) -> KeyValue {
    KeyValue {
        key: key.clone(),
        create_revision: live.create,
        mod_revision: live.at.main,
        version: live.version,
        value: live.value,
        lease: live.lease,
    }
}

/// The length of the longest value that a transaction puts, in whichever branch.
fn longest_put(r: &TxnRequest) -> usize {
    let len = |op: &RequestOp| match &op.request {
        Some(Request::RequestPut(r)) => r.value.len(),
        Some(Request::RequestTxn(r)) => longest_put(r),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    };
    r.success.iter().chain(&r.failure).map(len).max().unwrap_or(0)
}

fn check_put(space: &Keyspace, r: &PutRequest) -> Result<(), Error> {
    if r.lease != 0 {
        return Err(Error::LeaseNotFound);
    }
    if (r.ignore_value || r.ignore_lease) && space.live(&r.key).is_none() {
        return Err(Error::KeyNotFound);
    }
    Ok(())
}

/// Which branch each transaction takes, in the order in which they run.
fn decide(space: &Keyspace, r: &TxnRequest, taken: &mut Vec<bool>, meter: &mut Meter) -> Result<(), Error> {
    let mut succeeded = true;
    for c in &r.compare {
        if !holds(space, c, meter)? {
            succeeded = false;
            break;
        }
    }
    taken.push(succeeded);
    branch(r, Some(succeeded)).iter().try_for_each(|op| match &op.request {
        Some(Request::RequestTxn(r)) => decide(space, r, taken, meter),
        Some(Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {
            Ok(())
        }
    })
}

/// Whether a comparison holds, for every key of its range: the first for which it does not decides.
fn holds(space: &Keyspace, c: &Compare, meter: &mut Meter) -> Result<bool, Error> {
    meter.visit(1)?;
    let mut none = true;
    for seen in space.seen(KeyRange::new(&c.key, &c.range_end), None) {
        let cost = match &c.target_union {
            Some(TargetUnion::Value(value)) => comparing(value.len().min(seen.size())),
            Some(_) | None => 1,
        };
        meter.visit(cost)?;
        if !matches(c, Some(&seen)) {
            return Ok(false);
        }
        none = false;
    }
    Ok(!none || matches(c, None))
}

/// Whether a comparison holds for one key; a missing one has zeros, and no value to compare.
fn matches(c: &Compare, seen: Option<&Seen<'_>>) -> bool {
    let order = match c.target() {
        CompareTarget::Version => seen.map_or(0, |s| s.version).cmp(&match c.target_union {
            Some(TargetUnion::Version(n)) => n,
            _ => 0,
        }),
        CompareTarget::Create => seen.map_or(0, |s| s.create).cmp(&match c.target_union {
            Some(TargetUnion::CreateRevision(n)) => n,
            _ => 0,
        }),
        CompareTarget::Mod => seen.map_or(0, |s| s.at.main).cmp(&match c.target_union {
            Some(TargetUnion::ModRevision(n)) => n,
            _ => 0,
        }),
        CompareTarget::Lease => seen.map_or(0, |s| s.lease).cmp(&match c.target_union {
            Some(TargetUnion::Lease(n)) => n,
            _ => 0,
        }),
        CompareTarget::Value => {
            let Some(value) = seen.and_then(Seen::live_value) else { return false };
            value[..].cmp(match &c.target_union {
                Some(TargetUnion::Value(value)) => &value[..],
                _ => &[],
            })
        }
    };
    match c.result() {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}

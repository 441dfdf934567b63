//! Executing requests on the keyspace. Every write is a transaction, also a lone put: it has one
//! main revision, and its changes are numbered within.

use super::Error;
use super::keyspace::{Keyspace, Live, Seen};
use super::range::{check_revision, header, select};
use super::reply::Unresolved;
use super::revision::{KeyRange, Revision};
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RequestOp, ResponseOp,
    TxnRequest, TxnResponse, response_op,
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
}

impl<'a> Execution<'a> {
    pub(super) fn new(space: &'a mut Keyspace, begin: i64, compacted: i64) -> Self {
        Execution { space, begin, compacted, changes: 0 }
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
        Ok(self.set(r))
    }

    fn set(&mut self, r: &PutRequest) -> PutResponse {
        let before = self.space.live(&r.key);
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
        PutResponse { header: header(self.now()), prev_kv }
    }

    /// Executes a delete.
    pub(super) fn delete(&mut self, r: &DeleteRangeRequest) -> DeleteRangeResponse {
        let keys = self.space.keys(KeyRange::new(&r.key, &r.range_end));
        let mut response = DeleteRangeResponse { deleted: keys.len() as i64, ..Default::default() };
        for key in keys {
            let at = self.next();
            let before = self.space.delete(at, &key);
            response.prev_kvs.extend(before.filter(|_| r.prev_kv).map(|before| key_value(&key, before)));
        }
        response.header = header(self.now());
        response
    }

    /// Executes a transaction, or refuses it before anything has changed. Which branches run is
    /// decided on the state before it, nested ones included, as etcd does.
    pub(super) fn txn(&mut self, r: &TxnRequest) -> Result<(TxnResponse, Unresolved), Error> {
        let mut taken = Vec::new();
        decide(self.space, r, &mut taken);
        self.check(r, &mut taken.iter().copied())?;
        let mut unresolved = Unresolved::default();
        let response = self.run(r, &mut taken.into_iter(), &mut Vec::new(), &mut unresolved)?;
        Ok((response, unresolved))
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
                    let (response, holes) = select(self.space, r, self.now(), self.compacted)?;
                    unresolved.push(path, holes);
                    response_op::Response::ResponseRange(response).into()
                }
                Some(Request::RequestPut(r)) => response_op::Response::ResponsePut(self.set(r)).into(),
                Some(Request::RequestDeleteRange(r)) => {
                    response_op::Response::ResponseDeleteRange(self.delete(r)).into()
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
fn decide(space: &Keyspace, r: &TxnRequest, taken: &mut Vec<bool>) {
    let succeeded = r.compare.iter().all(|c| holds(space, c));
    taken.push(succeeded);
    for op in branch(r, Some(succeeded)) {
        if let Some(Request::RequestTxn(r)) = &op.request {
            decide(space, r, taken);
        }
    }
}

/// Whether a comparison holds, for every key of its range.
fn holds(space: &Keyspace, c: &Compare) -> bool {
    let (mut any, mut all) = (false, true);
    space.visit(KeyRange::new(&c.key, &c.range_end), None, |seen| {
        any = true;
        all = all && matches(c, Some(&seen));
    });
    if any { all } else { matches(c, None) }
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

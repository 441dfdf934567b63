//! What is wrong with a request whatever the state is: asked before it is proposed.
//!
//! The state machine does not rely on it: a command that passes no check is executed all the same,
//! deterministically and without harm.

use super::revision::KeyRange;
use super::{Error, Op};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Bounds on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request on the wire.
    pub max_request_bytes: usize,
    /// Operations of a transaction: the largest of compares, success and failure, summed down each
    /// path of nested transactions.
    pub max_txn_ops: usize,
}

impl Default for Limits {
    /// etcd's defaults: 1.5 MiB and 128 operations.
    fn default() -> Self {
        Limits { max_request_bytes: 3 << 19, max_txn_ops: 128 }
    }
}

/// Checks a command before it is proposed.
pub fn check(op: &Op, limits: &Limits) -> Result<(), Error> {
    match op {
        Op::Put(r) => check_put(r)?,
        Op::DeleteRange(r) => check_delete(r)?,
        Op::Txn(r) => check_txn(r, limits.max_txn_ops)?,
        Op::Compact(_) | Op::Alarm(_) | Op::OpenSession | Op::CloseSession(_) => {}
    }
    if op.encoded_len() > limits.max_request_bytes {
        return Err(Error::RequestTooLarge);
    }
    Ok(())
}

/// Whether a transaction changes nothing, whichever branches it takes.
pub fn reads_only(r: &TxnRequest) -> bool {
    r.success.iter().chain(&r.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(r)) => reads_only(r),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

/// Checks a read before it is made.
pub fn check_range(r: &RangeRequest) -> Result<(), Error> {
    if SortOrder::try_from(r.sort_order).is_err() || SortTarget::try_from(r.sort_target).is_err() {
        return Err(Error::InvalidSortOption);
    }
    provided(&r.key)
}

fn provided(key: &Bytes) -> Result<(), Error> {
    if key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

fn check_put(r: &PutRequest) -> Result<(), Error> {
    provided(&r.key)?;
    if r.ignore_value && !r.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

fn check_delete(r: &DeleteRangeRequest) -> Result<(), Error> {
    provided(&r.key)
}

fn check_txn(r: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    check_ops(r, max_ops)?;
    Touched::by(&r.success)?;
    Touched::by(&r.failure)?;
    Ok(())
}

fn check_ops(r: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    let ops = r.compare.len().max(r.success.len()).max(r.failure.len());
    let left = max_ops.checked_sub(ops).ok_or(Error::TooManyOps)?;
    r.compare.iter().try_for_each(|c| provided(&c.key))?;
    r.success.iter().chain(&r.failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(r)) => check_range(r),
        Some(Request::RequestPut(r)) => check_put(r),
        Some(Request::RequestDeleteRange(r)) => check_delete(r),
        Some(Request::RequestTxn(r)) => check_ops(r, left),
        None => Err(Error::KeyNotFound),
    })
}

/// What a list of operations changes, all branches taken together.
#[derive(Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

impl<'a> Touched<'a> {
    /// Every operation of a list may be executed: no two may touch one key, deletes aside, which
    /// may overlap each other. The two branches of a nested transaction never meet.
    fn by(ops: &'a [RequestOp]) -> Result<Self, Error> {
        let mut all = Touched::default();
        for op in ops {
            match &op.request {
                Some(Request::RequestPut(r)) => {
                    all.join(Touched { puts: BTreeSet::from([&r.key[..]]), deletes: Intervals::default() })?
                }
                Some(Request::RequestDeleteRange(r)) => {
                    let range = KeyRange::new(&r.key, &r.range_end);
                    let mut deletes = Intervals::default();
                    if range.bounds().is_some() {
                        deletes.add(range.start(), End::of(range));
                    }
                    all.join(Touched { puts: BTreeSet::new(), deletes })?;
                }
                Some(Request::RequestTxn(r)) => {
                    let mut either = Touched::by(&r.success)?;
                    either.merge(Touched::by(&r.failure)?);
                    all.join(either)?;
                }
                Some(Request::RequestRange(_)) | None => {}
            }
        }
        Ok(all)
    }

    fn join(&mut self, next: Touched<'a>) -> Result<(), Error> {
        let twice = next.puts.iter().any(|key| self.puts.contains(key) || self.deletes.contains(key))
            || next.deletes.meet(&self.puts);
        if twice {
            return Err(Error::DuplicateKey);
        }
        self.merge(next);
        Ok(())
    }

    fn merge(&mut self, mut other: Touched<'a>) {
        self.puts.append(&mut other.puts);
        for (start, end) in other.deletes.0 {
            self.deletes.add(start, end);
        }
    }
}

/// Where an interval ends. The order of the fields is the order of the ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End<'a> {
    never: bool,
    key: &'a [u8],
    inclusive: bool,
}

impl<'a> End<'a> {
    fn of(range: KeyRange<'a>) -> Self {
        match range {
            KeyRange::One(key) => End { never: false, key, inclusive: true },
            KeyRange::Between(_, key) => End { never: false, key, inclusive: false },
            KeyRange::From(_) => End { never: true, key: b"", inclusive: false },
        }
    }

    fn reaches(self, key: &[u8]) -> bool {
        self >= End { never: false, key, inclusive: true }
    }
}

/// Disjoint intervals of keys, by their start. Kept disjoint so that a request of many overlapping
/// deletes costs no more than its length.
#[derive(Default)]
struct Intervals<'a>(BTreeMap<&'a [u8], End<'a>>);

impl<'a> Intervals<'a> {
    fn add(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((&before, &reach)) = self.0.range(..=start).next_back()
            && reach.reaches(start)
        {
            start = before;
            end = end.max(reach);
        }
        while let Some((&within, &reach)) = self.0.range(start..).next()
            && (within == start || end.reaches(within))
        {
            self.0.remove(within);
            end = end.max(reach);
        }
        self.0.insert(start, end);
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.range(..=key).next_back().is_some_and(|(_, end)| end.reaches(key))
    }

    fn meet(&self, keys: &BTreeSet<&[u8]>) -> bool {
        let first = |start: &[u8]| keys.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next();
        self.0.iter().any(|(start, end)| first(start).is_some_and(|key| end.reaches(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::Compare;

    fn put(key: &str) -> RequestOp {
        let put = PutRequest { key: key.to_owned().into(), ..Default::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete(key: &str, end: &str) -> RequestOp {
        let r = DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            prev_kv: false,
        };
        RequestOp { request: Some(Request::RequestDeleteRange(r)) }
    }

    fn either(success: &[RequestOp], failure: &[RequestOp]) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(branches(success, failure))) }
    }

    fn branches(success: &[RequestOp], failure: &[RequestOp]) -> TxnRequest {
        TxnRequest { success: success.to_vec(), failure: failure.to_vec(), ..Default::default() }
    }

    fn checked(success: &[RequestOp], failure: &[RequestOp]) -> Result<(), Error> {
        check(&Op::Txn(branches(success, failure)), &Limits::default())
    }

    const TWICE: Result<(), Error> = Err(Error::DuplicateKey);

    #[test]
    fn put_and_put_of_one_key_in_a_branch_is_a_duplicate() {
        assert_eq!(checked(&[put("a"), put("b"), put("a")], &[]), TWICE);
        assert_eq!(checked(&[], &[put("a"), put("a")]), TWICE);
        assert_eq!(checked(&[put("a"), put("b")], &[]), Ok(()));
    }

    #[test]
    fn put_and_delete_of_one_key_in_a_branch_is_a_duplicate_in_either_order() {
        for del in [delete("b", ""), delete("a", "c"), delete("a", "\0"), delete("\0", "\0")] {
            assert_eq!(checked(&[put("b"), del.clone()], &[]), TWICE);
            assert_eq!(checked(&[del.clone(), put("b")], &[]), TWICE);
        }
        for del in [delete("a", ""), delete("a", "b"), delete("c", "\0"), delete("c", "a")] {
            assert_eq!(checked(&[put("b"), del.clone()], &[]), Ok(()));
            assert_eq!(checked(&[del, put("b")], &[]), Ok(()));
        }
    }

    #[test]
    fn deletes_may_overlap() {
        let deletes = [delete("d", "g"), delete("a", "e"), delete("f", "\0"), delete("a", "")];
        assert_eq!(checked(&deletes, &[]), Ok(()));
        for key in ["a", "d", "e", "f", "z"] {
            assert_eq!(checked(&[&deletes[..], &[put(key)]].concat(), &[]), TWICE, "{key}");
        }
    }

    #[test]
    fn the_two_branches_are_exempt_from_each_other() {
        assert_eq!(checked(&[put("a")], &[put("a")]), Ok(()));
        assert_eq!(checked(&[either(&[put("a")], &[put("a"), delete("b", "")])], &[]), Ok(()));
        assert_eq!(checked(&[either(&[put("a")], &[delete("a", "")])], &[]), Ok(()));
    }

    #[test]
    fn nested_transactions_are_included() {
        assert_eq!(checked(&[put("a"), either(&[], &[put("a")])], &[]), TWICE);
        assert_eq!(checked(&[either(&[put("a")], &[]), delete("a", "")], &[]), TWICE);
        assert_eq!(checked(&[either(&[put("a")], &[]), either(&[], &[put("a")])], &[]), TWICE);
        assert_eq!(checked(&[either(&[put("a")], &[]), either(&[], &[delete("a", "b")])], &[]), TWICE);
        assert_eq!(checked(&[either(&[delete("a", "b")], &[]), either(&[], &[put("a")])], &[]), TWICE);
        assert_eq!(checked(&[either(&[either(&[put("a"), put("a")], &[])], &[])], &[]), TWICE);
    }

    #[test]
    fn at_most_128_operations_on_each_path_of_nested_transactions() {
        let puts = |n: usize| (0..n).map(|i| put(&format!("{i}"))).collect::<Vec<_>>();
        let more = |n: usize| (0..n).map(|i| put(&format!("more {i}"))).collect::<Vec<_>>();
        assert_eq!(checked(&puts(128), &more(128)), Ok(()));
        assert_eq!(checked(&puts(129), &[]), Err(Error::TooManyOps));
        assert_eq!(checked(&[], &puts(129)), Err(Error::TooManyOps));
        assert_eq!(checked(&[either(&puts(127), &more(127))], &[]), Ok(()));
        assert_eq!(checked(&[either(&puts(128), &[])], &[]), Err(Error::TooManyOps));
        assert_eq!(checked(&[either(&puts(64), &[]), either(&more(64), &[])], &[]), Ok(()));
        let compare = Compare { key: "k".into(), ..Default::default() };
        let compares = TxnRequest { compare: vec![compare; 129], ..Default::default() };
        assert_eq!(check(&Op::Txn(compares), &Limits::default()), Err(Error::TooManyOps));
    }

    #[test]
    fn a_request_has_a_key() {
        let empty = Err(Error::EmptyKey);
        assert_eq!(check(&Op::Put(PutRequest::default()), &Limits::default()), empty);
        assert_eq!(check(&Op::DeleteRange(DeleteRangeRequest::default()), &Limits::default()), empty);
        assert_eq!(check_range(&RangeRequest::default()), empty);
        assert_eq!(checked(&[put("a"), put("")], &[]), empty);
        let no_key = TxnRequest { compare: vec![Compare::default()], ..Default::default() };
        assert_eq!(check(&Op::Txn(no_key), &Limits::default()), empty);
        assert_eq!(checked(&[RequestOp { request: None }], &[]), Err(Error::KeyNotFound));
    }

    #[test]
    fn what_is_ignored_is_not_provided() {
        let put = PutRequest { key: "k".into(), ..Default::default() };
        let value = PutRequest { ignore_value: true, value: "v".into(), ..put.clone() };
        assert_eq!(check(&Op::Put(value), &Limits::default()), Err(Error::ValueProvided));
        let lease = PutRequest { ignore_lease: true, lease: 1, ..put };
        assert_eq!(check(&Op::Put(lease), &Limits::default()), Err(Error::LeaseProvided));
    }

    #[test]
    fn a_request_is_at_most_1_5_mib() {
        let put = |len| PutRequest { key: "k".into(), value: vec![0; len].into(), ..Default::default() };
        let around = (3 << 19) - 7;
        assert_eq!(check(&Op::Put(put(around)), &Limits::default()), Ok(()));
        assert_eq!(check(&Op::Put(put(around + 1)), &Limits::default()), Err(Error::RequestTooLarge));
    }

    #[test]
    fn a_sort_option_exists() {
        let range = RangeRequest { key: "k".into(), sort_order: 3, ..Default::default() };
        assert_eq!(check_range(&range), Err(Error::InvalidSortOption));
    }
}

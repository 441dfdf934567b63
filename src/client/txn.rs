//! Transactions: if all comparisons hold then these operations, else those, in one step.

use std::future::IntoFuture;

use bytes::Bytes;

use super::{
    Call, Client, Delete, Error, Get, Put, TxnReply,
    ops::{NO_END, prefix_end},
};
use crate::proto::etcdserverpb::{
    self as pb, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};

/// A transaction. `C` is the client that it is for, or nothing for one nested in another.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// use kvorum::client::{Compare, Op};
///
/// // Create the key, unless somebody has: a lock.
/// let reply = client
///     .txn()
///     .when([Compare::version("lock").eq(0)])
///     .then([Op::put("lock", "mine")])
///     .otherwise([Op::get("lock")])
///     .await?;
/// println!("{}", if reply.succeeded { "locked" } else { "somebody else has it" });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a transaction does nothing until it is awaited"]
pub struct Txn<C = ()> {
    client: C,
    request: TxnRequest,
}

/// One operation of a transaction.
#[derive(Debug, Clone)]
pub struct Op(RequestOp);

impl Op {
    /// A put.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Put {
        Put::new((), key, value)
    }

    /// A get.
    pub fn get(key: impl Into<Vec<u8>>) -> Get {
        Get::new((), key)
    }

    /// A delete.
    pub fn delete(key: impl Into<Vec<u8>>) -> Delete {
        Delete::new((), key)
    }

    /// A nested transaction.
    pub fn txn() -> Txn {
        Txn::new(())
    }
}

impl From<Request> for Op {
    fn from(request: Request) -> Self {
        Self(RequestOp { request: Some(request) })
    }
}

impl From<Put> for Op {
    fn from(put: Put) -> Self {
        Request::RequestPut(put.request).into()
    }
}

impl From<Get> for Op {
    fn from(get: Get) -> Self {
        Request::RequestRange(get.request).into()
    }
}

impl From<Delete> for Op {
    fn from(delete: Delete) -> Self {
        Request::RequestDeleteRange(delete.request).into()
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Request::RequestTxn(txn.request).into()
    }
}

impl<C> Txn<C> {
    pub(super) fn new(client: C) -> Self {
        Self { client, request: TxnRequest::default() }
    }

    /// Adds conditions, which must all hold; without any, they do.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.request.compare.extend(compares.into_iter().map(|compare| compare.0));
        self
    }

    /// Adds operations to the branch that runs if the conditions hold. Operations of different kinds
    /// make an array with `.into()`, or come by several calls.
    pub fn then(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.request.success.extend(ops.into_iter().map(|op| op.into().0));
        self
    }

    /// Adds operations to the branch that runs otherwise.
    pub fn otherwise(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.request.failure.extend(ops.into_iter().map(|op| op.into().0));
        self
    }
}

impl IntoFuture for Txn<Client> {
    type Output = Result<TxnReply, Error>;
    type IntoFuture = Call<TxnReply>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, request } = self;
        Box::pin(async move {
            // One that only reads needs no number: it may run twice.
            let reply =
                if writes(&request) { client.write(request).await? } else { client.read(request).await? };
            reply.try_into()
        })
    }
}

fn writes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(nested)) => writes(nested),
        Some(Request::RequestRange(_)) | None => false,
    })
}

/// One condition of a transaction.
#[derive(Debug, Clone)]
pub struct Compare(pb::Compare);

impl Compare {
    /// On the version of a key: 0 if it does not exist.
    pub fn version(key: impl Into<Vec<u8>>) -> Operand<i64> {
        Operand::new(key, CompareTarget::Version, TargetUnion::Version)
    }

    /// On the revision at which a key was created: 0 if it does not exist.
    pub fn create_revision(key: impl Into<Vec<u8>>) -> Operand<i64> {
        Operand::new(key, CompareTarget::Create, TargetUnion::CreateRevision)
    }

    /// On the revision at which a key was last changed: 0 if it does not exist.
    pub fn mod_revision(key: impl Into<Vec<u8>>) -> Operand<i64> {
        Operand::new(key, CompareTarget::Mod, TargetUnion::ModRevision)
    }

    /// On the lease of a key: 0 if it has none, or does not exist.
    pub fn lease(key: impl Into<Vec<u8>>) -> Operand<i64> {
        Operand::new(key, CompareTarget::Lease, TargetUnion::Lease)
    }

    /// On the value of a key; never true of one that does not exist.
    pub fn value(key: impl Into<Vec<u8>>) -> Operand<Vec<u8>> {
        Operand::new(key, CompareTarget::Value, |value| TargetUnion::Value(value.into()))
    }
}

/// What a condition compares, waiting for the operator and the other side.
#[derive(Debug, Clone)]
pub struct Operand<T> {
    compare: pb::Compare,
    union: fn(T) -> TargetUnion,
}

impl<T> Operand<T> {
    fn new(key: impl Into<Vec<u8>>, target: CompareTarget, union: fn(T) -> TargetUnion) -> Self {
        let key = Bytes::from(key.into());
        Self { compare: pb::Compare { key, target: target.into(), ..Default::default() }, union }
    }

    /// Of every key that begins with the key: all must satisfy it.
    pub fn prefix(mut self) -> Self {
        self.compare.range_end = prefix_end(&self.compare.key);
        if self.compare.key.is_empty() {
            self.compare.key = NO_END;
        }
        self
    }

    /// Of every key from the key up to, and without, `end`: all must satisfy it.
    pub fn range(mut self, end: impl Into<Vec<u8>>) -> Self {
        self.compare.range_end = end.into().into();
        self
    }

    /// Equal.
    pub fn eq(self, other: impl Into<T>) -> Compare {
        self.finish(CompareResult::Equal, other)
    }

    /// Not equal.
    pub fn ne(self, other: impl Into<T>) -> Compare {
        self.finish(CompareResult::NotEqual, other)
    }

    /// Greater than `other`.
    pub fn gt(self, other: impl Into<T>) -> Compare {
        self.finish(CompareResult::Greater, other)
    }

    /// Less than `other`.
    pub fn lt(self, other: impl Into<T>) -> Compare {
        self.finish(CompareResult::Less, other)
    }

    fn finish(mut self, result: CompareResult, other: impl Into<T>) -> Compare {
        self.compare.set_result(result);
        self.compare.target_union = Some((self.union)(other.into()));
        Compare(self.compare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_writes_if_any_branch_may_at_any_depth() {
        let reads = Txn::new(()).then([Op::get("a")]).otherwise([Op::txn().then([Op::get("b")])]);
        assert!(!writes(&reads.request));
        let writer = Txn::new(()).otherwise([Op::txn().otherwise([Op::delete("b")])]);
        assert!(writes(&writer.request));
    }

    #[test]
    fn a_comparison_carries_its_target_and_operand() {
        let Compare(value) = Compare::value("k").ne("v");
        assert_eq!((value.target(), value.result()), (CompareTarget::Value, CompareResult::NotEqual));
        assert_eq!(value.target_union, Some(TargetUnion::Value("v".into())));
        let Compare(range) = Compare::mod_revision("k").prefix().lt(9);
        assert_eq!((range.target(), range.result()), (CompareTarget::Mod, CompareResult::Less));
        assert_eq!(range.range_end, "l");
    }
}

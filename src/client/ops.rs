//! Put, get, delete: as calls of a [`Client`], or as operations of a transaction.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
};

use bytes::Bytes;

use super::{Client, DeleteReply, Error, GetReply, PutReply};
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest,
    range_request::{SortOrder, SortTarget},
};

/// What `await` on a call runs.
pub type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A put. `C` is the client that it is for, or nothing for an operation of a transaction.
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is awaited"]
pub struct Put<C = ()> {
    client: C,
    pub(super) request: PutRequest,
}

/// A read of a key or a range. `C` as in [`Put`].
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is awaited"]
pub struct Get<C = ()> {
    client: C,
    pub(super) request: RangeRequest,
}

/// A deletion of a key or a range. `C` as in [`Put`].
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is awaited"]
pub struct Delete<C = ()> {
    client: C,
    pub(super) request: DeleteRangeRequest,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SortBy {
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Order {
    Ascending,
    Descending,
}

/// The first key after all that begin with `prefix`; `\0`, "no end", if there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte != 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => NO_END,
    }
}

pub(super) const NO_END: Bytes = Bytes::from_static(b"\0");

/// The empty key stands for the lowest one in a range: `\0` on the wire, which refuses empty keys.
fn range(key: &mut Bytes, range_end: &mut Bytes, end: Bytes) {
    *range_end = end;
    if key.is_empty() {
        *key = Bytes::from_static(b"\0");
    }
}

impl<C> Put<C> {
    pub(super) fn new(client: C, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into().into(), value.into().into());
        Self { client, request: PutRequest { key, value, ..Default::default() } }
    }

    /// Attaches the key to a lease.
    pub fn lease(mut self, lease: i64) -> Self {
        self.request.lease = lease;
        self
    }

    /// Asks what the key was before.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Keeps the value that the key has, which must exist; the value given must be empty.
    pub fn ignore_value(mut self) -> Self {
        self.request.ignore_value = true;
        self
    }

    /// Keeps the lease that the key has, which must exist.
    pub fn ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }
}

impl<C> Get<C> {
    pub(super) fn new(client: C, key: impl Into<Vec<u8>>) -> Self {
        Self { client, request: RangeRequest { key: key.into().into(), ..Default::default() } }
    }

    /// All keys that begin with the key; with the empty key, all.
    pub fn prefix(mut self) -> Self {
        let end = prefix_end(&self.request.key);
        range(&mut self.request.key, &mut self.request.range_end, end);
        self
    }

    /// All keys from the key on; with the empty key, all.
    pub fn from_key(mut self) -> Self {
        range(&mut self.request.key, &mut self.request.range_end, NO_END);
        self
    }

    /// All keys from the key up to, and without, `end`.
    pub fn range(mut self, end: impl Into<Vec<u8>>) -> Self {
        range(&mut self.request.key, &mut self.request.range_end, end.into().into());
        self
    }

    /// As of this revision; 0: the newest.
    pub fn rev(mut self, revision: i64) -> Self {
        self.request.revision = revision;
        self
    }

    /// At most so many keys; 0: all.
    pub fn limit(mut self, keys: i64) -> Self {
        self.request.limit = keys;
        self
    }

    /// Sorted, before the limit cuts.
    pub fn sort(mut self, by: SortBy, order: Order) -> Self {
        let target = match by {
            SortBy::Key => SortTarget::Key,
            SortBy::Version => SortTarget::Version,
            SortBy::CreateRevision => SortTarget::Create,
            SortBy::ModRevision => SortTarget::Mod,
            SortBy::Value => SortTarget::Value,
        };
        let order = match order {
            Order::Ascending => SortOrder::Ascend,
            Order::Descending => SortOrder::Descend,
        };
        self.request.set_sort_target(target);
        self.request.set_sort_order(order);
        self
    }

    /// Without the values.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// The number of keys, and none of them.
    pub fn count_only(mut self) -> Self {
        self.request.count_only = true;
        self
    }

    /// What the replica that is asked has, which may be old: faster, and possible without a majority.
    /// A read is linearizable otherwise.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Only keys last changed at or after this revision.
    pub fn min_mod_revision(mut self, revision: i64) -> Self {
        self.request.min_mod_revision = revision;
        self
    }

    /// Only keys last changed at or before this revision.
    pub fn max_mod_revision(mut self, revision: i64) -> Self {
        self.request.max_mod_revision = revision;
        self
    }

    /// Only keys created at or after this revision.
    pub fn min_create_revision(mut self, revision: i64) -> Self {
        self.request.min_create_revision = revision;
        self
    }

    /// Only keys created at or before this revision.
    pub fn max_create_revision(mut self, revision: i64) -> Self {
        self.request.max_create_revision = revision;
        self
    }
}

impl<C> Delete<C> {
    pub(super) fn new(client: C, key: impl Into<Vec<u8>>) -> Self {
        Self { client, request: DeleteRangeRequest { key: key.into().into(), ..Default::default() } }
    }

    /// All keys that begin with the key; with the empty key, all.
    pub fn prefix(mut self) -> Self {
        let end = prefix_end(&self.request.key);
        range(&mut self.request.key, &mut self.request.range_end, end);
        self
    }

    /// All keys from the key on; with the empty key, all.
    pub fn from_key(mut self) -> Self {
        range(&mut self.request.key, &mut self.request.range_end, NO_END);
        self
    }

    /// All keys from the key up to, and without, `end`.
    pub fn range(mut self, end: impl Into<Vec<u8>>) -> Self {
        range(&mut self.request.key, &mut self.request.range_end, end.into().into());
        self
    }

    /// Asks what the keys were.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }
}

impl IntoFuture for Put<Client> {
    type Output = Result<PutReply, Error>;
    type IntoFuture = Call<PutReply>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.client.write(self.request).await?.into()) })
    }
}

impl IntoFuture for Get<Client> {
    type Output = Result<GetReply, Error>;
    type IntoFuture = Call<GetReply>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.client.read(self.request).await?.into()) })
    }
}

impl IntoFuture for Delete<Client> {
    type Output = Result<DeleteReply, Error>;
    type IntoFuture = Call<DeleteReply>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.client.write(self.request).await?.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_key_cannot_begin_with_it() {
        assert_eq!(prefix_end(b"a"), "b");
        assert_eq!(&prefix_end(b"a\xff\xff")[..], b"b");
        assert_eq!(prefix_end(b"\xff"), NO_END);
        assert_eq!(prefix_end(b""), NO_END);
    }

    #[test]
    fn the_empty_key_stands_for_all_keys_in_ranges_only() {
        let all = Get::new((), "").prefix().request;
        assert_eq!((&all.key[..], &all.range_end[..]), (&b"\0"[..], &b"\0"[..]));
        let from = Delete::new((), "").from_key().request;
        assert_eq!((&from.key[..], &from.range_end[..]), (&b"\0"[..], &b"\0"[..]));
        assert!(Get::new((), "").request.key.is_empty(), "the server refuses it");
    }
}

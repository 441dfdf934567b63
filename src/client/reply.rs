//! What calls return.

use bytes::Bytes;

use super::Error;
use crate::proto::{
    etcdserverpb::{self as pb, response_op::Response},
    mvccpb,
};

/// Where and when a reply was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Cluster id.
    pub cluster: u64,
    /// Id of the member that answered.
    pub member: u64,
    /// The current revision of the store; 0 in replies that do not concern it.
    pub revision: i64,
    /// The term (counter of the ballot) that the member is in.
    pub term: u64,
}

/// A key as of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValue {
    /// Never empty.
    pub key: Bytes,
    /// Empty when only keys were asked for.
    pub value: Bytes,
    /// Revision at which the key was last created.
    pub create_revision: i64,
    /// Revision of its last change.
    pub mod_revision: i64,
    /// Number of changes since its creation; 1 at creation.
    pub version: i64,
    /// Lease that it is attached to; 0: none.
    pub lease: i64,
}

impl KeyValue {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

/// Answer to a get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetReply {
    /// Where and when.
    pub header: Header,
    /// In the order asked for.
    pub kvs: Vec<KeyValue>,
    /// The limit left some out.
    pub more: bool,
    /// Keys in the range, whatever the limit.
    pub count: i64,
}

impl GetReply {
    /// The first key-value: the one, when one key was asked for and exists.
    pub fn first(&self) -> Option<&KeyValue> {
        self.kvs.first()
    }

    /// The value of [`first`](Self::first).
    pub fn value(&self) -> Option<&Bytes> {
        self.first().map(|kv| &kv.value)
    }
}

/// Answer to a put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutReply {
    /// Where and when; its revision is the put's.
    pub header: Header,
    /// What the key was before, if it was asked for and existed.
    pub prev: Option<KeyValue>,
}

/// Answer to a delete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteReply {
    /// Where and when.
    pub header: Header,
    /// Number of keys deleted.
    pub deleted: i64,
    /// What they were, if it was asked for.
    pub prev: Vec<KeyValue>,
}

/// Answer to a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxnReply {
    /// Where and when.
    pub header: Header,
    /// Whether every comparison held.
    pub succeeded: bool,
    /// One per operation of the branch that ran, in its order.
    pub replies: Vec<OpReply>,
}

/// Answer to one operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpReply {
    /// To a get.
    Get(GetReply),
    /// To a put.
    Put(PutReply),
    /// To a delete.
    Delete(DeleteReply),
    /// To a nested transaction.
    Txn(TxnReply),
}

/// Answer to a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactReply {
    /// Where and when.
    pub header: Header,
}

/// The state of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Where and when; `member` is the replica.
    pub header: Header,
    /// Version of etcd whose API it speaks.
    pub version: String,
    /// Version of the layout on disk; empty if the server does not say.
    pub storage_version: String,
    /// Bytes on disk.
    pub db_size: i64,
    /// Bytes of them in use.
    pub db_size_in_use: i64,
    /// Bytes that it may use; 0 if the server does not say.
    pub db_size_quota: i64,
    /// Member that it takes for the leader; 0: none.
    pub leader: u64,
    /// Last index of the log known to be decided.
    pub index: u64,
    /// Last index applied.
    pub applied: u64,
    /// Term that it is in.
    pub term: u64,
    /// It receives the log and counts in no majority.
    pub learner: bool,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// The members of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Where and when.
    pub header: Header,
    /// In the server's order.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Member id.
    pub id: u64,
    /// Empty until it has started.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It receives the log and counts in no majority.
    pub learner: bool,
}

impl From<Option<pb::ResponseHeader>> for Header {
    fn from(header: Option<pb::ResponseHeader>) -> Self {
        let pb::ResponseHeader { cluster_id, member_id, revision, raft_term } = header.unwrap_or_default();
        Self { cluster: cluster_id, member: member_id, revision, term: raft_term }
    }
}

impl From<mvccpb::KeyValue> for KeyValue {
    fn from(kv: mvccpb::KeyValue) -> Self {
        let mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
        Self { key, value, create_revision, mod_revision, version, lease }
    }
}

fn kvs(kvs: Vec<mvccpb::KeyValue>) -> Vec<KeyValue> {
    kvs.into_iter().map(Into::into).collect()
}

impl From<pb::RangeResponse> for GetReply {
    fn from(reply: pb::RangeResponse) -> Self {
        let pb::RangeResponse { header, kvs: found, more, count } = reply;
        Self { header: header.into(), kvs: kvs(found), more, count }
    }
}

impl From<pb::PutResponse> for PutReply {
    fn from(reply: pb::PutResponse) -> Self {
        Self { header: reply.header.into(), prev: reply.prev_kv.map(Into::into) }
    }
}

impl From<pb::DeleteRangeResponse> for DeleteReply {
    fn from(reply: pb::DeleteRangeResponse) -> Self {
        let pb::DeleteRangeResponse { header, deleted, prev_kvs } = reply;
        Self { header: header.into(), deleted, prev: kvs(prev_kvs) }
    }
}

impl TryFrom<pb::TxnResponse> for TxnReply {
    type Error = Error;

    fn try_from(reply: pb::TxnResponse) -> Result<Self, Error> {
        let pb::TxnResponse { header, succeeded, responses } = reply;
        let replies = responses.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { header: header.into(), succeeded, replies })
    }
}

impl TryFrom<pb::ResponseOp> for OpReply {
    type Error = Error;

    fn try_from(reply: pb::ResponseOp) -> Result<Self, Error> {
        Ok(match reply.response.ok_or(Error::Reply { missing: "the answer to an operation" })? {
            Response::ResponseRange(get) => Self::Get(get.into()),
            Response::ResponsePut(put) => Self::Put(put.into()),
            Response::ResponseDeleteRange(delete) => Self::Delete(delete.into()),
            Response::ResponseTxn(txn) => Self::Txn(txn.try_into()?),
        })
    }
}

impl From<pb::CompactionResponse> for CompactReply {
    fn from(reply: pb::CompactionResponse) -> Self {
        Self { header: reply.header.into() }
    }
}

impl From<pb::StatusResponse> for Status {
    fn from(reply: pb::StatusResponse) -> Self {
        Self {
            header: reply.header.into(),
            version: reply.version,
            storage_version: reply.storage_version,
            db_size: reply.db_size,
            db_size_in_use: reply.db_size_in_use,
            db_size_quota: reply.db_size_quota,
            leader: reply.leader,
            index: reply.raft_index,
            applied: reply.raft_applied_index,
            term: reply.raft_term,
            learner: reply.is_learner,
            errors: reply.errors,
        }
    }
}

impl From<pb::MemberListResponse> for Members {
    fn from(reply: pb::MemberListResponse) -> Self {
        let members = reply.members.into_iter().map(Into::into).collect();
        Self { header: reply.header.into(), members }
    }
}

impl From<pb::Member> for Member {
    fn from(member: pb::Member) -> Self {
        let pb::Member { id, name, peer_ur_ls, client_ur_ls, is_learner } = member;
        Self { id, name, peer_urls: peer_ur_ls, client_urls: client_ur_ls, learner: is_learner }
    }
}

//! One line of JSON, shaped as the wire is: zeros and empty lists are left out, bytes are base64.

use std::io;

use serde::{Serialize, Serializer};

use super::Health;
use crate::client::{
    self, DeleteReply, GetReply, KeyValue, Member, Members, OpReply, PutReply, Status, TxnReply,
};

pub(super) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    serializer.serialize_str(&text)
}

#[derive(Serialize)]
struct Header {
    #[serde(skip_serializing_if = "zero")]
    cluster_id: u64,
    #[serde(skip_serializing_if = "zero")]
    member_id: u64,
    #[serde(skip_serializing_if = "zero")]
    revision: i64,
    #[serde(skip_serializing_if = "zero")]
    raft_term: u64,
}

impl From<&client::Header> for Header {
    fn from(header: &client::Header) -> Self {
        let client::Header { cluster, member, revision, term } = *header;
        Self { cluster_id: cluster, member_id: member, revision, raft_term: term }
    }
}

#[derive(Serialize)]
struct Kv<'a> {
    #[serde(skip_serializing_if = "<[u8]>::is_empty", serialize_with = "base64")]
    key: &'a [u8],
    #[serde(skip_serializing_if = "zero")]
    create_revision: i64,
    #[serde(skip_serializing_if = "zero")]
    mod_revision: i64,
    #[serde(skip_serializing_if = "zero")]
    version: i64,
    #[serde(skip_serializing_if = "<[u8]>::is_empty", serialize_with = "base64")]
    value: &'a [u8],
    #[serde(skip_serializing_if = "zero")]
    lease: i64,
}

impl<'a> From<&'a KeyValue> for Kv<'a> {
    fn from(kv: &'a KeyValue) -> Self {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        Self {
            key,
            create_revision: *create_revision,
            mod_revision: *mod_revision,
            version: *version,
            value,
            lease: *lease,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Put<'a> {
    header: Header,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<Kv<'a>>,
}

impl<'a> From<&'a PutReply> for Put<'a> {
    fn from(reply: &'a PutReply) -> Self {
        Self { header: (&reply.header).into(), prev_kv: reply.prev.as_ref().map(Into::into) }
    }
}

#[derive(Serialize)]
pub(super) struct Get<'a> {
    header: Header,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kvs: Vec<Kv<'a>>,
    #[serde(skip_serializing_if = "zero")]
    more: bool,
    #[serde(skip_serializing_if = "zero")]
    count: i64,
}

impl<'a> From<&'a GetReply> for Get<'a> {
    fn from(reply: &'a GetReply) -> Self {
        let GetReply { header, kvs, more, count } = reply;
        Self { header: header.into(), kvs: kvs.iter().map(Into::into).collect(), more: *more, count: *count }
    }
}

#[derive(Serialize)]
pub(super) struct Delete<'a> {
    header: Header,
    #[serde(skip_serializing_if = "zero")]
    deleted: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prev_kvs: Vec<Kv<'a>>,
}

impl<'a> From<&'a DeleteReply> for Delete<'a> {
    fn from(reply: &'a DeleteReply) -> Self {
        let DeleteReply { header, deleted, prev } = reply;
        Self { header: header.into(), deleted: *deleted, prev_kvs: prev.iter().map(Into::into).collect() }
    }
}

#[derive(Serialize)]
pub(super) struct Txn<'a> {
    header: Header,
    #[serde(skip_serializing_if = "zero")]
    succeeded: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responses: Vec<Response<'a>>,
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(rename = "Response")]
    response: Op<'a>,
}

#[derive(Serialize)]
enum Op<'a> {
    #[serde(rename = "ResponseRange")]
    Range(Get<'a>),
    #[serde(rename = "ResponsePut")]
    Put(Put<'a>),
    #[serde(rename = "ResponseDeleteRange")]
    DeleteRange(Delete<'a>),
    #[serde(rename = "ResponseTxn")]
    Txn(Txn<'a>),
}

impl<'a> From<&'a TxnReply> for Txn<'a> {
    fn from(reply: &'a TxnReply) -> Self {
        let TxnReply { header, succeeded, replies } = reply;
        let response = |reply: &'a OpReply| match reply {
            OpReply::Get(get) => Op::Range(get.into()),
            OpReply::Put(put) => Op::Put(put.into()),
            OpReply::Delete(delete) => Op::DeleteRange(delete.into()),
            OpReply::Txn(txn) => Op::Txn(txn.into()),
        };
        let responses = replies.iter().map(|reply| Response { response: response(reply) }).collect();
        Self { header: header.into(), succeeded: *succeeded, responses }
    }
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    header: Header,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<ListedMember<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedMember<'a> {
    #[serde(rename = "ID", skip_serializing_if = "zero")]
    id: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "peerURLs", skip_serializing_if = "<[String]>::is_empty")]
    peer_urls: &'a [String],
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
    #[serde(skip_serializing_if = "zero")]
    is_learner: bool,
}

impl<'a> From<&'a Members> for List<'a> {
    fn from(list: &'a Members) -> Self {
        let member = |member: &'a Member| {
            let Member { id, name, peer_urls, client_urls, learner } = member;
            ListedMember { id: *id, name, peer_urls, client_urls, is_learner: *learner }
        };
        Self { header: (&list.header).into(), members: list.members.iter().map(member).collect() }
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "Endpoint")]
    endpoint: &'a str,
    #[serde(rename = "Status")]
    status: EntryStatus<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryStatus<'a> {
    header: Header,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "zero")]
    db_size: i64,
    #[serde(skip_serializing_if = "zero")]
    leader: u64,
    #[serde(skip_serializing_if = "zero")]
    raft_index: u64,
    #[serde(skip_serializing_if = "zero")]
    raft_term: u64,
    #[serde(skip_serializing_if = "zero")]
    raft_applied_index: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    errors: &'a [String],
    #[serde(skip_serializing_if = "zero")]
    db_size_in_use: i64,
    #[serde(skip_serializing_if = "zero")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    storage_version: &'a str,
    #[serde(skip_serializing_if = "zero")]
    db_size_quota: i64,
}

pub(super) fn status(list: &[(String, Status)]) -> io::Result<Vec<u8>> {
    let entries = list.iter().map(|(endpoint, status)| Entry {
        endpoint,
        status: EntryStatus {
            header: (&status.header).into(),
            version: &status.version,
            db_size: status.db_size,
            leader: status.leader,
            raft_index: status.index,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: &status.errors,
            db_size_in_use: status.db_size_in_use,
            is_learner: status.learner,
            storage_version: &status.storage_version,
            db_size_quota: status.db_size_quota,
        },
    });
    line(&entries.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct EndpointHealth<'a> {
    endpoint: &'a str,
    health: bool,
    took: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(super) fn health(list: &[Health]) -> io::Result<Vec<u8>> {
    let entries = list.iter().map(|health| EndpointHealth {
        endpoint: &health.endpoint,
        health: health.error.is_none(),
        took: format!("{:?}", health.took),
        error: health.error.as_deref(),
    });
    line(&entries.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_with_padding() {
        let encoded = |bytes: &[u8]| base64(bytes, serde_json::value::Serializer).unwrap();
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(encoded(bytes), text);
        }
    }
}

//! What the port promises, against a fake replica.

mod broadcast;
mod ledger;
mod outflow;
mod port;
mod register;
mod services;
mod writes;

use super::fake::{Fake, Fault};
use super::{Limits, routes, serve};
use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, ResponseHeader};
use tonic::service::Routes;
use tonic::{Code, Status};

fn kv(fake: &Fake) -> KvClient<Routes> {
    kv_within(fake, Limits::default())
}

fn kv_within(fake: &Fake, limits: Limits) -> KvClient<Routes> {
    KvClient::new(routes(fake.clone(), limits)).max_decoding_message_size(usize::MAX)
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 7, member_id: 100, revision, raft_term: 3 })
}

/// The header of a response within a transaction's.
fn inner(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..Default::default() })
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) -> Status {
    let status = result.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
    status
}

//! What is on its way out: what a reply may take, and clients that do not read.

use super::port::{connect, open};
use super::*;
use crate::api::outflow::Outflow;
use crate::kv::{Command, Op};
use h2::client::SendRequest;
use prost::Message;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::codegen::http;

const KIB: usize = 1 << 10;

/// A replica with so many keys of 100 KiB each.
fn full(keys: usize) -> Fake {
    let fake = Fake::default();
    for i in 0..keys {
        let index = fake.state().machine.applied();
        let put = Op::Put(put(&format!("k{i:03}"), &"v".repeat(100 * KIB)));
        fake.state().machine.apply(index, &Command::from(put)).unwrap();
    }
    fake
}

fn all() -> RangeRequest {
    RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() }
}

fn little() -> Limits {
    Limits { reply_bytes: (KIB << 10) as u64, unsent_bytes: KIB << 12, ..Limits::default() }
}

#[tokio::test]
async fn a_reply_is_bounded_and_a_limit_makes_it_fit() {
    let fake = full(20);
    let mut kv = kv_within(&fake, little());
    let text = "kvorum: the reply would take more than 1048576 bytes: ask for less at a time, with a limit or narrower ranges";
    refused(kv.range(all()).await, Code::ResourceExhausted, text);
    let txn = crate::proto::etcdserverpb::TxnRequest {
        success: vec![op(Request::RequestRange(all()))],
        ..Default::default()
    };
    refused(kv.txn(txn).await, Code::ResourceExhausted, text);
    let part = kv.range(RangeRequest { limit: 10, ..all() }).await.unwrap().into_inner();
    assert_eq!((part.kvs.len(), part.count, part.more), (10, 20, true));
    let keys = kv.range(RangeRequest { keys_only: true, ..all() }).await.unwrap().into_inner();
    assert_eq!(keys.kvs.len(), 20);
}

#[tokio::test]
async fn a_command_over_its_budget_is_refused_at_the_port_unless_it_may_be_a_repeated_call() {
    let fake = full(1);
    fake.state().machine.limit(crate::kv::Budget { visits: 100, reply_bytes: 1 << 20 });
    let mut kv = kv(&fake);
    let txn = crate::proto::etcdserverpb::TxnRequest {
        success: (0..60)
            .map(|_| op(Request::RequestRange(all())))
            .chain([op(Request::RequestPut(put("x", "")))])
            .collect(),
        ..Default::default()
    };
    let text = "kvorum: the reply would take more than 1048576 bytes: ask for less at a time, with a limit or narrower ranges";
    refused(kv.txn(txn.clone()).await, Code::ResourceExhausted, text);
    assert_eq!(fake.state().log.len(), 0, "nothing was proposed");
    let index = fake.state().machine.applied();
    let opened = fake.state().machine.apply(index, &Op::OpenSession.into()).unwrap();
    let crate::kv::Response::SessionOpened(id) = opened else { panic!("{opened:?}") };
    let mut call = tonic::Request::new(txn);
    for (key, value) in [("kvorum-session", id), ("kvorum-seq", 1), ("kvorum-low", 1)] {
        call.metadata_mut().insert(key, value.into());
    }
    refused(kv.txn(call).await, Code::ResourceExhausted, text);
    assert_eq!(fake.state().log.len(), 1, "the log refuses it");
    assert!(kv.range(get("x")).await.unwrap().into_inner().kvs.is_empty());
}

#[tokio::test]
async fn a_transaction_reads_a_revision_that_this_replica_has_yet_to_reach() {
    let fake = full(1);
    let mut kv = kv(&fake);
    let past = |revision| {
        let range = RangeRequest { revision, ..all() };
        crate::proto::etcdserverpb::TxnRequest {
            success: vec![op(Request::RequestPut(put("x", ""))), op(Request::RequestRange(range))],
            ..Default::default()
        }
    };
    let barriers = fake.state().barriers;
    let response = kv.txn(past(2)).await.unwrap().into_inner();
    assert_eq!(fake.state().barriers, barriers);
    let Some(crate::proto::etcdserverpb::response_op::Response::ResponseRange(r)) =
        &response.responses[1].response
    else {
        panic!("{response:?}")
    };
    assert_eq!(r.kvs.len(), 1);
    let future = kv.txn(past(99)).await;
    refused(future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(fake.state().barriers, barriers + 1, "only then is a newer view asked for");
}

/// A client that asks for everything, in so many calls, and lets no byte of the replies through.
async fn deaf(
    address: std::net::SocketAddr,
    calls: usize,
) -> (Vec<SendRequest<bytes::Bytes>>, JoinHandle<Instant>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) =
        h2::client::Builder::new().initial_window_size(1).handshake(stream).await.unwrap();
    let connection = tokio::spawn(async move {
        let _ = connection.await;
        Instant::now()
    });
    let message = all().encode_to_vec();
    let body = bytes::Bytes::from([&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat());
    let mut kept = Vec::new();
    for _ in 0..calls {
        let request = http::Request::post(format!("http://{address}/etcdserverpb.KV/Range"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut ready = send.clone().ready().await.unwrap();
        let (reply, mut sender) = ready.send_request(request, false).unwrap();
        sender.send_data(body.clone(), true).unwrap();
        tokio::spawn(async move {
            let body = reply.await.map(http::Response::into_body);
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(body);
        });
        kept.push(ready);
    }
    (kept, connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_its_share_and_is_disconnected() {
    let fake = full(8);
    let stall = Duration::from_millis(1500);
    let limits = Limits { stall, patience: Duration::from_millis(300), ..little() };
    let port = open(&fake, limits).await;
    let start = Instant::now();
    let (_calls, ended) = deaf(port.address, 20).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Each has a connection of its own, and none waits for the one that does not read.
    for _ in 0..3 {
        let mut kv = connect(&port).await.max_decoding_message_size(usize::MAX);
        assert_eq!(kv.range(all()).await.unwrap().into_inner().kvs.len(), 8);
    }
    assert!(start.elapsed() < stall);
    let ended =
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it is disconnected").unwrap();
    assert!(ended - start >= stall, "after {:?}", ended - start);
}

#[tokio::test]
async fn a_reply_waits_for_room_and_then_its_client_is_told() {
    let outflow = Outflow::new(&little());
    let mib = (KIB << 10) as u64;
    let patience = Duration::from_millis(50);
    let one = outflow.no_connection();
    let first = outflow.reserve(&one, mib, patience).await.unwrap();
    let second = outflow.reserve(&one, mib, patience).await;
    let status = refused(second, Code::ResourceExhausted, "etcdserver: too many requests");
    assert_eq!(status.metadata().get("kvorum-fate").unwrap(), "not-executed");
    // Others have shares of their own, four in all.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(outflow.reserve(&outflow.no_connection(), mib, patience).await.unwrap());
    }
    assert!(outflow.reserve(&outflow.no_connection(), mib, patience).await.is_err());
    let waits = outflow.no_connection();
    let waiting = outflow.reserve(&waits, mib, Duration::from_secs(60));
    let (room, ()) = tokio::join!(waiting, async { drop(first) });
    assert!(room.is_ok());
}

#[tokio::test]
async fn an_alarm_is_raised_for_a_member_or_for_none() {
    use crate::proto::etcdserverpb::AlarmRequest;
    use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
    let fake = Fake::default();
    let mut maintenance = MaintenanceClient::new(routes(fake.clone(), Limits::default()));
    let raise = |member_id| AlarmRequest { action: 1, member_id, alarm: 1 };
    let text = "kvorum: no member has the id 5: an alarm is raised for a member, or for 0";
    refused(maintenance.alarm(raise(5)).await, Code::NotFound, text);
    assert_eq!(fake.state().log.len(), 0);
    for id in [0, 100] {
        assert_eq!(maintenance.alarm(raise(id)).await.unwrap().into_inner().alarms[0].member_id, id);
    }
    let lower = AlarmRequest { action: 2, ..raise(5) };
    assert!(maintenance.alarm(lower).await.unwrap().into_inner().alarms.is_empty());
}

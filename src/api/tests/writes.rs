//! KV and sessions.

use super::*;
use crate::Client;
use crate::client::{Guarantee, Op};
use crate::proto::etcdserverpb::response_op::Response as Nested;
use crate::proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, TxnRequest};
use crate::stack::Refusal;
use proptest::prelude::*;
use std::time::Duration;

fn txn(success: impl IntoIterator<Item = Request>) -> TxnRequest {
    TxnRequest { success: success.into_iter().map(op).collect(), ..Default::default() }
}

fn in_session<T>(message: T, [id, seq, low]: [u64; 3]) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for (key, n) in [("kvorum-session", id), ("kvorum-seq", seq), ("kvorum-low", low)] {
        request.metadata_mut().insert(key, n.into());
    }
    request
}

#[tokio::test]
async fn every_reply_says_who_made_it_and_when() {
    let fake = Fake::default();
    let mut kv = kv(&fake);
    assert_eq!(kv.put(put("a", "1")).await.unwrap().into_inner().header, header(2));
    assert_eq!(kv.range(get("a")).await.unwrap().into_inner().header, header(2));
    let nested = Request::RequestTxn(txn([Request::RequestPut(put("b", "2"))]));
    let delete = DeleteRangeRequest { key: "a".into(), ..Default::default() };
    let all = txn([Request::RequestRange(get("a")), Request::RequestDeleteRange(delete.clone()), nested]);
    let reply = kv.txn(all).await.unwrap().into_inner();
    assert_eq!(reply.header, header(3));
    let [range, deleted, nested] = &reply.responses[..] else { panic!("{reply:?}") };
    let Some(Nested::ResponseRange(range)) = &range.response else { panic!("{range:?}") };
    assert_eq!(range.header, inner(2), "as of its own step");
    let Some(Nested::ResponseDeleteRange(deleted)) = &deleted.response else { panic!("{deleted:?}") };
    assert_eq!(deleted.header, inner(3));
    let Some(Nested::ResponseTxn(nested)) = &nested.response else { panic!("{nested:?}") };
    assert_eq!(nested.header, inner(3));
    let Some(Nested::ResponsePut(put)) = &nested.responses[0].response else { panic!("{nested:?}") };
    assert_eq!(put.header, inner(3));
    assert_eq!(kv.delete_range(delete).await.unwrap().into_inner().header, header(3), "nothing to delete");
    let compaction = CompactionRequest { revision: 3, physical: true };
    assert_eq!(kv.compact(compaction).await.unwrap().into_inner().header, header(3));
}

#[tokio::test]
async fn what_only_reads_takes_no_place_in_the_log() {
    let fake = Fake::default();
    let mut kv = kv(&fake);
    kv.put(put("a", "1")).await.unwrap();
    let log = |fake: &Fake| {
        let state = fake.state();
        (state.log.len(), state.barriers)
    };
    kv.range(get("a")).await.unwrap();
    assert_eq!(log(&fake), (1, 1));
    kv.range(RangeRequest { serializable: true, ..get("a") }).await.unwrap();
    assert_eq!(log(&fake), (1, 1), "serializable: what there is here");
    kv.txn(txn([Request::RequestRange(get("a"))])).await.unwrap();
    assert_eq!(log(&fake), (1, 2));
    let here = Request::RequestRange(RangeRequest { serializable: true, ..get("a") });
    kv.txn(txn([here.clone()])).await.unwrap();
    assert_eq!(log(&fake), (1, 2));
    kv.txn(txn([here, Request::RequestTxn(txn([Request::RequestRange(get("a"))]))])).await.unwrap();
    assert_eq!(log(&fake), (1, 3), "one linearizable range is enough");
    kv.txn(txn([])).await.unwrap();
    assert_eq!(log(&fake), (1, 4), "comparisons alone ask for no leave to be stale");
    kv.txn(txn([Request::RequestPut(put("a", "2"))])).await.unwrap();
    assert_eq!(log(&fake), (2, 4));
}

#[tokio::test]
async fn the_past_is_read_as_it_was() {
    let fake = Fake::default();
    let mut kv = kv(&fake);
    kv.put(put("a", "1")).await.unwrap();
    kv.put(put("a", "2")).await.unwrap();
    let at = |revision| RangeRequest { revision, ..get("a") };
    let old = kv.range(at(2)).await.unwrap().into_inner();
    assert_eq!((&old.kvs[0].value[..], old.header), (&b"1"[..], header(3)));
    let both = txn([Request::RequestRange(at(2)), Request::RequestPut(put("a", "3"))]);
    let reply = kv.txn(both).await.unwrap().into_inner();
    let Some(Nested::ResponseRange(old)) = &reply.responses[0].response else { panic!("{reply:?}") };
    assert_eq!(&old.kvs[0].value[..], b"1");
    let future = kv.range(at(5)).await;
    refused(future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    kv.compact(CompactionRequest { revision: 3, physical: false }).await.unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(kv.range(at(2)).await, Code::OutOfRange, compacted);
    let again = kv.compact(CompactionRequest { revision: 3, physical: false }).await;
    refused(again, Code::OutOfRange, compacted);
}

#[tokio::test]
async fn what_contradicts_itself_is_not_proposed() {
    let fake = Fake::default();
    let mut kv = kv(&fake);
    let invalid = Code::InvalidArgument;
    refused(kv.put(put("", "v")).await, invalid, "etcdserver: key is not provided");
    refused(kv.range(get("")).await, invalid, "etcdserver: key is not provided");
    refused(kv.delete_range(DeleteRangeRequest::default()).await, invalid, "etcdserver: key is not provided");
    let twice = txn([Request::RequestPut(put("a", "1")), Request::RequestPut(put("a", "2"))]);
    refused(kv.txn(twice).await, invalid, "etcdserver: duplicate key given in txn request");
    let many = txn((0..129).map(|_| Request::RequestRange(get("a"))));
    refused(kv.txn(many).await, invalid, "etcdserver: too many operations in txn request");
    refused(kv.put(put("a", &"v".repeat(3 << 19))).await, invalid, "etcdserver: request is too large");
    refused(kv.put(put("a", &"v".repeat(5 << 20))).await, invalid, "etcdserver: request is too large");
    let ignore = PutRequest { ignore_value: true, ..put("a", "1") };
    refused(kv.put(ignore).await, invalid, "etcdserver: value is provided");
    assert_eq!(fake.state().log, []);
    assert_eq!(fake.state().barriers, 0);
}

#[tokio::test]
async fn a_call_of_a_session_is_executed_once() {
    let fake = Fake::default();
    let mut kv = kv(&fake);
    let mut sessions = crate::proto::kvorum::v1::sessions_client::SessionsClient::new(routes(
        fake.clone(),
        Limits::default(),
    ));
    let open = crate::proto::kvorum::v1::OpenRequest {};
    let id = sessions.open(open).await.unwrap().into_inner().session;
    let first = kv.put(in_session(put("a", "1"), [id, 1, 1])).await.unwrap().into_inner();
    let second = kv.put(in_session(put("a", "1"), [id, 1, 1])).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(fake.state().machine.view().revision(), 2);
    let delete = DeleteRangeRequest { key: "a".into(), ..Default::default() };
    let other = kv.delete_range(in_session(delete, [id, 1, 1])).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    let close = crate::proto::kvorum::v1::CloseRequest { session: id };
    sessions.close(close).await.unwrap();
    let late = kv.put(in_session(put("a", "1"), [id, 2, 1])).await;
    refused(late, Code::FailedPrecondition, "kvorum: session expired");
    let low = kv.put(in_session(put("a", "1"), [id, 1, 2])).await.unwrap_err();
    assert_eq!(low.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_sdk_writes_exactly_once_through_lost_replies() {
    let faults = [Fault::Refuse(Refusal::NoLeader), Fault::Lose, Fault::Lose, Fault::Lose];
    let fake = Fake::with(faults);
    let client = Client::over(routes(fake.clone(), Limits::default()));
    client.put("a", "1").await.unwrap();
    let reply = client.txn().then([Op::put("b", "2")]).await.unwrap();
    assert!(reply.succeeded);
    assert_eq!(client.get("a").await.unwrap().first().unwrap().version, 1);
    assert_eq!(fake.state().machine.view().revision(), 3);
    assert!(fake.state().log.len() > 3, "the lost replies cost no retry");
}

#[tokio::test]
async fn without_a_leader_clients_are_told_so() {
    let fake = Fake::default();
    fake.state().leader = None;
    let mut kv = kv(&fake);
    for status in [
        kv.put(put("a", "1")).await.unwrap_err(),
        kv.range(get("a")).await.unwrap_err(),
        kv.txn(TxnRequest::default()).await.unwrap_err(),
    ] {
        let status = refused(Err::<(), _>(status), Code::Unavailable, "etcdserver: no leader");
        assert!(status.metadata().get("kvorum-leader").is_none());
    }
    kv.range(RangeRequest { serializable: true, ..get("a") }).await.unwrap();
    let mut needs_leader = tonic::Request::new(RangeRequest { serializable: true, ..get("a") });
    needs_leader.metadata_mut().insert("hasleader", "true".parse().unwrap());
    refused(kv.range(needs_leader).await, Code::Unavailable, "etcdserver: no leader");
}

#[tokio::test]
async fn a_client_that_cannot_be_served_here_is_told_where_the_leader_is() {
    let fake = Fake::with([Fault::Refuse(Refusal::TimedOut), Fault::Refuse(Refusal::TooMany)]);
    fake.state().leader = Some(crate::kernel::ProcessId(2));
    fake.state().serving = false;
    let mut kv = kv(&fake);
    let late = kv.put(put("a", "1")).await;
    let status = refused(late, Code::Unavailable, "etcdserver: request timed out");
    assert_eq!(status.metadata().get("kvorum-leader").unwrap(), "http://10.0.0.2:2379");
    let status =
        refused(kv.put(put("a", "1")).await, Code::ResourceExhausted, "etcdserver: too many requests");
    assert!(status.metadata().get("kvorum-leader").is_none());
    let unready = kv.range(RangeRequest { serializable: true, ..get("a") }).await;
    let status = refused(unready, Code::Unavailable, "etcdserver: no leader");
    assert_eq!(status.metadata().get("kvorum-leader").unwrap(), "http://10.0.0.2:2379");
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_is_cancelled() {
    let fake = Fake::with([Fault::Hang]);
    let mut kv = kv(&fake);
    let call = tokio::spawn(async move { kv.put(put("a", "1")).await });
    while fake.state().pending == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(fake.state().pending, 0);
}

#[tokio::test]
async fn beyond_the_bounds_requests_are_refused_and_the_room_is_given_back() {
    let too_many = "etcdserver: too many requests";
    for limits in [
        Limits { requests: 1, ..Limits::default() },
        Limits { request_bytes: 100 << 10, ..Limits::default() },
    ] {
        let fake = Fake::with([Fault::Hang]);
        let mut kv = kv_within(&fake, limits);
        let mut same = kv.clone();
        let value = "v".repeat(60 << 10);
        let request = put("a", &value);
        let call = tokio::spawn(async move { same.put(request).await });
        while fake.state().pending == 0 {
            tokio::task::yield_now().await;
        }
        refused(kv.put(put("a", &value)).await, Code::ResourceExhausted, too_many);
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        for _ in 0..10 {
            kv.put(put("a", &value)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_quota_raises_the_alarm_until_it_is_disarmed() {
    use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
    use crate::proto::etcdserverpb::{AlarmRequest, AlarmType, StatusRequest, alarm_request::AlarmAction};
    let full = "etcdserver: mvcc: database space exceeded";
    let fake = Fake::default();
    let limits = Limits { quota: 1000, ..Limits::default() };
    let mut kv = kv_within(&fake, limits);
    kv.put(put("a", &"v".repeat(600))).await.unwrap();
    refused(
        kv.put(put("", &"v".repeat(600))).await,
        Code::InvalidArgument,
        "etcdserver: key is not provided",
    );
    assert_eq!(fake.state().log.len(), 1, "no alarm for what is refused anyway");
    let big = txn([Request::RequestPut(put("b", &"v".repeat(600)))]);
    refused(kv.txn(big).await, Code::ResourceExhausted, full);
    refused(kv.put(put("b", "small")).await, Code::ResourceExhausted, full);
    kv.range(get("a")).await.unwrap();
    // Nor does what is kept beside the store grow.
    let client = Client::over(routes(fake.clone(), limits));
    let (space, minute) = ("database space exceeded", Duration::from_secs(60));
    for error in [
        client.register("r").write("1").await.unwrap_err(),
        client.consensus("i").propose("1").await.unwrap_err(),
        client.transaction("t").begin(["p"], minute).await.unwrap_err(),
        client.topic("t", Guarantee::Total).publish("1").await.unwrap_err(),
        client.topic("t", Guarantee::Fifo).publish("1").await.unwrap_err(),
    ] {
        assert!(error.to_string().contains(space), "{error}");
    }
    assert_eq!(client.register("r").read().await.unwrap(), None);
    let mut maintenance = MaintenanceClient::new(routes(fake.clone(), limits));
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["memberID:100 alarm:NOSPACE"]);
    kv.delete_range(DeleteRangeRequest { key: "a".into(), ..Default::default() }).await.unwrap();
    let disarm = AlarmRequest {
        action: AlarmAction::Deactivate.into(),
        member_id: 100,
        alarm: AlarmType::Nospace.into(),
    };
    let reply = maintenance.alarm(disarm).await.unwrap().into_inner();
    assert_eq!((reply.header, reply.alarms.len()), (header(3), 1));
    kv.put(put("b", "small")).await.unwrap();
}

proptest! {
    /// A transaction that only reads is answered from a view as the log would have answered it.
    #[test]
    fn a_view_answers_as_the_log_does(
        writes in prop::collection::vec(("[a-d]", "[0-9]{0,3}"), 0..20),
        reads in prop::collection::vec(("[a-d]", "[a-e]?", 0i64..4), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::default();
            let mut kv = kv(&fake);
            for (key, value) in &writes {
                kv.put(put(key, value)).await.unwrap();
            }
            let all = txn(reads.iter().map(|(key, end, limit)| {
                let range_end = end.clone().into();
                Request::RequestRange(RangeRequest { range_end, limit: *limit, ..get(key) })
            }));
            let mut seen = kv.txn(all.clone()).await.unwrap().into_inner();
            // A delete of nothing sends the same reads through the log.
            let nothing = DeleteRangeRequest { key: "z".into(), ..Default::default() };
            let mut logged = all;
            logged.success.push(op(Request::RequestDeleteRange(nothing)));
            let mut executed = kv.txn(logged).await.unwrap().into_inner();
            executed.responses.pop();
            seen.header = executed.header;
            assert_eq!(seen, executed);
        });
    }
}

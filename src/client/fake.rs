//! A server in the test's own process that fails as it is told, and the client's promises against it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tonic::{Code, Request, Response, Status, service::Routes};

use super::{Client, Error, Fate, Op, Retry, session::WINDOW};
use crate::proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
        kv_server::{Kv, KvServer},
    },
    kvorum::v1::{
        CloseReply, CloseRequest, OpenReply, OpenRequest,
        sessions_server::{Sessions, SessionsServer},
    },
};

/// What befalls one put.
#[derive(Debug, Clone)]
enum Fault {
    /// Refused before it is executed.
    Refuse(Status),
    /// Executed, but the reply is lost.
    LoseReply,
    /// Executed, but the replica stops before it replies.
    Hang,
    /// All sessions end just before.
    Evict,
    /// Executed, the reply is lost, and all sessions end.
    LoseReplyAndEvict,
}

#[derive(Debug, Default)]
struct Store {
    executed: Vec<String>,
    /// Low watermark, and the replies from there on.
    sessions: BTreeMap<u64, (u64, BTreeMap<u64, i64>)>,
    opened: u64,
    faults: VecDeque<Option<Fault>>,
}

/// One replica; clones are other replicas of the same store.
#[derive(Debug, Clone, Default)]
struct Replica {
    store: Arc<Mutex<Store>>,
    /// Answers "not leader", and that the leader is there.
    leader: Option<String>,
}

fn number(request: &Request<PutRequest>, key: &str) -> Option<u64> {
    Some(request.metadata().get(key)?.to_str().unwrap().parse().unwrap())
}

impl Store {
    fn put(&mut self, request: &Request<PutRequest>) -> Result<i64, Status> {
        let Some(id) = number(request, "kvorum-session") else { return Ok(self.execute(request)) };
        let seq = number(request, "kvorum-seq").unwrap();
        let low = number(request, "kvorum-low").unwrap();
        let expired = || Status::failed_precondition("kvorum: session expired");
        let (mark, replies) = self.sessions.get_mut(&id).ok_or_else(expired)?;
        *mark = low.max(*mark);
        *replies = replies.split_off(mark);
        assert!(seq < *mark + WINDOW as u64, "number {seq} is beyond the window that begins at {mark}");
        if seq < *mark {
            return Err(expired());
        }
        if let Some(revision) = replies.get(&seq) {
            return Ok(*revision);
        }
        let revision = self.execute(request);
        if let Some((_, replies)) = self.sessions.get_mut(&id) {
            replies.insert(seq, revision);
        }
        Ok(revision)
    }

    fn execute(&mut self, request: &Request<PutRequest>) -> i64 {
        self.executed.push(String::from_utf8(request.get_ref().key.to_vec()).unwrap());
        self.executed.len() as i64 + 1
    }
}

#[tonic::async_trait]
impl Kv for Replica {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        if let Some(leader) = &self.leader {
            let mut status = Status::failed_precondition("etcdserver: not leader");
            status.metadata_mut().insert("kvorum-leader", leader.parse().unwrap());
            return Err(status);
        }
        let (reply, hang) = {
            let mut store = self.store.lock().unwrap();
            let lost = Status::unavailable("etcdserver: request timed out");
            match store.faults.pop_front().flatten() {
                None => (store.put(&request), false),
                Some(Fault::Refuse(status)) => (Err(status), false),
                Some(Fault::LoseReply) => (store.put(&request).and(Err(lost)), false),
                Some(Fault::Hang) => (store.put(&request), true),
                Some(Fault::Evict) => {
                    store.sessions.clear();
                    (store.put(&request), false)
                }
                Some(Fault::LoseReplyAndEvict) => {
                    let reply = store.put(&request);
                    store.sessions.clear();
                    (reply.and(Err(lost)), false)
                }
            }
        };
        if hang {
            std::future::pending::<()>().await;
        }
        let header = Some(ResponseHeader { revision: reply?, ..Default::default() });
        Ok(Response::new(PutResponse { header, prev_kv: None }))
    }

    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let fault = self.store.lock().unwrap().faults.pop_front().flatten();
        match fault {
            Some(Fault::Refuse(status)) => Err(status),
            Some(_) => Err(Status::unavailable("etcdserver: request timed out")),
            None => Ok(Response::new(RangeResponse { count: 7, ..Default::default() })),
        }
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let numbered = request.metadata().contains_key("kvorum-seq");
        Ok(Response::new(TxnResponse { succeeded: numbered, ..Default::default() }))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted"))
    }
}

#[tonic::async_trait]
impl Sessions for Replica {
    async fn open(&self, _: Request<OpenRequest>) -> Result<Response<OpenReply>, Status> {
        let mut store = self.store.lock().unwrap();
        store.opened += 1;
        let session = store.opened;
        store.sessions.insert(session, (1, BTreeMap::new()));
        Ok(Response::new(OpenReply { session }))
    }

    async fn close(&self, request: Request<CloseRequest>) -> Result<Response<CloseReply>, Status> {
        self.store.lock().unwrap().sessions.remove(&request.into_inner().session);
        Ok(Response::new(CloseReply {}))
    }
}

impl Replica {
    fn with(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let replica = Self::default();
        replica.store.lock().unwrap().faults.extend(faults);
        replica
    }

    fn client(&self) -> Client {
        let kv = KvServer::new(self.clone());
        Client::over(Routes::new(kv).add_service(SessionsServer::new(self.clone())))
    }

    /// A client of a server that knows no sessions, as etcd.
    fn etcd(&self) -> Client {
        Client::over(Routes::new(KvServer::new(self.clone())))
    }

    /// Its address, until the test ends.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let kv = KvServer::new(self.clone());
        let routes = Routes::new(kv).add_service(SessionsServer::new(self.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));
        address
    }

    fn executed(&self) -> Vec<String> {
        self.store.lock().unwrap().executed.clone()
    }

    fn opened(&self) -> u64 {
        self.store.lock().unwrap().opened
    }
}

fn no_leader() -> Option<Fault> {
    Some(Fault::Refuse(Status::unavailable("etcdserver: no leader")))
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_repeated_and_executed_once() {
    let replica = Replica::with([Some(Fault::LoseReply), Some(Fault::LoseReply)]);
    let reply = replica.client().put("a", "1").await.unwrap();
    assert_eq!(reply.header.revision, 2, "the reply is the first execution's");
    assert_eq!(replica.executed(), ["a"]);
}

#[tokio::test]
async fn hundreds_of_writes_through_faults_are_each_executed_once() {
    let mut draw = fastrand::Rng::with_seed(1);
    let faults = std::iter::repeat_with(|| match draw.u8(..4) {
        0 => Some(Fault::LoseReply),
        1 => no_leader(),
        _ => None,
    });
    let replica = Replica::with(faults.take(400));
    let mut client = replica.client();
    client.settings.retry.cap = Duration::from_millis(5);
    let writes: Vec<_> =
        (0..200).map(|i| tokio::spawn(client.put(format!("k{i:03}"), "v").into_future())).collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let mut executed = replica.executed();
    executed.sort();
    let expected: Vec<String> = (0..200).map(|i| format!("k{i:03}")).collect();
    assert_eq!(executed, expected);
    assert_eq!(replica.opened(), 1, "all clones share one session");
}

#[tokio::test]
async fn a_write_that_finds_its_session_ended_opens_another() {
    let replica = Replica::with([None, Some(Fault::Evict)]);
    let client = replica.client();
    client.put("a", "1").await.unwrap();
    client.put("b", "2").await.unwrap();
    assert_eq!(replica.executed(), ["a", "b"]);
    assert_eq!(replica.opened(), 2);
}

#[tokio::test]
async fn a_retry_that_finds_its_session_ended_is_of_unknown_fate() {
    let replica = Replica::with([Some(Fault::LoseReplyAndEvict)]);
    let error = replica.client().put("a", "1").await.unwrap_err();
    assert!(matches!(error, Error::SessionExpired), "{error}");
    assert_eq!((error.fate(), error.is_retryable()), (Fate::Unknown, false));
    assert_eq!(replica.executed(), ["a"], "never a second execution");
}

#[tokio::test]
async fn without_sessions_an_unanswered_write_is_not_repeated() {
    let replica = Replica::with([no_leader(), Some(Fault::LoseReply)]);
    let error = replica.etcd().put("a", "1").await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    assert_eq!(error.fate(), Fate::Unknown);
    assert_eq!(replica.executed(), ["a"]);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_refusal_after_a_lost_reply_of_unknown_fate() {
    let full =
        || Some(Fault::Refuse(Status::resource_exhausted("etcdserver: mvcc: database space exceeded")));
    let replica = Replica::with([full(), Some(Fault::LoseReply), full()]);
    let client = replica.client();
    let error = client.put("a", "1").await.unwrap_err();
    assert_eq!((error.code(), error.fate()), (Some(Code::ResourceExhausted), Fate::NotExecuted));
    let error = client.put("b", "1").await.unwrap_err();
    assert_eq!((error.code(), error.fate()), (Some(Code::ResourceExhausted), Fate::Unknown));
    let error = client.compact(3).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OutOfRange));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_write_whose_reply_was_not_kept_is_not_taken_for_unexecuted() {
    let text = "kvorum: executed before, and the reply is no longer kept";
    let replica = Replica::with([Some(Fault::Refuse(Status::failed_precondition(text)))]);
    let error = replica.client().put("a", "1").await.unwrap_err();
    assert!(matches!(error, Error::ReplyLost), "{error}");
    assert_ne!(error.fate(), Fate::NotExecuted);
}

#[tokio::test]
async fn reads_are_repeated_until_the_deadline_and_harmless() {
    let replica = Replica::with([Some(Fault::LoseReply), no_leader()]);
    assert_eq!(replica.client().get("a").count_only().await.unwrap().count, 7);
    let minority = Replica::with(std::iter::repeat_n(no_leader(), 1000));
    let client = minority.client().with_deadline(Duration::from_millis(100));
    let error = client.get("a").await.unwrap_err();
    assert_eq!((error.fate(), error.is_retryable()), (Fate::NotExecuted, true));
    assert!(error.to_string().contains("etcdserver: no leader"), "{error}");
}

#[tokio::test]
async fn a_cancelled_write_gives_its_place_in_the_window_back() {
    let replica = Replica::with(std::iter::repeat_n(Some(Fault::Hang), WINDOW));
    let client = replica.client();
    let stuck: Vec<_> = (0..WINDOW).map(|_| tokio::spawn(client.put("stuck", "").into_future())).collect();
    while replica.executed().len() < WINDOW {
        tokio::task::yield_now().await;
    }
    let waiting = client.clone().with_deadline(Duration::from_millis(20)).put("next", "").await;
    assert_eq!(waiting.unwrap_err().fate(), Fate::NotExecuted, "it was never sent");
    for write in stuck {
        write.abort();
    }
    client.put("next", "").await.unwrap();
    assert_eq!(replica.executed().last().unwrap(), "next");
}

#[tokio::test]
async fn a_transaction_that_only_reads_takes_no_number() {
    let client = Replica::default().client();
    assert!(!client.txn().then([Op::get("a")]).await.unwrap().succeeded);
    assert!(client.txn().then([Op::put("a", "1")]).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_closed_session_is_forgotten_by_both() {
    let replica = Replica::default();
    let client = replica.client();
    client.put("a", "1").await.unwrap();
    client.close().await;
    assert!(replica.store.lock().unwrap().sessions.is_empty());
    client.put("b", "1").await.unwrap();
    assert_eq!(replica.opened(), 2);
}

#[tokio::test]
async fn a_client_follows_the_hint_to_a_leader_that_it_was_not_told_of() {
    let leader = Replica::default();
    let address = leader.listen().await;
    let follower = Replica { leader: Some(format!("http://{address}")), ..leader.clone() };
    let client = Client::connect([follower.listen().await]).unwrap();
    client.put("a", "1").await.unwrap();
    assert_eq!(leader.executed(), ["a"]);
}

#[tokio::test]
async fn a_silent_replica_is_left_for_another_with_the_same_number() {
    let replica = Replica::with([Some(Fault::Hang)]);
    let client = Client::builder()
        .endpoints([replica.listen().await, replica.listen().await])
        .dial_timeout(Duration::from_millis(100))
        .connect()
        .unwrap();
    client.put("a", "1").await.unwrap();
    assert_eq!(replica.executed(), ["a"]);
}

#[tokio::test]
async fn endpoints_that_refuse_connections_are_passed_over_and_named_when_there_is_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::builder()
        .endpoints([dead.clone()])
        .retry(Retry::NEVER)
        .exactly_once(false)
        .connect()
        .unwrap()
        .put("a", "1")
        .await
        .unwrap_err();
    assert_eq!((error.fate(), error.is_retryable()), (Fate::NotExecuted, true));
    let text = error.to_string();
    assert!(text.contains(&dead) && text.to_lowercase().contains("refused"), "{text}");

    let alive = Replica::default();
    let client = Client::connect([dead, alive.listen().await]).unwrap();
    client.put("a", "1").await.unwrap();
    assert_eq!(alive.executed(), ["a"]);
}

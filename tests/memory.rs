//! Replicas of little memory, and clients that ask for much.

#[path = "support/cluster.rs"]
mod cluster;

use bytes::Bytes;
use cluster::{Cluster, PATIENCE};
use h2::RecvStream;
use kvorum::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvorum::proto::etcdserverpb::kv_client::KvClient;
use kvorum::proto::etcdserverpb::request_op::Request as Nested;
use kvorum::proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use prost::Message;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const MIB: u64 = 1 << 20;
/// What every replica may take.
const MEMORY: u64 = 1024 * MIB;
/// So many keys that a few hundred reads of all of them are too much.
const KEYS: usize = 200_000;

fn op(request: Nested) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(key: String) -> RequestOp {
    op(Nested::RequestPut(PutRequest { key: key.into(), value: "value".into(), ..Default::default() }))
}

fn all() -> RangeRequest {
    RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() }
}

/// A cluster whose replicas die where they need more memory than they may have.
async fn small() -> Cluster {
    let mut cluster = Cluster::new();
    for n in 0..3 {
        start(&mut cluster, n);
    }
    cluster.leader().await;
    cluster
}

/// What is bounded is memory that may be written. The address space says nothing: an idle replica has
/// reserved a gigabyte of it, for the arenas of its threads, and uses 20 MB.
fn start(cluster: &mut Cluster, n: usize) {
    cluster.start(n);
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    prlimit(Some(pid(cluster, n)), Resource::Data, limit).unwrap();
}

fn pid(cluster: &Cluster, n: usize) -> Pid {
    Pid::from_child(&cluster.running[n].as_ref().unwrap().0)
}

/// The memory that a replica has in use.
fn resident(cluster: &Cluster, n: usize) -> u64 {
    cluster.running[n].as_ref().unwrap().bytes("VmRSS")
}

async fn connect(cluster: &Cluster, n: usize) -> KvClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.endpoint(n))).unwrap();
    KvClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(usize::MAX)
}

async fn fill(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let mut kv = connect(cluster, leader).await;
    for keys in (0..KEYS).collect::<Vec<_>>().chunks(128) {
        let success = keys.iter().map(|i| put(format!("key/{i:08}"))).collect();
        let done = kv.txn(TxnRequest { success, ..Default::default() }).await;
        done.unwrap_or_else(|why| panic!("{why}, with {keys:?}; {}", cluster.logs()));
    }
}

/// Waits until every replica has everything.
async fn level(cluster: &Cluster) {
    for n in 0..3 {
        cluster.serves(n).await;
        let count = RangeRequest { count_only: true, ..all() };
        let count = connect(cluster, n).await.range(count).await.unwrap().into_inner().count;
        assert!(count >= KEYS as i64, "n{n} has {count} keys");
    }
}

/// The call of a session that is new: then nobody but the log refuses it.
async fn in_session(cluster: &Cluster, txn: &TxnRequest) -> Result<(), Status> {
    use kvorum::proto::kvorum::v1::{OpenRequest, sessions_client::SessionsClient};
    let leader = cluster.leader().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.endpoint(leader))).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let opened = SessionsClient::new(channel.clone()).open(OpenRequest {}).await?.into_inner();
    let mut request = Request::new(txn.clone());
    for (key, value) in [("kvorum-session", opened.session), ("kvorum-seq", 1), ("kvorum-low", 1)] {
        request.metadata_mut().insert(key, value.into());
    }
    KvClient::new(channel).txn(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_would_take_all_memory_is_refused_and_kills_no_replica() {
    let mut cluster = small().await;
    fill(&cluster).await;
    level(&cluster).await;
    let keys_only = op(Nested::RequestRange(RangeRequest { keys_only: true, ..all() }));
    let ranges = [vec![keys_only; 127], vec![put("one more".into())]].concat();
    let ranges = TxnRequest { success: ranges, ..Default::default() };
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Version.into(),
        target_union: Some(TargetUnion::Version(0)),
        key: vec![0].into(),
        range_end: vec![0].into(),
    };
    let success = vec![put("one more".into())];
    let compares = TxnRequest { compare: vec![compare; 128], success, ..Default::default() };
    let before = [0, 1, 2].map(|n| resident(&cluster, n));
    for (txn, why) in [
        (&ranges, "kvorum: the reply would take more than 16777216 bytes"),
        (&compares, "kvorum: the transaction looks at more than 1048576 keys"),
    ] {
        let mut refused = vec![in_session(&cluster, txn).await.unwrap_err()];
        for n in 0..3 {
            refused.push(connect(&cluster, n).await.txn(txn.clone()).await.unwrap_err());
        }
        for status in refused {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(status.message().starts_with(why), "{status}");
        }
    }
    let after = [0, 1, 2].map(|n| resident(&cluster, n));
    println!("before {before:?}, after {after:?} bytes");
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + 200 * MIB, "from {before} to {after} bytes");
    }
    // The log still has what was refused, and is executed again.
    (0..3).for_each(|n| cluster.kill(n));
    (0..3).for_each(|n| start(&mut cluster, n));
    level(&cluster).await;
    let found = cluster.client().get("one more").await.unwrap();
    assert!(found.first().is_none(), "what is refused has no effect");
}

/// A client that asks and does not read: a window of one byte for each reply.
struct Deaf {
    replies: Vec<JoinHandle<Option<RecvStream>>>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Deaf {
    async fn ask(cluster: &Cluster, n: usize, calls: usize) -> Deaf {
        let stream = TcpStream::connect(cluster.endpoint(n)).await.unwrap();
        let (send, connection) =
            h2::client::Builder::new().initial_window_size(1).handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let message = all().encode_to_vec();
        let body = Bytes::from([&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat());
        let mut replies = Vec::new();
        for _ in 0..calls {
            let request =
                http::Request::post(format!("http://{}/etcdserverpb.KV/Range", cluster.endpoint(n)))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(())
                    .unwrap();
            let mut ready = send.clone().ready().await.unwrap();
            let (reply, mut sender) = ready.send_request(request, false).unwrap();
            sender.send_data(body.clone(), true).unwrap();
            replies.push(tokio::spawn(async move { Some(reply.await.ok()?.into_body()) }));
        }
        Deaf { replies, connection }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_takes_little_memory_and_is_disconnected() {
    let cluster = small().await;
    fill(&cluster).await;
    level(&cluster).await;
    let n = cluster.leader().await;
    let before = resident(&cluster, n);
    let deaf = Deaf::ask(&cluster, n, 100).await;
    let start = Instant::now();
    let mut most = 0;
    let mut kv = connect(&cluster, n).await;
    while !deaf.connection.is_finished() {
        assert!(start.elapsed() < PATIENCE, "the client that does not read is still connected");
        most = most.max(resident(&cluster, n));
        // Others are served meanwhile, also by the whole.
        let asked = Instant::now();
        kv.put(PutRequest { key: "other".into(), ..Default::default() }).await.unwrap();
        kv.range(RangeRequest { key: "other".into(), ..Default::default() }).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5), "others wait for {:?}", asked.elapsed());
        let whole = kv.range(all()).await.unwrap().into_inner();
        assert!(whole.count > KEYS as i64);
        drop(whole);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{before} bytes before, {most} at most, connected for {:?}", start.elapsed());
    assert!(most < before + 400 * MIB, "from {before} to {most} bytes");
    for reply in deaf.replies {
        reply.await.unwrap();
    }
}

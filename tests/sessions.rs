//! Sessions on real replicas: one that reloads its checkpoint evicts those that the others evict.
#![cfg(feature = "cli")]

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, PATIENCE, Process};
use kvorum::proto::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use kvorum::proto::kvorum::v1::{OpenRequest, sessions_client::SessionsClient};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Sessions that a replica keeps.
const SESSIONS: usize = 1024;

async fn channel(cluster: &Cluster, n: usize) -> Channel {
    let url = format!("http://{}", cluster.endpoint(n));
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

async fn open(at: &Channel) -> u64 {
    let request = Request::new(OpenRequest {});
    SessionsClient::new(at.clone()).open(request).await.unwrap().into_inner().session
}

/// A numbered put, as the SDK sends it, and sends it again: the revision that it was executed at.
async fn put(at: &Channel, (session, seq): (u64, u64), key: &'static str) -> Result<i64, Status> {
    let put = PutRequest { key: key.into(), value: "1".into(), ..Default::default() };
    let mut request = Request::new(put);
    for (name, number) in [("kvorum-session", session), ("kvorum-seq", seq), ("kvorum-low", 1)] {
        request.metadata_mut().insert(name, number.into());
    }
    let reply = KvClient::new(at.clone()).put(request).await?;
    Ok(reply.into_inner().header.unwrap().revision)
}

/// What a linearizable read finds: how often a key was put, and the revision of the store.
async fn read(at: &Channel, key: &'static str) -> (i64, i64) {
    let range = RangeRequest { key: key.into(), ..Default::default() };
    let reply = KvClient::new(at.clone()).range(range).await.unwrap().into_inner();
    (reply.kvs.first().map_or(0, |kv| kv.version), reply.header.unwrap().revision)
}

/// Starts a replica that says when it has finished a checkpoint.
fn start_talkative(cluster: &mut Cluster, n: usize) {
    let (name, dir) = (format!("n{n}"), cluster.dir.path().join(format!("n{n}")));
    let url = format!("http://127.0.0.1:{}", cluster.client_ports[n]);
    let args = ["serve", "--exit-with-parent", "--log-level", "debug", "--name", &name];
    let first = ["--initial-cluster", &cluster.peers, "--listen-client-urls", &url];
    let args = [&args[..], &["--data-dir", dir.to_str().unwrap()], &first].concat();
    cluster.running[n] = Some(Process::start(&args, &cluster.dir.path().join(format!("{name}.log"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_reloads_evicts_the_sessions_that_the_others_evict() {
    let mut cluster = Cluster::new();
    (0..3).filter(|n| *n != 1).for_each(|n| cluster.start(n));
    start_talkative(&mut cluster, 1);
    for n in 0..3 {
        cluster.serves(n).await;
    }
    let a = channel(&cluster, 0).await;

    // Two entries that follow each other: one session is opened, another one is used.
    let used = open(&a).await;
    let opened = open(&a).await;
    let first = put(&a, (used, 1), "used").await.unwrap();

    // A checkpoint of b: so many bytes of log.
    for _ in 0..36 {
        let put =
            PutRequest { key: "filler".into(), value: vec![b'x'; 1 << 20].into(), ..Default::default() };
        KvClient::new(a.clone()).put(put).await.unwrap();
    }
    let begun = Instant::now();
    while !cluster.logs().contains("finished a checkpoint") {
        assert!(begun.elapsed() < PATIENCE, "b makes no checkpoint; {}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.kill(1);
    cluster.start(1);
    cluster.serves(1).await;
    let b = channel(&cluster, 1).await;
    assert_eq!(put(&b, (used, 1), "used").await.unwrap(), first, "b answers what a executed");

    // One session too many: the one that was used least recently has to go, everywhere.
    let mut opening = JoinSet::new();
    for _ in 0..SESSIONS - 1 {
        let a = a.clone();
        opening.spawn(async move { open(&a).await });
        if opening.len() >= 64 {
            opening.join_next().await.unwrap().unwrap();
        }
    }
    opening.join_all().await;
    let c = channel(&cluster, 2).await;
    for at in [&a, &b, &c] {
        let why = put(at, (opened, 1), "opened").await.unwrap_err();
        assert_eq!((why.code(), why.message()), (Code::FailedPrecondition, "kvorum: session expired"));
    }
    // What is acknowledged at one is there at the others; sent again, it is executed once.
    let second = put(&a, (used, 2), "again").await.unwrap();
    assert_eq!(put(&b, (used, 2), "again").await.unwrap(), second);
    for at in [&a, &b, &c] {
        assert_eq!(read(at, "opened").await, (0, second));
        assert_eq!(read(at, "again").await, (1, second));
        assert_eq!(read(at, "used").await, (1, second));
    }
    assert!(!cluster.logs().contains("is not that of"), "no state differs: {}", cluster.logs());
}

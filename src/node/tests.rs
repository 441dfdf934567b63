//! Nodes in one program, on real disks and real sockets.

use super::*;
use crate::kv::{Command, Op, Response};
use crate::proto::etcdserverpb::{PutRequest, RangeRequest};
use crate::stack::Refusal;
use crate::storage::{self, Verdict};
use std::net::TcpListener;
use std::time::Instant;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

fn put(key: &str, value: &str) -> Command {
    let put = PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
    Op::Put(put).into()
}

async fn write(handle: &Handle, key: &str, value: &str) -> i64 {
    match handle.execute(put(key, value), PATIENCE).await {
        Ok(Ok(Response::Put(put))) => put.header.expect("a header").revision,
        other => panic!("a put was answered with {other:?}"),
    }
}

async fn read(handle: &Handle, key: &str) -> Option<String> {
    let view = handle.read_barrier(PATIENCE).await.expect("a read");
    let range = RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let response = view.range(&range, &*handle.rows(), u64::MAX).expect("a range");
    response.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_lone_replica_keeps_what_it_acknowledged() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    assert_eq!(node.status().verdict, Verdict::Fresh);
    assert_eq!(write(node.handle(), "a", "1").await, 2);
    assert_eq!(read(node.handle(), "a").await.as_deref(), Some("1"));
    node.shutdown().await.unwrap();

    let node = Node::open(dir.path()).await.unwrap();
    assert_eq!(node.status().verdict, Verdict::Clean);
    assert_eq!(node.status().replica.incarnation, 2);
    assert_eq!(read(node.handle(), "a").await.as_deref(), Some("1"));
    assert_eq!(write(node.handle(), "a", "2").await, 3);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_together_are_committed_together() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    let before = node.status().core.commits;
    let writes = (0..1000).map(|n| {
        let handle = node.handle().clone();
        tokio::spawn(async move { write(&handle, &format!("k{n}"), "v").await })
    });
    let mut revisions = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        revisions.push(write.await.unwrap());
    }
    revisions.sort();
    assert_eq!(revisions, (2..1002).collect::<Vec<i64>>());
    let commits = node.status().core.commits - before;
    assert!(commits < 500, "1000 writes took {commits} commits");
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn old_revisions_are_forgotten_as_settled() {
    let dir = TempDir::new().unwrap();
    let keep = AutoCompaction::Revisions(20);
    let node = Node::builder(dir.path()).auto_compaction(keep).start().await.unwrap();
    for n in 0..100 {
        write(node.handle(), "a", &n.to_string()).await;
    }
    let start = Instant::now();
    while node.handle().view().is_some_and(|view| view.compacted() < 79) {
        assert!(start.elapsed() < PATIENCE, "nothing is forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = node.handle().view().unwrap();
    assert_eq!(view.revision(), 101);
    assert!((79..=81).contains(&view.compacted()), "a tenth more than 20 may stay, not {}", view.compacted());
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn dropping_a_node_does_not_block_and_frees_its_directory() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(dir.path()).await.unwrap();
    write(node.handle(), "a", "1").await;
    let handle = node.handle().clone();
    let start = Instant::now();
    drop(node);
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(handle.halted().await, Halted::ShutDown);
    assert!(handle.view().is_none(), "a node that has stopped shows nothing");
    let refused = handle.execute(put("a", "2"), PATIENCE).await.unwrap_err();
    assert_eq!(refused, Refused::Stopped(Halted::ShutDown));
    let node = open_again(dir.path()).await;
    assert_eq!(read(node.handle(), "a").await.as_deref(), Some("1"));
    node.shutdown().await.unwrap();
}

/// A directory that was dropped without waiting is in use for a moment longer.
async fn open_again(dir: &Path) -> Node {
    let start = Instant::now();
    loop {
        match Node::open(dir).await {
            Err(Error::Directory(storage::Refused::InUse { .. })) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_failing_disk_halts_the_replica_and_not_the_program() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let failing = std::sync::Arc::new(AtomicBool::new(false));
    let steps = storage::Steps::watched({
        let failing = failing.clone();
        move |_| assert!(!failing.load(Ordering::Relaxed), "the disk fails, as told")
    });
    let dir = TempDir::new().unwrap();
    let options = storage::Options { steps, ..Default::default() };
    let node = Node::builder(dir.path()).storage(options).start().await.unwrap();
    node.handle().serving().await.unwrap();
    write(node.handle(), "a", "1").await;
    failing.store(true, Ordering::Relaxed);
    let refused = node.handle().execute(put("a", "2"), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, Refused::Halted(Halted::Disk(_))), "{refused:?}");
    assert!(matches!(node.handle().halted().await, Halted::Disk(_)));
    assert!(node.handle().view().is_none());
    let later = node.handle().execute(put("a", "3"), PATIENCE).await.unwrap_err();
    assert!(matches!(later, Refused::Stopped(Halted::Disk(_))), "{later:?}");
    assert!(node.shutdown().await.is_err());
}

#[tokio::test]
async fn too_many_requests_are_refused_and_the_rest_go_on() {
    let ports = free_ports();
    let dir = TempDir::new().unwrap();
    // One of two members: nothing can be decided.
    let node = member(&dir, 0, &ports[..2]).start().await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..REQUESTS + 10 {
        let handle = node.handle().clone();
        waiting
            .spawn(async move { handle.execute(put(&format!("k{n}"), "v"), Duration::from_secs(1)).await });
    }
    let (mut too_many, mut no_leader) = (0, 0);
    while let Some(result) = waiting.join_next().await {
        match result.unwrap().unwrap_err() {
            Refused::Refusal(Refusal::TooMany) => too_many += 1,
            Refused::Refusal(Refusal::NoLeader) => no_leader += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((too_many, no_leader), (10, REQUESTS));
    // Dropped futures give their permits back.
    let cancelled = timeout(Duration::ZERO, node.handle().execute(put("k", "v"), PATIENCE)).await;
    assert!(cancelled.is_err());
    let start = Instant::now();
    while node.handle().inner.requests.room() < REQUESTS {
        assert!(start.elapsed() < PATIENCE, "a permit was never given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.shutdown().await.unwrap();
}

/// Ports that nobody listens on, below those that the system gives to connections by itself.
fn free_ports() -> [u16; 3] {
    let mut rng = fastrand::Rng::new();
    let bind = || TcpListener::bind(("127.0.0.1", rng.u16(10_000..32_000)));
    let mut free = std::iter::repeat_with(bind).filter_map(Result::ok);
    let sockets = [(); 3].map(|()| free.next().unwrap());
    sockets.map(|s| s.local_addr().unwrap().port())
}

fn member(dir: &TempDir, which: usize, ports: &[u16]) -> Builder {
    let members = ports.iter().enumerate();
    let members = members.map(|(n, port)| (format!("n{n}"), format!("http://127.0.0.1:{port}")));
    Node::builder(dir.path().join(format!("n{which}")))
        .name(format!("n{which}"))
        .initial_cluster(members)
        .timing(Duration::from_millis(50), Duration::from_millis(500))
}

async fn cluster(dir: &TempDir, ports: &[u16; 3]) -> [Node; 3] {
    let start = |n| member(dir, n, ports).start();
    let (a, b, c) = tokio::join!(start(0), start(1), start(2));
    [a.unwrap(), b.unwrap(), c.unwrap()]
}

async fn leader(nodes: &[Node]) -> usize {
    let start = Instant::now();
    loop {
        if let Some(n) = nodes.iter().position(|node| node.handle().leads()) {
            return n;
        }
        assert!(start.elapsed() < PATIENCE, "no leader");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_one_store() {
    let (dir, ports) = (TempDir::new().unwrap(), free_ports());
    let nodes = cluster(&dir, &ports).await;
    for (n, node) in nodes.iter().enumerate() {
        write(node.handle(), "k", &format!("v{n}")).await;
        for other in &nodes {
            assert_eq!(read(other.handle(), "k").await, Some(format!("v{n}")));
        }
    }
    let ids = nodes.each_ref().map(|n| (n.handle().cluster_id(), n.handle().cluster().members.len()));
    assert!(ids.iter().all(|id| *id == ids[0]));
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_leadership_over_and_a_crash_is_survived() {
    let (dir, ports) = (TempDir::new().unwrap(), free_ports());
    let mut nodes: Vec<Node> = cluster(&dir, &ports).await.into();
    write(nodes[0].handle(), "k", "1").await;
    let leaver = nodes.remove(leader(&nodes).await);
    let name = leaver.handle().name().to_owned();
    let start = Instant::now();
    leaver.shutdown().await.unwrap();
    let next = leader(&nodes).await;
    assert!(start.elapsed() < Duration::from_millis(450), "waited out the timeout: {:?}", start.elapsed());
    write(nodes[next].handle(), "k", "2").await;

    // Back again, and the leader is dropped: two of three go on.
    let which = name[1..].parse().unwrap();
    nodes.push(member(&dir, which, &ports).start().await.unwrap());
    nodes[2].handle().serving().await.unwrap();
    drop(nodes.remove(leader(&nodes).await));
    write(nodes[0].handle(), "k", "3").await;
    for node in &nodes {
        assert_eq!(read(node.handle(), "k").await.as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn a_directory_of_another_replica_or_cluster_is_refused_unchanged() {
    let (dir, ports) = (TempDir::new().unwrap(), free_ports());
    let node = member(&dir, 0, &ports[..1]).start().await.unwrap();
    node.shutdown().await.unwrap();
    let at = dir.path().join("n0");
    let before = listing(&at);
    let other_name = Node::builder(&at).name("n7").start().await;
    assert!(matches!(other_name, Err(Error::Directory(storage::Refused::OtherReplica { .. }))));
    let other_token = Node::builder(&at).name("n0").initial_cluster_token("other").start().await;
    assert!(matches!(other_token, Err(Error::Directory(storage::Refused::OtherCluster { .. }))));
    let other_members = member(&dir, 0, &ports).start().await;
    assert!(matches!(other_members, Err(Error::Directory(storage::Refused::OtherCluster { .. }))));
    assert_eq!(listing(&at), before);
    // Name and directory are enough; so is the directory.
    Node::builder(&at).name("n0").start().await.unwrap().shutdown().await.unwrap();
    Node::open(&at).await.unwrap().shutdown().await.unwrap();
}

fn listing(dir: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let mut all: Vec<_> =
        entries.map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len())).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_taken_port_leaves_no_directory_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("data");
    let url = format!("http://{}", taken.local_addr().unwrap());
    let refused = Node::builder(&at).listen_client(url).start().await;
    assert!(matches!(refused, Err(Error::Listen { purpose: "client", .. })));
    assert!(!at.exists());
}

#[tokio::test]
async fn a_directory_belongs_to_one_state_machine() {
    let dir = TempDir::new().unwrap();
    let builder = || Node::builder(dir.path());
    let replica: Replica<crate::kv::Machine> = builder().replicate("counts").await.unwrap();
    replica.serving().await.unwrap();
    replica.execute(put("a", "1").encode(), PATIENCE).await.unwrap().unwrap();
    replica.shutdown().await.unwrap();

    let other = builder().replicate::<crate::kv::Machine>("sums").await.unwrap_err().to_string();
    assert!(other.contains("is a replica of \"counts\"") && other.contains("as one of \"sums\""), "{other}");
    let store = Node::open(dir.path()).await.unwrap_err().to_string();
    assert!(store.contains("as one of the store: use another directory"), "{store}");

    let replica: Replica<crate::kv::Machine> = builder().replicate("counts").await.unwrap();
    assert_eq!(replica.read(PATIENCE).await.unwrap().revision(), 2);
    let size = COMMAND_BYTES + 1;
    let large = replica.execute(vec![0; size], PATIENCE).await.unwrap_err();
    assert_eq!(large, ExecuteError::TooLarge { size, limit: COMMAND_BYTES });
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_state_machine_of_ones_own_has_a_name_and_no_client_port() {
    let dir = TempDir::new().unwrap();
    let builder = || Node::builder(dir.path().join("n"));
    assert!(builder().replicate::<crate::kv::Machine>("").await.is_err());
    let port = builder().listen_client("http://127.0.0.1:0").replicate::<crate::kv::Machine>("m").await;
    assert!(port.unwrap_err().to_string().contains("serves no clients"));
    assert!(!dir.path().join("n").exists(), "nothing was made");
}

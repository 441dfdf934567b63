//! Power cuts under whole replicas: a lone one at 200 points of a run, and three at once. Clients
//! write over the network; at each cut the disk forgets what was not synced, page by page at
//! random. Nothing acknowledged is lost, and every replica opens. Needs root and `/dev/fuse`;
//! elsewhere the tests say that they were skipped. `KVORUM_CUTS` asks for more cuts of all three.

mod support;

use kvorum::Client;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::forgetful::Forgetful;

const PATIENCE: Duration = Duration::from_secs(30);
const WRITERS: usize = 4;

/// A replica whose data directory is on a disk that forgets.
struct Replica {
    disk: Forgetful,
    _mount: tempfile::TempDir,
    log: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

impl Replica {
    /// Nothing where no such disk can be mounted.
    fn new(name: &str, seed: u64, logs: &std::path::Path, args: &[String]) -> Option<Self> {
        let mount = tempfile::tempdir().unwrap();
        let disk = match Forgetful::mount(mount.path(), seed) {
            Ok(disk) => disk,
            Err(why) => {
                println!("skipped: {why}");
                return None;
            }
        };
        let data = mount.path().join("data").display().to_string();
        let head = ["serve", "--name", name, "--data-dir", &data].map(String::from);
        let args = head.into_iter().chain(args.iter().cloned()).collect();
        Some(Self { disk, _mount: mount, log: logs.join(format!("{name}.log")), args, child: None })
    }

    /// Starts the process, and waits until it says where it listens for clients. Nothing if the
    /// power is cut before that.
    fn start(&mut self) -> Option<String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kvorum"))
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        self.child = Some(child);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("client ") {
                    let _ = tell.send(url.to_string());
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            match told.recv_timeout(Duration::from_millis(5)) {
                Ok(url) => return Some(url),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
            if self.disk.is_cut() {
                return None;
            }
            assert!(Instant::now() < deadline, "it does not open: {}", self.last_words());
        }
        assert!(self.disk.is_cut(), "it ends by itself: {}", self.last_words());
        None
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process dies with the power; then the disk comes back, without what was not synced.
    fn lose_power(&mut self) {
        self.kill();
        self.disk.power_on();
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(12).collect::<Vec<_>>().join("\n")
    }

    fn assert_never_damaged(&self) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(!log.contains("damaged"), "a power cut is no damage: {}", self.last_words());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

fn key(n: u64) -> String {
    format!("k{n:08}")
}

/// Writes until the power is cut; adds what was acknowledged.
async fn write(client: &Client, next: &Arc<AtomicU64>, done: &Arc<Mutex<Vec<u64>>>, stop: &Arc<AtomicBool>) {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (client, next, done, stop) = (client.clone(), next.clone(), done.clone(), stop.clone());
        writers.spawn(async move {
            let client = client.with_deadline(Duration::from_secs(2));
            while !stop.load(Ordering::SeqCst) {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if client.put(key(n), n.to_string()).await.is_ok() {
                    done.lock().unwrap().push(n);
                }
            }
        });
    }
    while writers.join_next().await.is_some() {}
}

/// Everything that was acknowledged is there.
async fn read_back(client: &Client, done: &Mutex<Vec<u64>>) -> Result<usize, String> {
    let deadline = Instant::now() + PATIENCE;
    let reply = loop {
        match client.get("k").prefix().await {
            Ok(reply) => break reply,
            Err(error) if Instant::now() > deadline => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let there: std::collections::BTreeSet<String> =
        reply.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
    let done = done.lock().unwrap();
    let lost: Vec<&u64> = done.iter().filter(|n| !there.contains(&key(**n))).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    Ok(done.len())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn flags(flags: &[(&str, &str)]) -> Vec<String> {
    flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

#[test]
fn a_lone_replica_loses_nothing_acknowledged_at_200_power_cuts() {
    let logs = tempfile::tempdir().unwrap();
    let args =
        flags(&[("listen-client-urls", "http://127.0.0.1:0"), ("listen-peer-urls", "http://127.0.0.1:0")]);
    let Some(mut replica) = Replica::new("a", 1, logs.path(), &args) else { return };
    let mut rng = fastrand::Rng::with_seed(1);
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let runtime = runtime();
    let mut opened = 0;
    for _ in 0..200 {
        // Every other cut falls into the boot, or soon after it.
        replica.disk.cut_after(if rng.bool() { rng.u64(1..60) } else { rng.u64(60..600) });
        if let Some(url) = replica.start() {
            opened += 1;
            let stop = Arc::new(AtomicBool::new(false));
            runtime.block_on(async {
                let client = Client::builder()
                    .endpoints([&url])
                    .retry(kvorum::client::Retry::NEVER)
                    .connect()
                    .unwrap();
                let writing = write(&client, &next, &done, &stop);
                let waiting = async {
                    while !replica.disk.is_cut() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    stop.store(true, Ordering::SeqCst);
                    replica.kill();
                };
                tokio::join!(writing, waiting);
            });
        }
        replica.lose_power();
    }
    replica.disk.cut_after(u64::MAX);
    let url = replica.start().expect("the power stays on");
    let client = Client::connect([url]);
    let count = runtime.block_on(async { read_back(&client.unwrap(), &done).await.unwrap() });
    replica.assert_never_damaged();
    println!("200 power cuts, {opened} after it opened, {count} writes acknowledged, none lost");
    assert!(count > 200, "only {count} writes were acknowledged: the cuts fell too early");
}

#[test]
fn a_cluster_loses_nothing_acknowledged_when_all_lose_power_at_once() {
    let logs = tempfile::tempdir().unwrap();
    let ports = support::ports::free(6);
    let url = |i: usize| format!("http://127.0.0.1:{}", ports[i]);
    let cluster: Vec<String> = (0..3).map(|i| format!("n{i}={}", url(3 + i))).collect();
    let cluster = cluster.join(",");
    let mut replicas = Vec::new();
    for i in 0..3 {
        let args = flags(&[
            ("listen-client-urls", &url(i)),
            ("advertise-client-urls", &url(i)),
            ("listen-peer-urls", &url(3 + i)),
            ("initial-advertise-peer-urls", &url(3 + i)),
            ("initial-cluster", &cluster),
        ]);
        let Some(replica) = Replica::new(&format!("n{i}"), 10 + i as u64, logs.path(), &args) else { return };
        replicas.push(replica);
    }
    let mut rng = fastrand::Rng::with_seed(2);
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let runtime = runtime();
    let rounds = std::env::var("KVORUM_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    for round in 0..=rounds {
        for replica in &mut replicas {
            replica.disk.cut_after(u64::MAX);
            replica.start().expect("the power is on");
        }
        runtime.block_on(async {
            let client = Client::builder().endpoints((0..3).map(url)).connect().unwrap();
            if let Err(why) = read_back(&client, &done).await {
                let words: Vec<String> = replicas.iter().map(Replica::last_words).collect();
                panic!("round {round}: {why}\n{}", words.join("\n\n"));
            }
            if round == rounds {
                return;
            }
            let stop = Arc::new(AtomicBool::new(false));
            let pause = Duration::from_millis(rng.u64(50..600));
            let writing = write(&client, &next, &done, &stop);
            let cutting = async {
                tokio::time::sleep(pause).await;
                replicas.iter().for_each(|r| r.disk.cut());
                stop.store(true, Ordering::SeqCst);
                replicas.iter_mut().for_each(Replica::kill);
            };
            tokio::join!(writing, cutting);
        });
        if round < rounds {
            replicas.iter_mut().for_each(Replica::lose_power);
        }
    }
    replicas.iter().for_each(Replica::assert_never_damaged);
    let count = done.lock().unwrap().len();
    println!("{rounds} power cuts of all three at once, {count} writes acknowledged, none lost");
    assert!(count > 100, "only {count} writes were acknowledged");
}

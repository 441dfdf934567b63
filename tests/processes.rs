//! Real processes: killed, restarted, misconfigured.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, PATIENCE, PROGRAM, Process};
use kvorum::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

async fn expect(client: &Client, writes: std::ops::Range<u32>) {
    for n in writes {
        let got = client.get(format!("k{n}")).serializable().await.unwrap();
        assert_eq!(got.first().and_then(|kv| kv.text()), Some(format!("v{n}").as_str()), "k{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_any_kill() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    let client = cluster.client();
    let write = async |writes: std::ops::Range<u32>| {
        for n in writes {
            client.put(format!("k{n}"), format!("v{n}")).await.unwrap();
        }
    };
    write(0..50).await;

    let leader = cluster.leader().await;
    cluster.kill(leader);
    write(50..100).await;
    cluster.start(leader);
    cluster.serves(leader).await;
    expect(&cluster.only(leader), 0..100).await;

    let follower = (cluster.leader().await + 1) % 3;
    cluster.kill(follower);
    write(100..150).await;
    cluster.start(follower);

    (0..3).for_each(|n| cluster.kill(n));
    (0..3).for_each(|n| cluster.start(n));
    write(150..160).await;
    for n in 0..3 {
        cluster.serves(n).await;
        expect(&cluster.only(n), 0..160).await;
    }
}

/// Values of 8 and 10 MB: two of them are more than what a leader sends undecided in one go, and than a
/// process that lacks decided entries is sent by its leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_larger_than_the_bounds_on_many_survive_their_leaders() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start_with(n, &["--max-request-bytes", "16000000"]));
    let client = cluster.client();
    let value = |round: u8, megabytes: usize| vec![b'a' + round; megabytes * 1_000_000];
    client.put("a", "").await.unwrap();
    let sizes = [8, 10, 8, 10];
    for round in 0..4 {
        let leader = cluster.leader().await;
        let writes = sizes.iter().enumerate().map(|(key, megabytes)| {
            let (client, value) = (client.clone(), value(round, *megabytes));
            tokio::spawn(async move { client.put(format!("large{key}"), value).await })
        });
        let writes: Vec<_> = writes.collect();
        tokio::time::sleep(Duration::from_millis(100 + 150 * u64::from(round))).await;
        cluster.kill(leader);
        for write in writes {
            write.await.unwrap().unwrap_or_else(|e| panic!("round {round}: {e}; {}", cluster.logs()));
        }
        cluster.start(leader);
        cluster.serves(leader).await;
    }
    for (key, megabytes) in sizes.iter().enumerate() {
        let got = client.get(format!("large{key}")).await.unwrap();
        assert!(got.first().is_some_and(|kv| kv.value[..] == value(3, *megabytes)), "large{key}");
    }
    let refused = client.put("a", vec![0; 16_000_001]).await.unwrap_err();
    assert!(refused.to_string().contains("request is too large"), "{refused}");
    client.put("a", "small").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.leader().await;
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let load = (0..8).map(|writer| {
        let (client, over, done) =
            (cluster.client().with_deadline(Duration::from_secs(10)), over.clone(), done.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let (key, value) = (format!("w{writer}"), format!("{n}"));
                client.put(key.clone(), value.clone()).await?;
                let got = client.get(key).await?;
                assert_eq!(got.first().and_then(|kv| kv.text()), Some(value.as_str()));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), kvorum::client::Error>(())
        })
    });
    let load: Vec<_> = load.collect();
    for n in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut process = cluster.running[n].take().unwrap();
        process.signal(Signal::TERM);
        assert_eq!(process.wait(), Some(0), "{}", cluster.logs());
        cluster.start(n);
        cluster.serves(n).await;
    }
    over.store(true, Ordering::Relaxed);
    for load in load {
        load.await.unwrap().unwrap_or_else(|e| panic!("{e}; {}", cluster.logs()));
    }
    assert!(done.load(Ordering::Relaxed) > 100);
    // Each of them left in order, and found it so.
    assert_eq!(cluster.logs().matches("clean start").count() / 3, 2, "{}", cluster.logs());
}

#[tokio::test]
async fn port_0_prints_the_port_that_it_got() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let any = "http://127.0.0.1:0";
    let args = ["serve", "--exit-with-parent", "--data-dir", data.to_str().unwrap()];
    let args = [&args[..], &["--listen-client-urls", any, "--listen-peer-urls", any]].concat();
    let mut process = Process::start(&args, &dir.path().join("log"));
    let mut printed = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut next = || printed.next().unwrap().unwrap();
    let client = next().strip_prefix("client ").expect("a client URL").to_owned();
    assert!(next().starts_with("peer http://127.0.0.1:"));
    assert!(!client.ends_with(":0"));
    let client = Client::connect([client]).unwrap();
    client.put("a", "1").await.unwrap();
    process.signal(Signal::INT);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn a_cluster_leaves_no_child_even_when_it_is_killed() {
    let dir = TempDir::new().unwrap();
    let base = base_port();
    let args = ["cluster", "--data-dir", dir.path().to_str().unwrap(), "--base-port", &base];
    let mut cluster = Process::start(&args, &dir.path().join("log"));
    let mut children = Vec::new();
    for line in BufReader::new(cluster.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, pid)) = line.split_once(" process ") {
            children.push(pid.parse::<i32>().unwrap());
        }
        if line.starts_with("leader ") {
            break;
        }
    }
    assert_eq!(children.len(), 3);
    // One of them cannot even notice.
    kill_process(Pid::from_raw(children[1]).unwrap(), Signal::STOP).unwrap();
    cluster.kill();
    let start = Instant::now();
    while children.iter().any(|pid| runs(*pid)) {
        assert!(start.elapsed() < PATIENCE, "left behind: {children:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether it is there and not just waiting to be buried.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A base port whose six ports are free.
/// Ports for three replicas, 10,000 apart, all below those that the system gives to whoever asks for
/// any: nobody takes them between this look and the start.
fn base_port() -> String {
    let free = |base: u16| {
        [0, 1].iter().all(|d| (0..3).all(|n| TcpListener::bind(("127.0.0.1", base + d + n * 10_000)).is_ok()))
    };
    let start = 3_000 + (std::process::id() % 4_000) as u16 * 2;
    (start..12_000).step_by(2).find(|base| free(*base)).expect("some are free").to_string()
}

// ── Bad input ────────────────────────────────────────────────────────────────────────────────

fn serve(args: &[&str]) -> Output {
    let mut child = Command::new(PROGRAM)
        .arg("serve")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Everything under a directory: paths, contents, times.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.unwrap();
        let content = if entry.path().is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        all.push((entry.path(), content, entry.metadata().unwrap().modified().unwrap()));
        all.extend(everything(&entry.path()));
    }
    all.sort();
    all
}

/// A data directory of n0, of a cluster of its own, that was left in order.
fn made(dir: &Path) -> PathBuf {
    let data = dir.join("made");
    let any = "http://127.0.0.1:0";
    let args = ["serve", "--name", "n0", "--data-dir", data.to_str().unwrap()];
    let args = [&args[..], &["--listen-client-urls", any, "--listen-peer-urls", any]].concat();
    let mut process = Process::start(&args, &dir.join("made.log"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0));
    data
}

/// The identity as a later version might write it.
fn newer(data: &Path) {
    let path = data.join("identity");
    let text = fs::read_to_string(&path).unwrap();
    let (sealed, _) = text.rsplit_once("crc32 ").unwrap();
    let (title, body) = sealed.split_once('\n').unwrap();
    let (title, _) = title.rsplit_once(' ').unwrap();
    let sealed = format!("{title} 99\n{body}");
    fs::write(&path, format!("{sealed}crc32 {:08x}\n", crc32fast::hash(sealed.as_bytes()))).unwrap();
}

#[test]
fn bad_input_is_refused_in_one_line_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = made(dir.path()).to_str().unwrap().to_owned();
    let newer_dir = at("newer");
    fs::create_dir(&newer_dir).unwrap();
    fs::copy(format!("{made}/identity"), format!("{newer_dir}/identity")).unwrap();
    newer(Path::new(&newer_dir));
    fs::write(dir.path().join("file"), "not a directory").unwrap();
    fs::create_dir(dir.path().join("foreign")).unwrap();
    fs::write(dir.path().join("foreign/thesis.tex"), "irreplaceable").unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("http://{}", held.local_addr().unwrap());

    let (fresh, any) = (at("fresh"), "http://127.0.0.1:0");
    let two = "n0=http://127.0.0.1:1,n1=http://127.0.0.1:2";
    let (file, under_file, foreign) = (at("file"), at("file/data"), at("foreign"));
    // What is wrong, and what must be said about it.
    let table: &[(&[&str], &str)] = &[
        (&["--nonsense"], "--nonsense"),
        (&["--nmae", "n0"], "--name"),
        (&["extra"], "extra"),
        (&["--cert-file", "x"], "TLS"),
        (&["--auto-tls"], "TLS"),
        (&["--discovery-srv", "x"], "--initial-cluster"),
        (&["--log-level", "loud"], "loud"),
        (&["--listen-client-urls", "localhost:2379"], "http://HOST:PORT"),
        (&["--listen-client-urls", "https://localhost:2379"], "TLS"),
        (&["--listen-client-urls", "http://localhost:99999"], "99999"),
        (&["--listen-client-urls", "http://192.0.2.1:2379"], "192.0.2.1"),
        (&["--listen-client-urls", "http://no-such-host.invalid:2379"], "no-such-host"),
        (&["--listen-client-urls", &taken], "--listen-client-urls"),
        (&["--listen-peer-urls", &taken], "--listen-peer-urls"),
        (&["--advertise-client-urls", "http://0.0.0.0:2379"], "0.0.0.0"),
        (&["--name", "n9", "--initial-cluster", two], "n9"),
        (&["--name", "n0", "--initial-cluster", "n0=http://a:1,n0=http://a:2"], "twice"),
        (&["--name", "n0", "--initial-cluster", "n0"], "NAME="),
        (&["--name", "n0", "--initial-cluster", "n0=https://a:1"], "TLS"),
        (&["--name", "a b"], "a b"),
        (&["--initial-cluster-state", "existing"], "existing"),
        (&["--initial-cluster-state", "old"], "old"),
        (&["--heartbeat-interval", "0"], "--heartbeat-interval"),
        (&["--election-timeout", "200"], "five times"),
        (&["--quota-backend-bytes", "2G"], "2G"),
        (&["--auto-compaction-mode", "never"], "never"),
        (&["--data-dir", &file], "not a directory"),
        (&["--data-dir", &under_file], "not a directory"),
        (&["--data-dir", &foreign], "thesis.tex"),
        (&["--data-dir", &newer_dir], "99"),
        (&["--data-dir", &made, "--name", "n1"], "n1"),
        (&["--data-dir", &made, "--name", "n0", "--initial-cluster", two], "cluster"),
        (&["--data-dir", &made, "--initial-cluster-token", "other"], "cluster"),
    ];
    let before = everything(dir.path());
    for (args, said) in table {
        // Defaults that would work, so that only what the case gives is wrong.
        let mut line = args.to_vec();
        for (flag, value) in
            [("--data-dir", fresh.as_str()), ("--listen-client-urls", any), ("--listen-peer-urls", any)]
        {
            if !args.contains(&flag) {
                line.extend([flag, value]);
            }
        }
        let output = serve(&line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{args:?} ended with {}: {stderr}",
            output.status
        );
        assert_eq!(stderr.lines().count(), 1, "{args:?} said {stderr}");
        assert!(stderr.contains(said), "{args:?} said {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert_eq!(everything(dir.path()), before, "{args:?} changed something");
    }
    drop(held);
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data").to_str().unwrap().to_owned();
    let any = "http://127.0.0.1:0";
    let args = ["--data-dir", &data, "--listen-client-urls", any, "--listen-peer-urls", any];
    let mut process = Process::start(&[&["serve"], &args[..]].concat(), &dir.path().join("log"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = serve(&args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("in use by process {}", process.0.id())), "{stderr}");
}

//! etcdctl against a cluster of three processes: each command of `etcdctl.txt` goes to another
//! replica, and prints what it prints against etcd.
//!
//! With `ETCD_ENDPOINTS` set, the transcript is held against the (empty) etcd that listens there.
#![cfg(feature = "cli")]

#[path = "support/ports.rs"]
mod ports;

use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use tempfile::TempDir;

/// A replica in a process of its own. It ends with the test, however that ends.
struct Replica {
    process: Child,
    /// Held open: it says there where it listens.
    _stdout: BufReader<ChildStdout>,
    /// Where clients reach it.
    url: String,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}

fn serve(dir: &Path, name: &str, flags: &[&str]) -> Replica {
    let mut process = Command::new(env!("CARGO_BIN_EXE_kvorum"))
        .args(["serve", "--exit-with-parent", "--listen-client-urls=http://127.0.0.1:0", "--name", name])
        .arg("--data-dir")
        .arg(dir.join(name))
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(dir.join(format!("{name}.log"))).unwrap())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("client ").unwrap_or_else(|| {
        panic!("{name} did not start: {}", fs::read_to_string(dir.join(format!("{name}.log"))).unwrap())
    });
    Replica { url: url.to_owned(), process, _stdout: stdout }
}

/// Three replicas, one cluster.
fn cluster(dir: &Path) -> Vec<Replica> {
    let member = |(i, port): (usize, &u16)| format!("n{i}=http://127.0.0.1:{port}");
    let members: Vec<String> = ports::free(3).iter().enumerate().map(member).collect();
    let founding = format!("--initial-cluster={}", members.join(","));
    (0..3).map(|i| serve(dir, &format!("n{i}"), &[&founding])).collect()
}

fn is_installed() -> bool {
    let installed = Command::new("etcdctl").arg("version").output().is_ok_and(|o| o.status.success());
    if !installed {
        println!("skipped: etcdctl is not installed");
    }
    installed
}

fn etcdctl(endpoints: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("etcdctl")
        .args([&format!("--endpoints={endpoints}"), "--command-timeout=60s"])
        .args(arguments)
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What etcdctl prints as JSON.
fn json(endpoints: &str, arguments: &[&str]) -> Value {
    let output = etcdctl(endpoints, &[arguments, &["-w", "json"]].concat(), "");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command of the transcript: `$` its arguments, `<` its input, then what it prints, `!` the
/// error that it ends with.
fn rerun(endpoint: &str, step: &str) -> String {
    let arguments = step.lines().next().unwrap().strip_prefix("$ ").unwrap();
    let input = || step.lines().filter_map(|line| line.strip_prefix('<'));
    let text: String = input().map(|line| format!("{}\n", line.trim_start())).collect();
    let output = etcdctl(endpoint, &arguments.split('|').collect::<Vec<_>>(), &text);
    let mut again = format!("$ {arguments}\n");
    again.extend(input().map(|line| format!("<{line}\n")));
    again += &String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        let complaint = String::from_utf8(output.stderr).unwrap();
        again += &format!("! {}\n", complaint.lines().last().unwrap_or_default());
    }
    [
        "\"cluster_id\":",
        "\"member_id\":",
        "\"raft_term\":",
        "\"ClusterID\" : ",
        "\"MemberID\" : ",
        "\"RaftTerm\" : ",
    ]
    .into_iter()
    .fold(again, without_number)
}

/// The text with `#` for the numbers that differ from run to run.
fn without_number(text: String, after: &str) -> String {
    let mut parts = text.split(after);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + after + "#" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn etcdctl_prints_on_any_replica_what_it_prints_on_etcd() {
    if !is_installed() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut replicas = Vec::new();
    let endpoints: Vec<String> = match std::env::var("ETCD_ENDPOINTS") {
        Ok(endpoints) => endpoints.split(',').map(str::to_owned).collect(),
        Err(_) => {
            replicas = cluster(dir.path());
            replicas.iter().map(|r| r.url.clone()).collect()
        }
    };
    let mut at = 0;
    for step in include_str!("etcdctl.txt").split("\n\n$ ") {
        let step = format!("$ {}\n", step.trim_start_matches("$ ").trim_end());
        // A serializable read sees what its replica has: where the last command was executed.
        at += usize::from(!step.contains("--consistency=s"));
        let again = rerun(&endpoints[at % endpoints.len()], &step);
        assert!(again.trim_end() == step.trim_end(), "expected\n{step}\nactually\n{again}");
    }
    drop(replicas);
}

#[test]
fn etcdctl_sees_the_cluster() {
    if !is_installed() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let replicas = cluster(dir.path());
    let urls: Vec<&str> = replicas.iter().map(|r| r.url.as_str()).collect();
    let put = etcdctl(urls[0], &["put", "a", "1"], "");
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));

    let members = json(urls[1], &["member", "list"]);
    let members = members["members"].as_array().unwrap();
    let names: Vec<_> = members.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["n0", "n1", "n2"]);
    for member in members {
        let reached = member["clientURLs"][0].as_str().unwrap();
        assert!(urls.contains(&reached), "{reached}");
        assert_eq!(etcdctl(reached, &["get", "a"], "").stdout, b"a\n1\n");
    }

    let all = json(&urls.join(","), &["endpoint", "status"]);
    let all: Vec<&Value> = all.as_array().unwrap().iter().map(|s| &s["Status"]).collect();
    assert_eq!(all.len(), 3);
    let leader = &all[0]["leader"];
    assert!(members.iter().any(|m| m["ID"] == *leader), "{leader}");
    for status in &all {
        assert_eq!((&status["leader"], &status["raftTerm"]), (leader, &all[0]["raftTerm"]));
        assert!(status["version"].as_str().unwrap().starts_with("3.6."), "{status}");
        assert_eq!(status["header"]["revision"], 2);
        assert_eq!((&status["dbSize"], &status["dbSizeInUse"]), (&Value::from(2), &Value::from(2)));
        assert!(status["raftIndex"].as_u64() >= status["raftAppliedIndex"].as_u64(), "{status}");
        assert_eq!(status["errors"], Value::Null);
    }
    let health = etcdctl(&urls.join(","), &["endpoint", "health"], "");
    assert!(health.status.success());
    let said = String::from_utf8([health.stdout, health.stderr].concat()).unwrap();
    assert_eq!(said.matches("is healthy: successfully committed proposal").count(), 3, "{said}");
}

#[test]
fn users_and_tls_are_refused_clearly_and_never_as_if_honoured() {
    if !is_installed() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let lone = serve(dir.path(), "lone", &["--listen-peer-urls=http://127.0.0.1:0"]);
    let output = etcdctl(&lone.url, &["--user=a:b", "put", "a", "1"], "");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(complaint.contains("authentication is not served yet: connect without user"), "{complaint}");
    assert_eq!(etcdctl(&lone.url, &["get", "a"], "").stdout, b"", "nothing was written");

    let secure = lone.url.replace("http://", "https://");
    let output = etcdctl(&secure, &["--command-timeout=2s", "put", "a", "1"], "");
    assert!(!output.status.success() && output.stdout.is_empty());
    let log = fs::read_to_string(dir.path().join("lone.log")).unwrap();
    assert!(log.contains("TLS is not served yet"), "{log}");
    assert_eq!(etcdctl(&lone.url, &["get", "a"], "").stdout, b"");
}

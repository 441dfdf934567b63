//! Replicas as real processes.
#![allow(dead_code)] // no test needs all of it

#[path = "ports.rs"]
mod ports;

use kvorum::Client;
use kvorum::client::Retry;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kvorum");
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that nobody else uses.
pub fn free_ports(count: usize) -> Vec<u16> {
    ports::free(count)
}

/// A child that does not outlive the test: it is killed when dropped, and ends with its standard
/// input when the test dies itself.
pub struct Process(pub Child);

impl Process {
    pub fn start(args: &[&str], log: &Path) -> Process {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        Process(command.spawn().unwrap())
    }

    /// A count of bytes that the kernel tells of the process, such as `VmRSS`, the memory in use.
    pub fn bytes(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let mut fields = status.lines().filter_map(|line| line.split_once(':'));
        let (_, size) = fields.find(|(name, _)| *name == what).expect("the process runs");
        size.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id() as i32).unwrap(), signal).unwrap();
    }

    pub fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Waits until a replica serves reads, by new clients of this one alone.
pub async fn served(only: impl Fn() -> Client, else_say: impl Fn() -> String) {
    let start = Instant::now();
    while only().get("a").serializable().await.is_err() {
        assert!(start.elapsed() < PATIENCE, "{}", else_say());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub struct Cluster {
    pub dir: TempDir,
    pub client_ports: [u16; 3],
    pub peers: String,
    pub running: [Option<Process>; 3],
}

impl Cluster {
    pub fn new() -> Cluster {
        let ports = ports::free(6);
        let peers = [3, 4, 5].map(|n| format!("n{}=http://127.0.0.1:{}", n - 3, ports[n])).join(",");
        let client_ports = [ports[0], ports[1], ports[2]];
        Cluster { dir: TempDir::new().unwrap(), client_ports, peers, running: [None, None, None] }
    }

    pub fn start(&mut self, n: usize) {
        self.start_with(n, &[]);
    }

    /// With these flags besides.
    pub fn start_with(&mut self, n: usize, flags: &[&str]) {
        let name = format!("n{n}");
        let dir = self.dir.path().join(&name);
        let url = format!("http://127.0.0.1:{}", self.client_ports[n]);
        let args = ["serve", "--exit-with-parent", "--name", &name, "--data-dir", dir.to_str().unwrap()];
        // The cluster is named at the first boot only: the rest is remembered.
        let first = ["--initial-cluster", &self.peers, "--listen-client-urls", &url];
        let args = if dir.exists() { args.to_vec() } else { [&args[..], &first[..]].concat() };
        let args = [&args[..], flags].concat();
        let log = self.dir.path().join(format!("{name}.log"));
        self.running[n] = Some(Process::start(&args, &log));
    }

    /// Stops a replica in order.
    pub fn stop(&mut self, n: usize) {
        let mut process = self.running[n].take().expect("it runs");
        process.signal(Signal::TERM);
        assert_eq!(process.wait(), Some(0), "{}", self.logs());
    }

    pub fn kill(&mut self, n: usize) {
        self.running[n].take().expect("it runs").kill();
    }

    pub fn endpoint(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.client_ports[n])
    }

    pub fn client(&self) -> Client {
        let endpoints = [0, 1, 2].map(|n| self.endpoint(n));
        Client::builder().endpoints(endpoints).deadline(PATIENCE).connect().unwrap()
    }

    /// A client of one replica.
    pub fn only(&self, n: usize) -> Client {
        // Without a retry, or it would ask another one that it has heard of.
        let only = Client::builder().endpoints([self.endpoint(n)]).retry(Retry::NEVER);
        only.deadline(PATIENCE).connect().unwrap()
    }

    pub async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for n in (0..3).filter(|n| self.running[*n].is_some()) {
                let status = self.only(n).with_deadline(Duration::from_millis(500)).status().await;
                if status.is_ok_and(|s| s.leader == s.header.member) {
                    return n;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no leader; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a replica serves reads.
    pub async fn serves(&self, n: usize) {
        served(|| self.only(n), || format!("n{n} does not serve; {}", self.logs())).await;
    }

    pub fn logs(&self) -> String {
        let logs = [0, 1, 2].map(|n| self.dir.path().join(format!("n{n}.log")));
        logs.map(|log| fs::read_to_string(log).unwrap_or_default()).join("\n")
    }
}

//! Three replicas, each on a small disk of its own.
//!
//! The disks are tmpfs in a mount namespace that lasts as long as one child, which ends with its
//! standard input: whatever becomes of the test, nothing stays mounted.

use super::cluster::{PATIENCE, PROGRAM, Process, free_ports, served};
use kvorum::Client;
use kvorum::client::Retry;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub struct SmallDisks {
    dir: TempDir,
    holder: Child,
    ports: Vec<u16>,
    running: Vec<Option<Process>>,
}

impl SmallDisks {
    /// Nothing where no such disks can be mounted.
    pub fn mount(replicas: usize, bytes: u64) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounts: Vec<PathBuf> = (0..replicas).map(|n| dir.path().join(format!("n{n}"))).collect();
        mounts.iter().for_each(|mount| fs::create_dir(mount).unwrap());
        let script = format!(
            "for d in \"$@\"; do mount -t tmpfs -o size={bytes} none \"$d\" || exit 1; done; echo ready; exec cat"
        );
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .args(&mounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = holder else {
            println!("skipped: there is no unshare, which mounts small disks");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            let _ = holder.wait();
            println!("skipped: only root can mount a small disk");
            return None;
        }
        let running = (0..replicas).map(|_| None).collect();
        Some(Self { dir, holder, ports: free_ports(2 * replicas), running })
    }

    /// The disk of a replica, seen from here.
    fn disk(&self, n: usize) -> PathBuf {
        let path = self.dir.path().join(format!("n{n}"));
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), path.display()))
    }

    pub fn start(&mut self, n: usize) {
        let replicas = self.running.len();
        let peers: Vec<String> =
            (0..replicas).map(|p| format!("n{p}=http://127.0.0.1:{}", self.ports[replicas + p])).collect();
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = Command::new("nsenter")
            .args(["--mount", "--target", &self.holder.id().to_string(), PROGRAM, "serve"])
            .args(["--exit-with-parent", "--name", &format!("n{n}"), "--data-dir"])
            .arg(self.dir.path().join(format!("n{n}/data")))
            .args(["--initial-cluster", &peers.join(",")])
            .args(["--listen-client-urls", &format!("http://{}", self.endpoint(n))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        self.running[n] = Some(Process(child.unwrap()));
    }

    pub fn kill(&mut self, n: usize) {
        self.running[n].take().expect("it runs").kill();
    }

    /// Fills a disk to the brim.
    pub fn fill(&self, n: usize) {
        let mut filler = File::create(self.disk(n).join("filler")).unwrap();
        let zeros = vec![0; 64 << 10];
        while filler.write_all(&zeros).is_ok() {}
    }

    /// Removes what filled it.
    pub fn clear(&self, n: usize) {
        fs::remove_file(self.disk(n).join("filler")).unwrap();
    }

    /// The bytes that are free on each disk.
    pub fn free(&self) -> Vec<u64> {
        let free = |n| rustix::fs::statvfs(self.disk(n)).map(|stat| stat.f_bavail * stat.f_frsize).unwrap();
        (0..self.running.len()).map(free).collect()
    }

    pub fn endpoint(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.ports[n])
    }

    pub fn client(&self) -> Client {
        let endpoints = (0..self.running.len()).map(|n| self.endpoint(n));
        Client::builder().endpoints(endpoints).deadline(PATIENCE).connect().unwrap()
    }

    /// A client of one replica.
    pub fn only(&self, n: usize) -> Client {
        let only = Client::builder().endpoints([self.endpoint(n)]).retry(Retry::NEVER);
        only.exactly_once(false).deadline(PATIENCE).connect().unwrap()
    }

    /// Waits until a replica serves reads.
    pub async fn serves(&self, n: usize) {
        served(|| self.only(n), || format!("n{n} does not serve; {}", self.logs())).await;
    }

    pub fn logs(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        self.running.clear();
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

//! A system that lets a replica have few files open: clients that take all they can get leave enough
//! for the disk and the peers.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{PATIENCE, PROGRAM};
use kvorum::Client;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A lone replica that may have so many files open, first and at most.
struct Replica {
    child: Child,
    address: String,
}

impl Replica {
    fn start(dir: &Path, first: u32, most: u32) -> Self {
        let limits = format!("ulimit -Sn {first} && ulimit -Hn {most} && exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &limits, PROGRAM, "serve", "--exit-with-parent", "--data-dir"])
            .arg(dir.join("data"))
            .args(["--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", "http://127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        // The peer port is the last that it says.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let lines: Vec<String> = lines.take_while(|line| !line.starts_with("peer ")).collect();
        let address = lines.iter().find_map(|line| line.strip_prefix("client http://"));
        Self { child, address: address.expect("it says where it listens").to_owned() }
    }

    fn client(&self) -> Client {
        Client::connect([format!("http://{}", self.address)]).unwrap()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// A connection of a client that says nothing more.
    fn connect(&self) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").ok()?;
        Some(stream)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

async fn put(client: &Client, key: &str) {
    client.clone().with_deadline(PATIENCE).put(key, "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_leave_descriptors_for_the_disk_and_the_peers() {
    const MOST: u32 = 200;
    let dir = TempDir::new().unwrap();
    let replica = Replica::start(dir.path(), MOST, MOST);
    let first = replica.client();
    put(&first, "before").await;

    let crowd: Vec<TcpStream> = (0..400).filter_map(|_| replica.connect()).collect();
    let mut most = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        most = most.max(replica.open_files());
        put(&first, "meanwhile").await;
    }
    println!("{most} files open of {MOST}, with {} connections", crowd.len());
    assert!(most + 40 <= MOST as usize, "{most} of {MOST} are open");
    assert!(most > 100, "only {most} files are open: was anybody let in?");

    drop(crowd);
    put(&replica.client(), "after").await;
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(log.matches("connections of clients").count(), 1, "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
}

#[test]
fn a_replica_takes_as_many_descriptors_as_it_may_have() {
    let dir = TempDir::new().unwrap();
    let replica = Replica::start(dir.path(), 64, 8192);
    let limits = fs::read_to_string(format!("/proc/{}/limits", replica.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("8192"), "{files}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("connections of clients"), "{log}");
}

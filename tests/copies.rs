//! Copies of data directories, put back beside real processes.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, PATIENCE};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

impl Cluster {
    /// Copies the directory of a replica, as a backup does.
    fn back_up(&self, n: usize) {
        let (from, to) = (self.dir.path().join(format!("n{n}")), self.dir.path().join("backup"));
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    }

    /// Puts the copy in place of the directory.
    fn restore(&self, n: usize) {
        let dir = self.dir.path().join(format!("n{n}"));
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(self.dir.path().join("backup"), dir).unwrap();
    }

    /// Waits until a replica says whether it counts in no majority.
    async fn is_learner(&self, n: usize, wanted: bool) {
        let start = Instant::now();
        loop {
            let status = self.only(n).with_deadline(Duration::from_millis(500)).status().await;
            if status.is_ok_and(|status| status.learner == wanted) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "n{n} never was a learner: {wanted}; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until one of these replicas has halted.
    async fn halted(&mut self, some: &[usize]) {
        let start = Instant::now();
        loop {
            for n in some {
                let process = self.running[*n].as_mut().expect("it was started");
                if let Some(status) = process.0.try_wait().unwrap() {
                    assert_eq!(status.code(), Some(5), "{}", self.logs());
                    return;
                }
            }
            assert!(start.elapsed() < PATIENCE, "nobody halts; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a replica shows this value.
    async fn shows(&self, n: usize, key: &str, value: &str) {
        let start = Instant::now();
        loop {
            let got = self.only(n).with_deadline(Duration::from_secs(1)).get(key).serializable().await;
            if got.is_ok_and(|got| got.first().and_then(|kv| kv.text()) == Some(value)) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "n{n} never shows {key} = {value}; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Nobody but the directory can know: b was down when x was written, and a is down when c's copy
/// comes back. If the copy voted, b and c would go on without x.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_replica_loses_nothing_acknowledged() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.client().put("before", "1").await.unwrap();
    cluster.shows(C, "before", "1").await;
    cluster.back_up(C);
    cluster.kill(B);
    cluster.client().put("x", "acknowledged").await.unwrap();
    cluster.kill(A);
    cluster.kill(C);
    cluster.restore(C);

    cluster.start(B);
    cluster.start(C);
    cluster.is_learner(C, true).await;
    assert!(cluster.logs().contains("is a copy of a data directory"), "{}", cluster.logs());
    let refused = cluster.client().with_deadline(Duration::from_secs(4)).put("y", "1").await;
    assert!(refused.is_err(), "b and a copy of c took a write; {}", cluster.logs());

    cluster.start(A);
    cluster.client().put("after", "1").await.unwrap();
    for n in [A, B, C] {
        cluster.shows(n, "after", "1").await;
        cluster.shows(n, "x", "acknowledged").await;
    }
    cluster.is_learner(C, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_stopped_replica_counts_once_somebody_vouches_for_it() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.client().put("x", "1").await.unwrap();
    cluster.shows(C, "x", "1").await;
    cluster.stop(C);
    cluster.back_up(C);
    cluster.restore(C);
    // Forgotten at first.
    cluster.start(C);
    cluster.is_learner(C, true).await;
    cluster.stop(C);
    cluster.start_with(C, &["--adopt-copied-directory"]);
    cluster.is_learner(C, false).await;
    cluster.stop(C);
    cluster.start(C);
    cluster.is_learner(C, false).await;
    cluster.kill(A);
    cluster.client().put("x", "2").await.unwrap();
    cluster.shows(C, "x", "2").await;
}

/// A person vouches for a copy of which that is not true, but its peers have seen what came after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_its_peers_have_seen_further_on_counts_nowhere_whoever_vouches_for_it() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.client().put("before", "1").await.unwrap();
    cluster.shows(C, "before", "1").await;
    cluster.back_up(C);
    cluster.client().put("x", "acknowledged").await.unwrap();
    cluster.shows(C, "x", "acknowledged").await;
    cluster.kill(C);
    cluster.restore(C);
    cluster.start_with(C, &["--adopt-copied-directory"]);
    cluster.is_learner(C, true).await;
    assert!(cluster.logs().contains("RolledBack"), "{}", cluster.logs());
    cluster.client().put("after", "1").await.unwrap();
    cluster.shows(C, "x", "acknowledged").await;
    cluster.shows(C, "after", "1").await;
}

/// A person vouches for a copy of which that is not true, and nobody who is up has seen what came after.
/// Nothing can save x at b and c; that a has it is not overwritten, and is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_decided_differently_do_not_go_on_together() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.client().put("before", "1").await.unwrap();
    cluster.shows(C, "before", "1").await;
    cluster.back_up(C);
    cluster.kill(B);
    cluster.client().put("x", "acknowledged").await.unwrap();
    // An idle replica stores what is decided.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.kill(A);
    cluster.kill(C);
    cluster.restore(C);
    cluster.start(B);
    cluster.start_with(C, &["--adopt-copied-directory"]);
    cluster.client().put("y", "1").await.unwrap();
    cluster.start(A);
    // Also c learns from a what it is, so that the two others are left: whoever of them would follow halts.
    let start = Instant::now();
    while !cluster.logs().contains("decided entries of the log are not those of") {
        assert!(start.elapsed() < PATIENCE, "nobody says that logs differ; {}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.halted(&[A, B]).await;
}

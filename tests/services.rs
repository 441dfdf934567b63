//! The services for programs, on three replicas that are killed: through the SDK and the program.
#![cfg(feature = "cli")]

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, PATIENCE, PROGRAM, Process};
use kvorum::Client;
use kvorum::client::{Cursor, Guarantee, Outcome, Reason, Start, Vote};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::Duration;

/// A client of one replica, which waits for it to come back.
fn at(cluster: &Cluster, n: usize) -> Client {
    Client::builder().endpoints([cluster.endpoint(n)]).deadline(PATIENCE).connect().unwrap()
}

/// Runs a command of the program to its end: what it printed.
fn kvorum(cluster: &Cluster, n: usize, args: &[&str]) -> String {
    let endpoint = cluster.endpoint(n);
    let args = [&["--endpoints", &endpoint, "--command-timeout", "60s"], args].concat();
    let output = Command::new(PROGRAM).args(&args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}; {}", cluster.logs());
    String::from_utf8(output.stdout).unwrap()
}

/// A command of the program that runs until it is killed, and what it prints.
fn follow(cluster: &Cluster, n: usize, args: &[&str]) -> (Process, BufReader<std::process::ChildStdout>) {
    let endpoint = cluster.endpoint(n);
    let args = [&["--endpoints", &endpoint], args].concat();
    let mut process = Process::start(&args, &cluster.dir.path().join("follow.log"));
    let lines = BufReader::new(process.0.stdout.take().unwrap());
    (process, lines)
}

async fn started() -> Cluster {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.leader().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_goes_on_while_the_leader_is_dead_and_keeps_its_value_through_a_crash_of_all() {
    let mut cluster = started().await;
    for n in 0..3 {
        at(&cluster, n).register("x").write(format!("v{n}")).await.unwrap();
        let found = at(&cluster, (n + 1) % 3).register("x").read().await.unwrap().unwrap();
        assert_eq!(found.text(), Some(format!("v{n}").as_str()));
    }
    let leader = cluster.leader().await;
    cluster.kill(leader);
    // No leader is there yet, and none is asked.
    let other = (leader + 1) % 3;
    at(&cluster, other).register("x").write("after").await.unwrap();
    let rest = (leader + 2) % 3;
    let found = at(&cluster, rest).register("x").read().await.unwrap().unwrap();
    assert_eq!(found.text(), Some("after"));
    cluster.kill(other);
    cluster.kill(rest);
    (0..3).for_each(|n| cluster.start(n));
    assert_eq!(kvorum(&cluster, leader, &["register", "read", "x"]), "after\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_the_same_from_every_replica_for_ever() {
    let mut cluster = started().await;
    let [a, b, c] = [0, 1, 2].map(|n| at(&cluster, n));
    for instance in 0..5 {
        let propose = |client: &Client, value| {
            let instance = client.consensus(format!("i{instance}"));
            async move { instance.propose(value).await.unwrap() }
        };
        let (x, y, z) = tokio::join!(propose(&a, "a"), propose(&b, "b"), propose(&c, "c"));
        assert!(x == y && y == z && ["a", "b", "c"].iter().any(|v| x == *v), "{x:?} {y:?} {z:?}");
    }
    let before = kvorum(&cluster, 0, &["decision", "i0"]);
    (0..3).for_each(|n| cluster.kill(n));
    (0..3).for_each(|n| cluster.start(n));
    for n in 0..3 {
        assert_eq!(kvorum(&cluster, n, &["decision", "i0"]), before);
        assert_eq!(kvorum(&cluster, n, &["propose", "i0", "something else"]), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_survives_the_death_of_a_participant_and_of_the_leader_between_vote_and_outcome() {
    let mut cluster = started().await;
    let begun = cluster.client().transaction("t").begin(["a", "b"], PATIENCE).await.unwrap();
    assert_eq!(begun.outcome, None);
    // A participant votes, waits for what comes, and dies; so does the leader.
    let leader = cluster.leader().await;
    let [one, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let voted = kvorum(&cluster, one, &["commit", "vote", "t", "a", "yes"]);
    assert_eq!(voted, "t: undecided\n  a votes yes\n  b has not voted\n");
    let (participant, _) = follow(&cluster, one, &["commit", "outcomes", "a", "--follow"]);
    participant.kill();
    cluster.kill(leader);
    let status = at(&cluster, other).transaction("t").vote("b", Vote::Yes).await.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Committed));
    cluster.start(leader);
    cluster.serves(leader).await;
    // It comes back, at any replica, and is told; until it has acknowledged, again and again.
    for n in 0..3 {
        let (participant, mut lines) = follow(&cluster, n, &["commit", "outcomes", "a", "--follow"]);
        for _ in 0..2 {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(line, "t: committed\n");
        }
        participant.kill();
    }
    kvorum(&cluster, leader, &["commit", "acknowledge", "t", "a"]);
    assert_eq!(kvorum(&cluster, one, &["commit", "outcomes", "a"]), "");
    assert_eq!(kvorum(&cluster, one, &["commit", "outcomes", "b"]), "t: committed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_time_runs_out_aborts_though_the_leader_dies() {
    let mut cluster = started().await;
    let transaction = cluster.client().transaction("t");
    transaction.begin(["a", "b"], Duration::from_secs(1)).await.unwrap();
    transaction.vote("a", Vote::Yes).await.unwrap();
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let outcome = transaction.outcome().await.unwrap();
    assert_eq!(outcome, Some(Outcome::Aborted { by: None, reason: Reason::Suspected }));
    let late = transaction.vote("b", Vote::Yes).await.unwrap_err();
    assert_eq!(late.code(), Some(tonic::Code::FailedPrecondition), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_killed_goes_on_at_another_replica_exactly_where_it_was() {
    let mut cluster = started().await;
    let topic = cluster.client().topic("t", Guarantee::Total);
    let publisher = tokio::spawn(async move {
        for n in 0..100 {
            topic.publish(n.to_string()).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    let mut from = "oldest".to_owned();
    for (n, count) in [(0, 20), (1, 30), (2, 50)] {
        let args = ["subscribe", "t", "--print-cursor", "--from", &from];
        let (subscriber, lines) = follow(&cluster, n, &args);
        for line in lines.lines().take(count) {
            let line = line.unwrap();
            let (cursor, message) = line.split_once('\t').unwrap();
            seen.push(message.to_owned());
            from = cursor.to_owned();
        }
        subscriber.kill();
        if n == 0 {
            let leader = cluster.leader().await;
            cluster.kill(leader);
            cluster.start(leader);
        }
    }
    publisher.await.unwrap();
    assert_eq!(seen, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_delivers_what_it_delivered_and_the_rest_in_the_order_promised() {
    let mut cluster = started().await;
    for guarantee in [Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal] {
        let topics = [0, 1, 2].map(|n| at(&cluster, n).topic("t", guarantee));
        let mut subscription = topics[0].subscribe(Start::Oldest);
        let mut seen = Vec::new();
        for n in 0..10 {
            topics[n % 2].publish(n.to_string()).await.unwrap();
        }
        for _ in 0..5 {
            seen.push(subscription.next().await.unwrap());
        }
        cluster.kill(0);
        for n in 10..20 {
            topics[1].publish(n.to_string()).await.unwrap();
        }
        cluster.start(0);
        for _ in 5..20 {
            seen.push(subscription.next().await.unwrap());
        }
        let all: Vec<u64> = seen.iter().map(|d| d.text().unwrap().parse().unwrap()).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 20, "once each: {all:?}");
        let of = |parity| all.iter().copied().filter(move |n| n % 2 == parity || *n >= 10);
        if guarantee != Guarantee::Reliable {
            assert!(of(1).is_sorted(), "{guarantee:?}: {all:?}");
        }
        // Whoever reads again from a cursor finds the same.
        let cursor: Cursor = seen[4].cursor.clone();
        let mut again = topics[0].subscribe(Start::After(cursor));
        for expected in &seen[5..] {
            let found = again.next().await.unwrap();
            assert_eq!((found.position, &found.payload), (expected.position, &expected.payload));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_not_delivered_again_and_what_is_not_is_through_crashes() {
    let mut cluster = started().await;
    let topic = at(&cluster, 0).topic("t", Guarantee::Reliable);
    let mut receiver = topic.receive("s").from_oldest();
    for n in 0..4 {
        topic.publish(n.to_string()).await.unwrap();
    }
    for expected in ["0", "1"] {
        let delivery = loop {
            let delivery = receiver.next().await.unwrap();
            if delivery.text() == Some(expected) {
                break delivery;
            }
        };
        receiver.acknowledge(&delivery).await.unwrap();
    }
    drop(receiver);
    cluster.kill(0);
    cluster.start(0);
    let mut receiver = topic.receive("s");
    for expected in ["2", "3"] {
        assert_eq!(receiver.next().await.unwrap().text(), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_total_order_a_subscriber_whose_replica_is_killed_goes_on_at_another() {
    let mut cluster = started().await;
    let topic = |cluster: &Cluster, n| at(cluster, n).topic("t", Guarantee::Total);
    let publisher = cluster.client().topic("t", Guarantee::Total);
    let mut receiver = topic(&cluster, 0).receive("s").from_oldest();
    for n in 0..6 {
        publisher.publish(n.to_string()).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let delivery = receiver.next().await.unwrap();
        if !seen.contains(&delivery) {
            seen.push(delivery);
        }
    }
    let texts: Vec<_> = seen.iter().map(|d| d.text().unwrap()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5"]);
    // Out of order, and one of them at another replica while the stream of this one goes on.
    receiver.acknowledge(&seen[0]).await.unwrap();
    receiver.acknowledge(&seen[3]).await.unwrap();
    topic(&cluster, 1).receive("s").acknowledge(&seen[1]).await.unwrap();
    // What was on its way may still come; what was sent since then is not among it.
    tokio::time::timeout(Duration::from_millis(500), async { while receiver.next().await.is_ok() {} })
        .await
        .unwrap_err();
    for _ in 0..6 {
        let again = receiver.next().await.unwrap();
        assert!([2, 4, 5].iter().any(|n| again == seen[*n]), "{again:?} is acknowledged");
    }
    drop(receiver);
    cluster.kill(0);
    for n in [1, 2] {
        let mut receiver = topic(&cluster, n).receive("s");
        for expected in [2, 4, 5] {
            assert_eq!(receiver.next().await.unwrap(), seen[expected]);
        }
    }
    // A receiver that knows of several replicas moves by itself.
    let endpoints = [1, 2].map(|n| cluster.endpoint(n));
    let both = Client::builder().endpoints(endpoints).deadline(PATIENCE).connect().unwrap();
    let mut receiver = both.topic("t", Guarantee::Total).receive("s");
    assert_eq!(receiver.next().await.unwrap(), seen[2]);
    cluster.start(0);
    cluster.serves(0).await;
    cluster.kill(1);
    receiver.acknowledge(&seen[2]).await.unwrap();
    cluster.start(1);
    cluster.serves(1).await;
    cluster.kill(2);
    receiver.acknowledge(&seen[4]).await.unwrap();
    loop {
        let next = receiver.next().await.unwrap();
        if next == seen[5] {
            break;
        }
        // The stream had these before they were acknowledged.
        assert!(next == seen[2] || next == seen[4], "{next:?}");
    }
    drop(receiver);
    // The program, too; and whoever was killed knows it as well.
    cluster.start(2);
    publisher.publish("6").await.unwrap();
    let args = ["subscribe", "t", "--as", "s", "--count", "2"];
    assert_eq!(kvorum(&cluster, 2, &args), "5\n6\n");
    cluster.kill(0);
    publisher.publish("7").await.unwrap();
    assert_eq!(kvorum(&cluster, 1, &["subscribe", "t", "--as", "s", "--count", "1"]), "7\n");
}

//! Three replicas, each in a gigabyte of memory, under the worst that these tests know: no replica
//! dies. `KVORUM_MEMORY_SECONDS` asks for longer than the default.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/group.rs"]
mod group;

use cluster::{Cluster, PATIENCE};
use group::Group;
use kvorum::Client;
use kvorum::client::{Guarantee, Op, Start, Vote};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const LIMIT: u64 = 1 << 30;
/// Bytes of keys and values, all versions: live values are in memory.
const QUOTA: &str = "--quota-backend-bytes=100000000";

fn seconds() -> u64 {
    std::env::var("KVORUM_MEMORY_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// What the loads share: an end, and a count of what was answered.
#[derive(Clone)]
struct Load {
    client: Client,
    endpoints: [String; 3],
    end: Instant,
    answered: Arc<AtomicU64>,
}

impl Load {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// A call that may fail: the replicas refuse what is too much for them.
    async fn call<T, E>(&self, call: impl IntoFuture<Output = Result<T, E>>) {
        if call.await.is_ok() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Large values, written over one another; at times all of them are deleted and compacted.
    async fn overwrites(self, writer: u32) {
        for n in 0_u32.. {
            if !self.goes_on() {
                return;
            }
            let key = format!("large/{writer}/{}", n % 4);
            self.call(self.client.put(key, vec![b'x'; 1 << 20])).await;
            if n % 32 == 31 {
                self.call(self.client.delete("large/").prefix()).await;
                if let Ok(status) = self.client.status().await {
                    self.call(self.client.compact(status.header.revision)).await;
                }
            }
        }
    }

    /// Small keys, many of them, and transactions that range over all of them.
    async fn ranges(self, reader: u32) {
        for n in 0_u32.. {
            if !self.goes_on() {
                return;
            }
            for at in 0..20 {
                self.call(self.client.put(format!("small/{reader}/{}", (n * 20 + at) % 20_000), "v")).await;
            }
            self.call(self.client.get("").from_key()).await;
            let all = || Op::get("").from_key().keys_only();
            let ops: Vec<Op> = (0..120).map(|_| all().into()).chain([Op::put("a", "b").into()]).collect();
            self.call(self.client.txn().then(ops)).await;
        }
    }

    /// Sessions that are opened and never used again.
    async fn sessions(self) {
        while self.goes_on() {
            let client = Client::connect(self.endpoints.clone()).unwrap();
            self.call(client.put("session", vec![b's'; 10_000]).prev_kv()).await;
        }
    }

    /// Publications as large as they may be, to many topics of every guarantee.
    async fn publications(self, guarantee: Guarantee) {
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let topic = self.client.topic(format!("topic/{}", n % 300), guarantee);
            self.call(topic.publish(vec![b'p'; 60_000])).await;
        }
    }

    /// Subscribers that read one message and no more.
    async fn subscribers(self, guarantee: Guarantee) {
        let mut idle = Vec::new();
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let topic = self.client.topic(format!("topic/{}", n % 300), guarantee);
            let mut subscription = topic.subscribe(Start::Oldest);
            let mut receiver = topic.receive(format!("subscriber/{n}"));
            let soon = Duration::from_millis(200);
            let _ = tokio::time::timeout(soon, subscription.next()).await;
            let _ = tokio::time::timeout(soon, receiver.next()).await;
            idle.push((subscription, receiver));
            if idle.len() > 200 {
                idle.clear();
            }
        }
    }

    async fn registers(self) {
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let register = self.client.register(format!("register/{}", n % 5000));
            self.call(register.write(vec![b'r'; 60_000])).await;
        }
    }

    /// Transactions with many participants of long names that never finish, and decisions.
    async fn coordination(self) {
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let participants = (0..64).map(|p| format!("{p:0>250}"));
            let transaction = self.client.transaction(format!("transaction/{n}"));
            self.call(transaction.begin(participants, Duration::from_secs(3600))).await;
            self.call(transaction.vote(&format!("{:0>250}", 0), Vote::Yes)).await;
            let decision = self.client.consensus(format!("decision/{n}"));
            self.call(decision.propose(vec![b'd'; 60_000])).await;
        }
    }

    /// Calls that nobody waits for.
    async fn cancelled(self) {
        while self.goes_on() {
            let calls = (0..50).map(|_| self.client.get("").from_key().into_future());
            let calls: Vec<_> = calls.map(tokio::spawn).collect();
            tokio::time::sleep(Duration::from_millis(20)).await;
            calls.iter().for_each(|call| call.abort());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_live_in_a_gigabyte_each_whatever_clients_do() {
    let groups = [0, 1, 2].map(|_| Group::of(LIMIT));
    let mut cluster = Cluster::new();
    let start = |cluster: &mut Cluster, n: usize| {
        cluster.start_with(n, &[QUOTA]);
        groups[n].take(cluster.running[n].as_ref().unwrap().0.id());
    };
    (0..3).for_each(|n| start(&mut cluster, n));
    cluster.leader().await;

    let client = cluster.client().with_deadline(Duration::from_secs(5));
    let begin = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let endpoints = [0, 1, 2].map(|n| cluster.endpoint(n));
    let end = begin + Duration::from_secs(seconds());
    let load = Load { client, endpoints, end, answered: answered.clone() };
    let mut loads = JoinSet::new();
    (0..8).for_each(|n| drop(loads.spawn(load.clone().overwrites(n))));
    (0..8).for_each(|n| drop(loads.spawn(load.clone().ranges(n))));
    loads.spawn(load.clone().sessions());
    for guarantee in
        [Guarantee::BestEffort, Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal, Guarantee::Total]
    {
        loads.spawn(load.clone().publications(guarantee));
        loads.spawn(load.clone().subscribers(guarantee));
    }
    loads.spawn(load.clone().registers());
    loads.spawn(load.clone().coordination());
    loads.spawn(load.clone().cancelled());

    // Meanwhile replicas are paused, and killed, one after the other.
    let mut peaks = [0; 3];
    for round in 0_usize.. {
        if !load.goes_on() {
            break;
        }
        let n = round % 3;
        if round % 4 == 3 {
            cluster.kill(n);
            tokio::time::sleep(Duration::from_secs(2)).await;
            start(&mut cluster, n);
        } else {
            let process = cluster.running[n].as_ref().unwrap();
            process.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_secs(3)).await;
            process.signal(Signal::CONT);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        for (n, most) in peaks.iter_mut().enumerate() {
            let process = cluster.running[n].as_mut().unwrap();
            let died = process.0.try_wait().unwrap();
            assert_eq!(died, None, "n{n} died after {:?}; {}", begin.elapsed(), cluster.logs());
            *most = process.bytes("VmHWM").max(*most);
        }
        println!(
            "{:>5.0?}: {} calls answered, peaks {peaks:?}",
            begin.elapsed(),
            answered.load(Ordering::Relaxed)
        );
        assert!(peaks.iter().all(|peak| *peak <= LIMIT), "bytes of memory: {peaks:?}");
    }
    while loads.join_next().await.is_some() {}

    // And they serve, once they are left alone: with the alarm, that nothing grows.
    let served = async {
        while cluster.client().get("small/0/0").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap_or_else(|_| panic!("{}", cluster.logs()));
    assert!(answered.load(Ordering::Relaxed) > 2 * seconds(), "a load that is refused proves nothing");
}

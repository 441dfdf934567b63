//! `kvorum cluster --demo`: kills, stops and restarts replicas under load, then accounts for every
//! write.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use super::{
    load::{self, Load, Told},
    replicas::{Replicas, free_ports},
};
use crate::{
    cli::{Failure, output},
    client::KeyValue,
    history::{self, Limits, Verdict},
};

/// Writes to be acknowledged before it ends.
const ENOUGH: u64 = 5_000;
/// Between two faults.
const BREATH: Duration = Duration::from_secs(2);
/// How long a replica stays stopped: well beyond the election timeout.
const STOPPED: Duration = Duration::from_secs(3);
/// The longest to wait for anything to come back.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keys in one read while accounting.
const PAGE: i64 = 2_000;

pub(super) async fn run(count: usize) -> Result<(), Failure> {
    if count < 3 {
        return Err(Failure::Usage("--demo kills a replica and goes on: use --replicas 3 or more".into()));
    }
    let dir = tempfile::Builder::new()
        .prefix("kvorum-demo-")
        .tempdir()
        .map_err(|e| Failure::Other(format!("cannot make a temporary directory: {e}")))?;
    let ports = free_ports(count).map_err(|e| Failure::Other(format!("cannot find free ports: {e}")))?;
    let mut replicas = Replicas::new(dir.path(), &ports, "info");
    let cannot = |e| Failure::Other(format!("cannot listen for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut demo = Demo {
        start: Instant::now(),
        replicas: &mut replicas,
        kills: 0,
        recoveries: 0,
        load: None,
        written: 0,
    };
    let result = tokio::select! {
        result = demo.play() => result,
        _ = terminate.recv() => Err(Failure::Other("interrupted".into())),
        _ = interrupt.recv() => Err(Failure::Other("interrupted".into())),
    };
    if result.is_err() {
        replicas.kill_all().await;
        let kept = dir.keep();
        eprintln!("data and logs are kept in {}", kept.display());
        return result;
    }
    replicas.stop().await;
    Ok(())
}

struct Demo<'a> {
    start: Instant,
    replicas: &'a mut Replicas,
    load: Option<Load>,
    /// Writes acknowledged when the load was over.
    written: u64,
    kills: u32,
    recoveries: u32,
}

impl Demo<'_> {
    async fn play(&mut self) -> Result<(), Failure> {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.say(&format!("starts {} replicas, each a process of its own", all.len()));
        all.iter().try_for_each(|n| self.replicas.start(*n))?;
        let leader = self.leader().await?;
        self.say(&format!("{} leads; clients begin to write", self.name(leader)));
        self.load = Some(Load::begin(&self.replicas.endpoints())?);
        sleep(BREATH).await;

        let leader = self.leader().await?;
        let follower = (leader + 1) % all.len();
        self.say(&format!("kill -9 {}, a follower", self.name(follower)));
        self.kill_and_restart(&[follower]).await?;

        let leader = self.leader().await?;
        self.say(&format!("kill -9 {}, the leader", self.name(leader)));
        self.kill_and_restart(&[leader]).await?;

        self.say("kill -9 all of them at once");
        self.kill_and_restart(&all).await?;

        let leader = self.leader().await?;
        self.say(&format!("stops {}, the leader, for {STOPPED:?} (SIGSTOP, SIGCONT)", self.name(leader)));
        self.replicas.signal(leader, Signal::STOP);
        sleep(STOPPED).await;
        self.replicas.signal(leader, Signal::CONT);
        self.back(&[leader]).await?;
        sleep(BREATH).await;

        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged() < ENOUGH && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
        self.say("clients stop; looks for every acknowledged write on every replica");
        let Some(load) = self.load.take() else { return Ok(()) };
        let told = timeout(PATIENCE, load.end()).await;
        let told = told.map_err(|_| Failure::Other("the clients' last calls were never answered".into()))?;
        self.written = told.keys.len() as u64;
        let lost = self.lost(&told).await?;
        self.say("checks the history of the contended keys");
        let limits = Limits::default();
        let history = told.history.clone();
        let report = tokio::task::spawn_blocking(move || history::verify(&history, &limits)).await;
        let report = report.map_err(|e| Failure::Other(format!("the check of the history failed: {e}")))?;
        self.table(&told, lost.len(), report.verdict())?;
        if !lost.is_empty() {
            let some: Vec<&str> = lost.iter().take(5).map(String::as_str).collect();
            return Err(Failure::Other(format!("lost {} writes, such as {}", lost.len(), some.join(", "))));
        }
        match report.verdict() {
            Verdict::Holds => {}
            Verdict::Violated | Verdict::Undecided => {
                return Err(Failure::Other(format!("the history does not hold: {report}")));
            }
        }
        let acknowledged = told.keys.len() as u64;
        if acknowledged < ENOUGH {
            return Err(Failure::Other(format!(
                "only {acknowledged} writes in all: the machine is too slow"
            )));
        }
        Ok(())
    }

    fn name(&self, replica: usize) -> &str {
        &self.replicas.get(replica).name
    }

    fn acknowledged(&self) -> u64 {
        self.load.as_ref().map_or(self.written, Load::acknowledged)
    }

    fn say(&self, what: &str) {
        let seconds = self.start.elapsed().as_secs_f32();
        eprintln!("{seconds:5.1} s  {:>7} writes acknowledged  {what}", self.acknowledged());
    }

    async fn leader(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(leader) = self.replicas.leader().await {
                return Ok(leader);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(Failure::Other(format!("no leader for {PATIENCE:?}")))
    }

    /// Kills replicas at once, lets clients notice, starts them again, and waits until they serve.
    async fn kill_and_restart(&mut self, which: &[usize]) -> Result<(), Failure> {
        for replica in which {
            self.replicas.signal(*replica, Signal::KILL);
        }
        for _ in which {
            self.replicas.exit().await;
            self.kills += 1;
        }
        sleep(BREATH / 2).await;
        for replica in which {
            self.replicas.start(*replica)?;
        }
        self.back(which).await?;
        self.recoveries += which.len() as u32;
        sleep(BREATH).await;
        Ok(())
    }

    /// Waits until replicas serve what they have, and hear a leader.
    async fn back(&mut self, which: &[usize]) -> Result<(), Failure> {
        let since = Instant::now();
        for replica in which {
            let it = self.replicas.get(*replica);
            loop {
                let client = it.client(Duration::from_secs(1))?;
                let served = client.get(load::PREFIX).serializable().await.is_ok();
                if served && client.status().await.is_ok_and(|status| status.leader != 0) {
                    break;
                }
                if since.elapsed() > PATIENCE {
                    return Err(Failure::Other(format!("{} does not come back", it.name)));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        let names: Vec<&str> = which.iter().map(|n| self.name(*n)).collect();
        self.say(&format!("{} serves again after {:.1?}", names.join(", "), since.elapsed()));
        Ok(())
    }

    /// Acknowledged writes that some replica does not have.
    async fn lost(&self, told: &Told) -> Result<Vec<String>, Failure> {
        let mut lost = Vec::new();
        for replica in self.replicas.iter() {
            let deadline = Instant::now() + PATIENCE;
            // A follower may be a moment behind; it is not asked to confirm with anyone.
            let missing = loop {
                let found = read_back(&replica.client(PATIENCE)?).await?;
                let is_there = |key: &&String| found.get(*key) == Some(&load::value_of(key));
                let missing: Vec<&String> = told.keys.iter().filter(|key| !is_there(key)).collect();
                if missing.is_empty() || Instant::now() > deadline {
                    break missing.into_iter().cloned().collect::<Vec<_>>();
                }
                sleep(Duration::from_millis(200)).await;
            };
            lost.extend(missing.into_iter().map(|key| format!("{key} on {}", replica.name)));
        }
        Ok(lost)
    }

    fn table(&self, told: &Told, lost: usize, verdict: Verdict) -> Result<(), Failure> {
        let lives: Vec<String> =
            self.replicas.iter().map(|r| format!("{} {}", r.name, lives(&r.log))).collect();
        let history = match verdict {
            Verdict::Holds => "linearizable",
            Verdict::Violated => "VIOLATED",
            Verdict::Undecided => "undecided",
        };
        let rows = [
            ("writes acknowledged", told.keys.len().to_string()),
            ("writes never answered", told.unanswered.to_string()),
            ("kill -9", self.kills.to_string()),
            ("recoveries", format!("{} (incarnations: {})", self.recoveries, lives.join(", "))),
            ("longest pause", format!("{:.1} s", told.longest_pause.as_secs_f32())),
            ("history", format!("{} operations on contended keys: {history}", told.history.len())),
            (
                "acknowledged writes lost",
                format!("{lost} (read back from each of {} replicas)", self.replicas.len()),
            ),
        ];
        rows.iter().try_for_each(|(what, value)| output::line(format_args!("{what:<25} {value}")))
    }
}

/// All keys of the writers, as one replica has them.
async fn read_back(client: &crate::Client) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    let end = "demo0"; // the first text behind the prefix
    let mut from = load::PREFIX.to_owned();
    loop {
        let page = client.get(from.as_str()).range(end).limit(PAGE).serializable().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found.extend(page.kvs.iter().map(|kv: &KeyValue| (text(&kv.key), text(&kv.value))));
        match page.kvs.last() {
            Some(last) if page.more => from = format!("{}\0", text(&last.key)),
            _ => return Ok(found),
        }
    }
}

/// How often a replica has booted, as it says in its log.
fn lives(log: &std::path::Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let of = |line: &str| {
        let (_, rest) = line.split_once("incarnation=")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty() && !line.contains("peer")).then_some(digits)
    };
    log.lines().rev().find_map(of).unwrap_or_else(|| "?".into())
}

//! Clients that write without pause, and remember what they were told.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    Client,
    cli::workload::execute,
    client::{self, Fate},
    history::{Mix, Operation, Outcome, Recorder, Reply, Workload},
};

/// Clients that write keys of their own.
const WRITERS: u64 = 12;
/// Clients that contend for a few keys, and whose history is recorded.
const CONTENDERS: u64 = 4;
const CONTENDED: [&str; 3] = ["contended/a", "contended/b", "contended/c"];
/// Operations that are recorded, at most: the check takes time.
const RECORDED: usize = 8_000;
/// What a contender waits between two operations.
const THINKING: Duration = Duration::from_millis(5);
/// Where the writers' keys begin.
pub(super) const PREFIX: &str = "demo/";
/// How long a call may last: longer than any pause of the cluster.
const DEADLINE: Duration = Duration::from_secs(20);

/// The load, under way.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    start: Instant,
    over: AtomicBool,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    ledger: Mutex<Ledger>,
    recorder: Mutex<Recorder>,
}

#[derive(Default)]
struct Ledger {
    /// Keys that were acknowledged; the value of each is its key, backwards.
    keys: Vec<String>,
    last: Option<Instant>,
    longest: Duration,
}

/// What the load was told, when it is over.
pub(super) struct Told {
    pub keys: Vec<String>,
    pub unanswered: u64,
    pub longest_pause: Duration,
    pub history: Vec<Operation>,
}

impl Load {
    /// Begins, on clients that know all endpoints.
    pub fn begin(endpoints: &[String]) -> Result<Self, client::Error> {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            over: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            ledger: Mutex::new(Ledger::default()),
            recorder: Mutex::new(Recorder::new(RECORDED)),
        });
        let mut clients = JoinSet::new();
        let client = || Client::builder().endpoints(endpoints).deadline(DEADLINE).connect();
        for n in 0..WRITERS {
            clients.spawn(write(shared.clone(), client()?, n));
        }
        for n in 0..CONTENDERS {
            clients.spawn(contend(shared.clone(), client()?, n));
        }
        Ok(Self { shared, clients })
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends it: every call that is under way is waited for.
    pub async fn end(mut self) -> Told {
        self.shared.over.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        let recorder = std::mem::replace(&mut *lock(&self.shared.recorder), Recorder::new(0));
        let mut ledger = lock(&self.shared.ledger);
        Told {
            keys: std::mem::take(&mut ledger.keys),
            unanswered: self.shared.unanswered.load(Ordering::Relaxed),
            longest_pause: ledger.longest,
            history: recorder.finish(),
        }
    }
}

/// The value that a writer gives a key.
pub(super) fn value_of(key: &str) -> String {
    key.chars().rev().collect()
}

async fn write(shared: Arc<Shared>, client: Client, writer: u64) {
    for n in 0u64.. {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{PREFIX}{writer:02}/{n:07}");
        match client.put(key.clone(), value_of(&key)).await {
            Ok(_) => {
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                let mut ledger = lock(&shared.ledger);
                let now = Instant::now();
                if let Some(last) = ledger.last.replace(now) {
                    ledger.longest = ledger.longest.max(now.duration_since(last));
                }
                ledger.keys.push(key);
            }
            Err(error) => {
                if error.fate() == Fate::Unknown {
                    shared.unanswered.fetch_add(1, Ordering::Relaxed);
                }
                sleep(THINKING).await;
            }
        }
    }
    client.with_deadline(Duration::from_millis(200)).close().await;
}

async fn contend(shared: Arc<Shared>, client: Client, contender: u64) {
    let keys = CONTENDED.map(str::to_owned).to_vec();
    let rng = fastrand::Rng::with_seed(contender);
    let mut workload = Workload::new(format!("c{contender}"), keys, Mix::default(), rng);
    while !shared.over.load(Ordering::Relaxed) {
        let call = workload.draw();
        let begun = lock(&shared.recorder).invoke(contender, call.clone(), shared.now());
        let Ok(handle) = begun else { break };
        let outcome = outcome(execute(&client, &client, &call).await);
        if let Outcome::Ok { reply, .. } = &outcome {
            workload.observe(&call, reply);
        }
        lock(&shared.recorder).complete(handle, outcome, shared.now());
        sleep(THINKING).await;
    }
    client.with_deadline(Duration::from_millis(200)).close().await;
}

impl Shared {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call came to, as histories have it.
fn outcome(answer: Result<(Reply, client::Header), client::Error>) -> Outcome {
    match answer {
        Ok((reply, header)) => {
            let told = |number: u64| Some(number).filter(|n| *n != 0);
            let revision = u64::try_from(header.revision).ok().and_then(told);
            Outcome::Ok { reply, revision, replica: told(header.member) }
        }
        Err(error) => match error.fate() {
            Fate::NotExecuted => Outcome::Fail,
            Fate::Unknown => Outcome::Unknown,
        },
    }
}

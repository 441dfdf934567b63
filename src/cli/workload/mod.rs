//! `kvorum workload`

mod book;
mod caller;

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufWriter},
    path::PathBuf,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, value_parser};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{interval_at, sleep},
};

use self::{
    book::{Book, Tally},
    caller::{Caller, Route, record},
};
use super::{Failure, block_on, connection::Connection, output};
use crate::history::{self, Call, MAX_OPERATIONS, Mix};
pub(super) use caller::execute;

/// How often it tells how it goes.
const PROGRESS: Duration = Duration::from_secs(5);

/// Load a cluster with concurrent clients, and record what they saw
#[derive(Debug, Args)]
#[command(after_help = "\
Each client has one operation under way: a put, a get (one in four serializable, asked of one replica \
in particular), a delete, or a comparison followed by a put. Every value is written once. A client asks \
one endpoint as long as that answers; after 100 operations it prefers the next one. At the end, every \
key is read from every endpoint. Ctrl-C ends the run early, and as cleanly; a second one does not wait \
for the operations under way. One line on standard output sums it up.

How fast is the cluster?
  kvorum workload --clients 64 --keys 1000
Is what it answers right, whatever happens to it meanwhile?
  kvorum workload --seconds 60 --rate 500 --history run.jsonl; kvorum verify run.jsonl

With --history, keep rate times seconds, divided by the number of keys, below some 10,000: the time that \
it takes to verify a history grows with the operations on a key.")]
pub(super) struct Workload {
    /// How long it runs
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Concurrent clients
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u64).range(1..=10_000))]
    clients: u64,
    /// How many of the clients write as a client of etcd's does, without a session: a write that goes
    /// unanswered is not repeated, and of unknown fate
    #[arg(long, value_name = "N", default_value_t = 0)]
    without_session: u64,
    /// Keys: the fewer, the more the clients get into one another's way
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// What keys begin with; there must be none yet [default: workload-TIME/]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Operations per second at most, of all clients together [default: as many as they can]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// What the operations are drawn from [default: drawn itself, and shown]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Write what every client asked and was told to this file, for `kvorum verify`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// A run of clients on a cluster.
struct Run {
    command: Workload,
    connection: Connection,
    keys: Vec<String>,
    book: Rc<RefCell<Book>>,
}

impl Workload {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.clone().or(before);
        // Now, rather than when there is something to lose.
        let file =
            self.history.clone().map(|path| match File::options().append(true).create(true).open(&path) {
                Ok(file) => Ok((path, file)),
                Err(error) => Err(named(&path)(error)),
            });
        let file = file.transpose()?;
        let book = Book::new(file.as_ref().map(|_| MAX_OPERATIONS));
        let mut run = Run { command: self, connection, keys: Vec::new(), book: Rc::new(RefCell::new(book)) };
        let result = block_on(async { LocalSet::new().run_until(run.drive()).await });
        let Run { book, .. } = run;
        let elapsed = book.borrow().elapsed();
        let Ok(book) = Rc::try_unwrap(book) else { unreachable!("its clients ended with the runtime") };
        let mut book = book.into_inner();
        let tally = std::mem::take(&mut book.tally);
        if let (Some((path, file)), Some(operations)) = (&file, book.into_history()) {
            // What a failed run would replace stays.
            if result.is_ok() || !operations.is_empty() {
                file.set_len(0).map_err(named(path))?;
                history::write(&operations, BufWriter::new(file)).map_err(named(path))?;
            }
        }
        result?;
        output::line(format_args!("{}", summary(&tally, elapsed)))?;
        match (tally.ok, tally.last_error) {
            (0, Some(error)) => Err(Failure::Other(format!("no operation was answered: {error}"))),
            (0, None) => Err(Failure::Other("no operation was answered".into())),
            (1.., _) => Ok(()),
        }
    }
}

fn named(path: &std::path::Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Other(format!("{}: {error}", path.display()))
}

impl Run {
    async fn drive(&mut self) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let seed = self.command.seed.unwrap_or_else(|| fastrand::u64(..));
        let prefix = match &self.command.prefix {
            Some(prefix) => prefix.clone(),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("workload-{}/", now.as_millis())
            }
        };
        self.keys = (0..self.command.keys).map(|n| format!("{prefix}{n}")).collect();
        self.expect_no_keys(&prefix).await?;
        eprintln!("{} clients, seed {seed}, keys {prefix}…", self.command.clients);

        let (stop, stopped) = watch::channel(false);
        let mut clients = self.clients(seed, &stopped);
        let mut result = Ok(());
        let mut abandoned = false;
        let mut progress = interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
        let end = sleep(Duration::from_secs(self.command.seconds));
        tokio::pin!(end);
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        let ended = ended.unwrap_or_else(|e| Err(Failure::Other(format!("a client: {e}"))));
                        if ended.is_err() && result.is_ok() {
                            result = ended;
                            stop.send_replace(true);
                        }
                    }
                },
                () = &mut end, if !*stopped.borrow() => { stop.send_replace(true); }
                () = signals.next() => {
                    if stop.send_replace(true) {
                        abandoned = true;
                        clients.shutdown().await;
                    }
                }
                _ = progress.tick() => self.tell(),
            }
        }
        if !abandoned && result.is_ok() {
            tokio::select! {
                read = self.read_back() => result = read,
                () = signals.next() => {}
            }
        }
        result
    }

    /// A history begins with keys that are absent.
    async fn expect_no_keys(&self, prefix: &str) -> Result<(), Failure> {
        match self.connection.client()?.get(prefix).prefix().count_only().await?.count {
            0 => Ok(()),
            found => Err(Failure::Usage(format!(
                "there are {found} keys that begin with {prefix:?}: choose another --prefix, or delete them"
            ))),
        }
    }

    fn clients(&self, seed: u64, stopped: &watch::Receiver<bool>) -> JoinSet<Result<(), Failure>> {
        let mut seeds = fastrand::Rng::with_seed(seed);
        let mut clients = JoinSet::new();
        let count = self.command.clients;
        let period =
            self.command.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(count).div_f64(rate as f64));
        for number in 1..=count {
            let mix = Mix { put: 35, get: 27, serializable: 9, delete: 6, cas: 23, txn: 0 };
            let draws = history::Workload::new(format!("c{number}"), self.keys.clone(), mix, seeds.fork());
            let caller = Caller {
                number,
                connection: self.connection.clone(),
                session: number > self.command.without_session,
                draws,
                period,
                book: self.book.clone(),
            };
            clients.spawn_local(caller.run(stopped.clone()));
        }
        clients
    }

    /// Reads every key from every endpoint, as one client more for each of these.
    async fn read_back(&self) -> Result<(), Failure> {
        for endpoint in 0..self.connection.endpoints().len() {
            let client = self.command.clients + 1 + endpoint as u64;
            let route = Route::only(&self.connection, endpoint)?;
            for key in &self.keys {
                let call = Call::Get { key: key.clone(), serializable: false };
                let full = |full: history::Full| Failure::Other(full.to_string());
                if record(&route, &self.book, client, &call).await.map_err(full)?.is_none() {
                    // Whoever cannot answer one cannot answer the others.
                    break;
                }
            }
        }
        Ok(())
    }

    fn tell(&self) {
        let book = self.book.borrow();
        let error = book.tally.last_error.as_ref().map(|error| format!("; last error: {error}"));
        let seconds = book.elapsed().as_secs();
        eprintln!("{seconds:>4} s: {}{}", outcomes(&book.tally), error.unwrap_or_default());
    }
}

fn outcomes(tally: &Tally) -> String {
    let Tally { ok, failed, unknown, .. } = tally;
    format!("{ok} ok, {failed} failed, {unknown} of unknown fate")
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let total = tally.ok + tally.failed + tally.unknown;
    let seconds = elapsed.as_secs_f64();
    format!(
        "{total} operations in {seconds:.1} s ({:.0}/s): {}; {} writes acknowledged, longest pause between them {:.2} s",
        total as f64 / seconds,
        outcomes(tally),
        tally.writes,
        tally.longest_pause(elapsed).as_secs_f64(),
    )
}

/// What ends a run before its time.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|e| Failure::Other(format!("cannot listen for signals: {e}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

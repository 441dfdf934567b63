//! The core: the thread that owns the stack and runs its turns, and the one that owns the disk.
//!
//! ```text
//!  frames, calls, rows ─► inbox ─► turn ─► journal ─► commit ─► journal thread ─► disk
//!                           ▲        │        ▲                      │
//!                           └────────┼────────┴───────synced─────────┘
//!                                    └─ what became durable ─► transport, callers, view
//! ```
//!
//! Whatever arrives while a commit is under way is reacted to at once, and forms the next commit.

use super::error::{Halted, Refused};
use super::shared::{Answer, Ask, Call, Item, Machine, Permits, Shared};
use crate::broadcast::{StateMachine, TopicIndication};
use crate::kernel::{
    Commit, Config, Disk, DiskError, Exposed, Journal, Opened, Outgoing, ProcessId, Release, Rows, Stored,
    Synced, Ticks,
};
use crate::stack::{Event, Indication, RequestId, Stack, Status};
use crate::transport::{Heard, Room, Transport};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The core's unit of time.
pub const TICK: Duration = Duration::from_millis(10);
/// A core that is later than this was stopped, or starved: the ticks that it missed are forgotten,
/// since whoever was silent meanwhile may just as well be waiting in the inbox.
const LATE: Duration = Duration::from_millis(50);
/// Items that one turn reacts to, at most.
const ITEMS: usize = 4096;
/// How long a stop waits for what is under way.
const PARTING: Duration = Duration::from_secs(2);
/// How long a replica that differs from its peers stays, so that they hear of it.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A duration, in ticks.
pub(super) fn ticks(duration: Duration) -> Ticks {
    (duration.as_millis().div_ceil(TICK.as_millis())).min(u128::from(u32::MAX)) as Ticks
}

type Up<M> = Indication<<M as StateMachine>::Reply, <M as StateMachine>::View>;

/// A replica that has booted: its incarnation is durable.
pub(super) struct Booted<M: Machine> {
    pub stack: Stack<M>,
    pub journal: Journal<Up<M>>,
    /// What the first turn exposed.
    pub releases: Vec<Release<Up<M>>>,
}

/// Runs the first turn, and makes it durable.
pub(super) fn boot<M: Machine>(
    config: Config,
    stored: Stored,
    disk: &mut dyn Disk,
) -> Result<Booted<M>, super::Error> {
    let mut journal = Journal::start(&config, stored.commits);
    let (stack, release) = journal.turn(|turn, up| Stack::start(config, stored, turn, up));
    let stack = stack?;
    let mut releases = vec![release];
    if let Some(commit) = journal.next_commit() {
        let synced = commit.run(disk).map_err(Halted::Disk)?;
        releases.push(journal.synced(synced));
    }
    Ok(Booted { stack, journal, releases })
}

/// Starts both threads. `close` is called with the disk at a clean end; `ended` is told when the
/// disk is closed, or the replica has halted.
pub(super) fn spawn<M: Machine, D: Disk + 'static>(
    booted: Booted<M>,
    disk: D,
    close: fn(D) -> Result<(), DiskError>,
    shared: Arc<Shared<M>>,
    transport: Arc<Transport>,
    rows: Arc<dyn Rows>,
    me: ProcessId,
) -> io::Result<()> {
    let (commits, todo) = mpsc::sync_channel(1);
    let journal_shared = shared.clone();
    // From now on, and not from when the thread gets to run: a stop may come before that.
    let ended = shared.journal_runs();
    thread::Builder::new().name("kvorum-journal".into()).spawn(move || {
        run_journal(todo, disk, close, &journal_shared);
        drop(ended);
    })?;
    let runtime = tokio::runtime::Handle::current();
    thread::Builder::new().name("kvorum-core".into()).spawn(move || {
        let Booted { stack, journal, releases } = booted;
        let durable = stack.status();
        Core {
            ending: Ending { shared, why: None },
            me,
            stack,
            journal,
            commits,
            under_way: None,
            transport,
            runtime,
            rows,
            waiters: HashMap::new(),
            leaving: Vec::new(),
            halts: None,
            events: Vec::new(),
            rooms: Vec::new(),
        }
        .run(releases, durable);
    })?;
    Ok(())
}

/// The journal thread: one commit after the other, until the core ends or the disk fails.
fn run_journal<M: Machine, D: Disk>(
    todo: Receiver<Commit>,
    mut disk: D,
    close: fn(D) -> Result<(), DiskError>,
    shared: &Shared<M>,
) {
    while let Ok(commit) = todo.recv() {
        let outcome = commit.run(&mut disk);
        let failed = outcome.is_err();
        shared.counts.commits(1);
        // A core that is gone takes nothing, and needs nothing.
        let _ = shared.inbox.push(Item::Synced(outcome));
        if failed {
            return;
        }
    }
    if shared.is_broken() {
        return; // not a clean end
    }
    if let Err(error) = close(disk) {
        tracing::warn!(%error, "the store was not closed cleanly");
    }
}

struct Waiter<R> {
    answer: oneshot::Sender<Result<Answer<R>, Refused>>,
    /// Given back when the request is answered, or nobody waits for it any more.
    _permits: Permits,
}

struct Core<M: Machine> {
    /// First, so that it is dropped first: whoever finds their answer gone finds out why.
    ending: Ending<M>,
    me: ProcessId,
    stack: Stack<M>,
    journal: Journal<Up<M>>,
    commits: SyncSender<Commit>,
    /// The status as it will be durable with the commit under way.
    under_way: Option<Status>,
    transport: Arc<Transport>,
    runtime: tokio::runtime::Handle,
    rows: Arc<dyn Rows>,
    waiters: HashMap<RequestId, Waiter<M::Reply>>,
    /// Who waits for leadership to be handed over.
    leaving: Vec<oneshot::Sender<()>>,
    /// Why the replica must halt.
    halts: Option<Halted>,
    /// What the next turn reacts to.
    events: Vec<Event>,
    /// The room that the frames among them take up.
    rooms: Vec<Room>,
}

impl<M: Machine> Core<M> {
    fn run(mut self, releases: Vec<Release<Up<M>>>, durable: Status) {
        self.shared().set_status(durable);
        releases.into_iter().for_each(|release| self.let_go(release));
        let mut next_tick = Instant::now() + TICK;
        let mut stop_by: Option<Instant> = None;
        let mut items = Vec::new();
        loop {
            let until = if self.events.is_empty() { next_tick } else { Instant::now() };
            self.ending.shared.inbox.take(until, ITEMS, &mut items);
            for item in items.drain(..) {
                if let Item::Stop = item {
                    stop_by.get_or_insert(Instant::now() + PARTING);
                } else if let Err(why) = self.take(item) {
                    return self.ending.because(why);
                }
            }
            let now = Instant::now();
            if now >= next_tick {
                self.events.push(Event::Tick);
                next_tick += TICK;
                if now > next_tick + LATE {
                    next_tick = now + TICK;
                }
            }
            self.turn();
            if let Some(why) = self.halts.take() {
                thread::sleep(LAST_WORDS);
                return self.ending.because(why);
            }
            if let Some(commit) = self.journal.next_commit() {
                self.under_way = Some(self.stack.status());
                if self.commits.send(commit).is_err() {
                    return self.ending.because(Halted::Broken("the journal thread is gone".into()));
                }
            }
            if stop_by.is_some_and(|by| now >= by || self.journal.is_settled()) {
                return self.ending.because(Halted::ShutDown);
            }
        }
    }

    fn shared(&self) -> &Shared<M> {
        &self.ending.shared
    }

    /// Takes what arrived: most of it becomes an event of the next turn.
    fn take(&mut self, item: Item<M::Reply>) -> Result<(), Halted> {
        match item {
            Item::Heard(Heard::Frame { from, frame, room }) => {
                self.events.push(Event::Frame { from, frame });
                self.rooms.push(room);
            }
            Item::Heard(Heard::Connected(peer)) => self.events.push(Event::Connected { peer }),
            Item::Heard(Heard::Refused(peer)) => self.events.push(Event::Refused { peer }),
            Item::Call(Call { request, ask, patience, answer, permits }) => {
                self.waiters.insert(request, Waiter { answer, _permits: permits });
                self.events.push(match ask {
                    Ask::Execute(command) => Event::Execute { request, command, patience },
                    Ask::Read => Event::Read { request, patience },
                    Ask::Register(name, ask) => Event::Register { request, name, ask, patience },
                    Ask::Topics(request) => Event::Topics(request),
                });
            }
            Item::Cancel(request) => {
                if self.waiters.remove(&request).is_some() {
                    self.events.push(Event::Cancel { request });
                }
            }
            Item::Rows { ticket, rows } => self.events.push(Event::Rows { ticket, rows }),
            Item::HandOver(done) => {
                self.leaving.push(done);
                self.events.push(Event::HandOver);
            }
            Item::Synced(synced) => self.synced(synced?),
            Item::Stop => {}
        }
        Ok(())
    }

    fn synced(&mut self, synced: Synced) {
        let release = self.journal.synced(synced);
        if let Some(status) = self.under_way.take() {
            self.shared().set_status(status);
        }
        self.let_go(release);
    }

    fn turn(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let stack = &mut self.stack;
        let ((), release) = self.journal.turn(|turn, up| stack.upon(events, turn, up));
        self.rooms.clear();
        self.shared().counts.turns(1);
        if self.journal.is_settled() {
            self.shared().set_status(self.stack.status());
        }
        self.let_go(release);
    }

    /// What is exposed goes where it is wanted.
    fn let_go(&mut self, release: Release<Up<M>>) {
        release.frames.into_iter().for_each(|frame| self.send(frame));
        release.indications.into_iter().for_each(|up| self.indicate(up.into_inner()));
    }

    fn send(&mut self, outgoing: Exposed<Outgoing>) {
        if outgoing.get().to != self.me {
            return self.transport.send(outgoing);
        }
        match Opened::check(outgoing.into_inner().frame.bytes().clone()) {
            Ok(frame) => self.events.push(Event::Frame { from: self.me, frame }),
            Err(error) => unreachable!("a frame sealed by this process fails its check: {error}"),
        }
    }

    fn indicate(&mut self, indication: Up<M>) {
        match indication {
            Indication::Reply { request, reply } => self.answer(request, Ok(Answer::Reply(reply))),
            Indication::Readable { request } => self.answer(request, Ok(Answer::Readable)),
            Indication::Refused { request, why } => self.answer(request, Err(why.into())),
            Indication::Returned { request, outcome } => {
                self.answer(request, Ok(Answer::Returned(outcome)));
            }
            Indication::Publish { applied, view } => self.shared().publish(applied, view),
            Indication::Topics(told) => self.tell(told),
            Indication::Fetch { ticket, from, end, max_bytes } => {
                let (rows, shared) = (self.rows.clone(), self.ending.shared.clone());
                self.runtime.spawn_blocking(move || {
                    let rows = rows.scan(from, end, max_bytes);
                    if let Err(error) = &rows {
                        tracing::warn!(%error, "cannot read rows for a snapshot");
                    }
                    let _ = shared.inbox.push(Item::Rows { ticket, rows: rows.ok() });
                });
            }
            Indication::Diverged => self.shared().diverged(),
            Indication::HandedOver => {
                for done in self.leaving.drain(..) {
                    let _ = done.send(()); // who waited may have given up
                }
            }
            Indication::LogsDiffer(divergence) => self.halts = Some(Halted::LogsDiffer(divergence)),
        }
    }

    /// What the topics say: to a request, or to all who follow them.
    fn tell(&mut self, told: TopicIndication) {
        match told {
            TopicIndication::Delivered { first, records, kept } => {
                self.shared().mirror.delivered(first, records, kept);
            }
            TopicIndication::Redelivered { subscriber, outcome } => {
                self.shared().mirror.pending(&subscriber, outcome);
            }
            TopicIndication::Published { request, .. }
            | TopicIndication::Subscribed { request, .. }
            | TopicIndication::Acknowledged { request, .. }
            | TopicIndication::Unsubscribed { request, .. } => {
                self.answer(request, Ok(Answer::Topics(told)));
            }
        }
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer<M::Reply>, Refused>) {
        if let Some(waiter) = self.waiters.remove(&request) {
            let _ = waiter.answer.send(answer); // who asked may just have gone
        }
    }
}

/// Leaves everything in order, however the core ends: by a stop, a failed disk, or a panic.
struct Ending<M: Machine> {
    shared: Arc<Shared<M>>,
    why: Option<Halted>,
}

impl<M: Machine> Ending<M> {
    fn because(&mut self, why: Halted) {
        self.why = Some(why);
    }
}

impl<M: Machine> Drop for Ending<M> {
    fn drop(&mut self) {
        let why = self
            .why
            .take()
            .unwrap_or_else(|| Halted::Broken("a safety assertion failed, see the log".into()));
        match &why {
            Halted::ShutDown => {}
            Halted::Disk(_) | Halted::LogsDiffer(_) | Halted::Broken(_) => {
                tracing::error!(reason = %why, "the replica halts")
            }
        }
        self.shared.halt(why);
    }
}

/// Where the transport leaves what it hears.
pub(super) fn listener<M: Machine>(shared: &Arc<Shared<M>>) -> crate::transport::Listener {
    let shared = shared.clone();
    Arc::new(move |heard| {
        let _ = shared.inbox.push(Item::Heard(heard)); // after the end nobody listens
    })
}

//! What the core shares with everyone else.

use super::error::{Halted, Refused};
use super::inbox::Inbox;
use crate::api::Mirror;
use crate::broadcast::{StateMachine, TopicIndication, TopicRequest};
use crate::kernel::{DiskError, Row, Synced, Ticks};
use crate::register;
use crate::stack::{RequestId, Status};
use crate::transport::{Heard, Transport};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

/// A state machine that threads can share.
pub trait Machine:
    StateMachine<Reply: Send + 'static, View: Send + Sync + 'static, Loader: Send + 'static> + Send + 'static
{
}

impl<M> Machine for M where
    M: StateMachine<Reply: Send + 'static, View: Send + Sync + 'static, Loader: Send + 'static>
        + Send
        + 'static
{
}

/// What waits in the core's inbox.
pub(super) enum Item<R> {
    Heard(Heard),
    Call(Call<R>),
    /// Nobody waits for the request any more.
    Cancel(RequestId),
    /// Rows that the stack asked for.
    Rows {
        ticket: u64,
        rows: Option<Vec<Row>>,
    },
    /// The commit under way ended.
    Synced(Result<Synced, DiskError>),
    HandOver(oneshot::Sender<()>),
    Stop,
}

/// A request of a client.
pub(super) struct Call<R> {
    pub request: RequestId,
    pub ask: Ask,
    pub patience: Ticks,
    pub answer: oneshot::Sender<Result<Answer<R>, Refused>>,
    pub permits: Permits,
}

pub(super) enum Ask {
    Execute(Bytes),
    Read,
    /// Of a register, by name.
    Register(String, register::Ask),
    /// Of the topics, with the number of the request.
    Topics(TopicRequest),
}

pub(super) enum Answer<R> {
    /// Of the state machine.
    Reply(R),
    /// The view published last may be read.
    Readable,
    /// An operation on a register came to its end.
    Returned(register::Outcome),
    /// What the topics say to a request.
    Topics(TopicIndication),
}

/// A request's share of what may be in flight: one of the requests, and its bytes.
pub(super) struct Permits {
    pub _request: OwnedSemaphorePermit,
    pub _bytes: OwnedSemaphorePermit,
}

/// What happened in a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreCounters {
    /// Turns of the stack.
    pub turns: u64,
    /// Commits to the disk.
    pub commits: u64,
    /// Requests refused because too many were in flight.
    pub overloads: u64,
}

#[derive(Debug, Default)]
pub(super) struct CoreCounts {
    turns: AtomicU64,
    commits: AtomicU64,
    overloads: AtomicU64,
}

impl CoreCounts {
    pub fn turns(&self, n: u64) {
        self.turns.fetch_add(n, Ordering::Relaxed);
    }

    pub fn commits(&self, n: u64) {
        self.commits.fetch_add(n, Ordering::Relaxed);
    }

    pub fn overloads(&self, n: u64) {
        self.overloads.fetch_add(n, Ordering::Relaxed);
    }

    pub fn read(&self) -> CoreCounters {
        CoreCounters {
            turns: self.turns.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            overloads: self.overloads.load(Ordering::Relaxed),
        }
    }
}

pub(super) struct Shared<M: Machine> {
    pub inbox: Inbox<Item<M::Reply>>,
    pub counts: CoreCounts,
    /// What the topics have delivered.
    pub mirror: Mirror,
    view: ArcSwapOption<M::View>,
    /// The length of the log prefix of that view.
    published: watch::Sender<u64>,
    /// As of the last durable turn.
    status: Mutex<Status>,
    halted: OnceLock<Halted>,
    /// Set once the state is not that of a majority.
    diverged: AtomicBool,
    transport: ArcSwapOption<Transport>,
    phase: watch::Sender<Phase>,
    /// Held by the journal thread while it runs.
    journal: watch::Sender<()>,
}

/// How far a node has come, for those who wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Starting,
    Serving,
    Halted,
}

impl<M: Machine> Shared<M> {
    /// Of a node on the data directory with this id.
    pub fn new(status: Status, disk: u64) -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            counts: CoreCounts::default(),
            mirror: Mirror::new(disk),
            view: ArcSwapOption::empty(),
            published: watch::Sender::new(0),
            status: Mutex::new(status),
            halted: OnceLock::new(),
            diverged: AtomicBool::new(false),
            transport: ArcSwapOption::empty(),
            phase: watch::Sender::new(Phase::Starting),
            journal: watch::Sender::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    pub fn set_status(&self, status: Status) {
        *self.lock() = status;
    }

    /// The view published last; nothing while nothing may be shown.
    pub fn view(&self) -> Option<Arc<M::View>> {
        self.view.load_full()
    }

    pub fn publish(&self, applied: u64, view: M::View) {
        let first = self.view.swap(Some(Arc::new(view))).is_none();
        self.published.send_replace(applied);
        if first {
            self.phase.send_replace(Phase::Serving);
        }
    }

    /// Tells of each view that is published: the length of the log prefix that it shows. Its end is
    /// told, too.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub fn transport(&self) -> Option<Arc<Transport>> {
        self.transport.load_full()
    }

    pub fn set_transport(&self, transport: &Arc<Transport>) {
        self.transport.store(Some(transport.clone()));
    }

    /// Why the node has stopped, once it has.
    pub fn halted(&self) -> Option<&Halted> {
        self.halted.get()
    }

    /// Whether it has stopped, and not because it was told to.
    pub fn is_broken(&self) -> bool {
        matches!(self.halted.get(), Some(Halted::Disk(_) | Halted::LogsDiffer(_) | Halted::Broken(_)))
    }

    /// The state is not that of a majority: nothing is shown any more, and nothing is asked of the
    /// core. The replica goes on to receive the log.
    pub fn diverged(&self) {
        self.diverged.store(true, Ordering::Release);
        self.view.store(None);
        self.published.send_modify(|_| ());
        self.mirror.halt();
        self.phase.send_modify(|_| ());
    }

    /// Whether it is not.
    pub fn has_diverged(&self) -> bool {
        self.diverged.load(Ordering::Acquire)
    }

    /// The end: nothing is shown, sent or taken any more.
    pub fn halt(&self, why: Halted) {
        let _ = self.halted.set(why); // the first reason is the reason
        self.inbox.close();
        self.view.store(None);
        self.published.send_modify(|_| ());
        self.mirror.halt();
        self.transport.store(None);
        self.phase.send_replace(Phase::Halted);
    }

    /// Held by the journal thread as long as it runs.
    pub fn journal_runs(&self) -> watch::Receiver<()> {
        self.journal.subscribe()
    }

    /// Waits until the journal thread has ended, and the disk with it.
    pub async fn journal_ended(&self) {
        self.journal.closed().await;
    }
}

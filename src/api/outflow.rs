//! What is on its way to clients: a reply takes memory until its client has taken it.
//!
//! ```text
//!  reserve ─► make ─► encode ─► pieces ─► HTTP/2 ─► socket
//!     └────────────── bytes held ───────────┴──────────┘ the last piece is sent: given back
//! ```
//!
//! Who does not read holds what is being sent to it. So bytes are bounded for the port and for each
//! connection, what is long is reserved before it is made, and a connection on which a reply does not
//! move, or moves too slowly, is closed.

use super::{Limits, status};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::Status;

/// What the shortest reply takes, with what HTTP/2 keeps for its stream.
const LEAST: usize = 4 << 10;
/// A reply up to this length is made before its bytes are reserved.
pub(super) const SHORT: u64 = 64 << 10;

/// The room of one port for what is on its way out.
pub(super) struct Outflow {
    replies: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    limits: Limits,
}

/// What kind of reply it is: each kind has room of its own, so that none keeps the other waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The reply to a request.
    Reply,
    /// A message of a stream that a client follows.
    Stream,
}

impl Outflow {
    pub fn new(limits: &Limits) -> Arc<Self> {
        let [replies, streams] =
            [limits.unsent_bytes, limits.unsent_stream_bytes].map(|n| Arc::new(Semaphore::new(n)));
        Arc::new(Outflow { replies, streams, limits: *limits })
    }

    /// Whoever asks from within the program has no connection: a fresh one, for each request.
    pub fn no_connection(&self) -> Arc<Connection> {
        Connection::new(&self.limits)
    }

    /// Takes room for so many bytes that are to be sent, as soon as there is some.
    pub async fn take(
        self: Arc<Self>,
        connection: Arc<Connection>,
        kind: Kind,
        bytes: usize,
    ) -> Result<Reserved, AcquireError> {
        let (all, own, most) = match kind {
            Kind::Reply => (&self.replies, &connection.replies, self.limits.unsent_bytes),
            Kind::Stream => (&self.streams, &connection.streams, self.limits.unsent_stream_bytes),
        };
        // Something that is longer than all the room passes alone.
        let bytes = |most: usize| u32::try_from(bytes.max(LEAST).min(most)).unwrap_or(u32::MAX);
        let own = own.clone().acquire_many_owned(bytes(most.div_ceil(Limits::REPLIES))).await?;
        let all = all.clone().acquire_many_owned(bytes(most)).await?;
        Ok(Reserved { _own: own, _all: all })
    }

    /// Reserves room for a reply before it is made.
    pub async fn reserve(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        bytes: u64,
        patience: Duration,
    ) -> Result<Arc<Reserved>, Status> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match timeout(patience, self.clone().take(connection.clone(), Kind::Reply, bytes)).await {
            Ok(Ok(reserved)) => Ok(Arc::new(reserved)),
            Ok(Err(_)) => Err(Status::internal("kvorum: the semaphore of replies is closed")),
            Err(_) => Err(status::not_executed(status::too_many())),
        }
    }

    /// How long something of so many bytes may stay where it is, and may take in all.
    fn allowance(&self, kind: Kind, bytes: usize) -> (Duration, Duration) {
        let stall = match kind {
            Kind::Reply => self.limits.stall,
            Kind::Stream => self.limits.stream_stall,
        };
        (stall, stall + Duration::from_secs_f64(bytes as f64 / self.limits.least_rate as f64))
    }
}

/// Bytes that are sent, or will be.
#[derive(Debug)]
pub(super) struct Reserved {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// One connection of a client, and what is on its way there.
pub(super) struct Connection {
    replies: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    flights: Mutex<Flights>,
}

#[derive(Default)]
struct Flights {
    next: u64,
    /// By when each has to move, and to arrive.
    due: BTreeMap<u64, (Instant, Instant)>,
}

impl Connection {
    pub fn new(limits: &Limits) -> Arc<Self> {
        let [replies, streams] = [limits.unsent_bytes, limits.unsent_stream_bytes]
            .map(|n| Arc::new(Semaphore::new(n.div_ceil(Limits::REPLIES))));
        Arc::new(Connection { replies, streams, flights: Mutex::default() })
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when something has been on its way for too long.
    pub async fn stalled(&self) {
        const OFTEN: Duration = Duration::from_secs(1);
        loop {
            tokio::time::sleep(OFTEN).await;
            let now = Instant::now();
            if self.flights().due.values().any(|(moves, arrives)| now > *moves.min(arrives)) {
                return;
            }
        }
    }
}

/// A message on its way: from when it is encoded until its last piece is sent.
pub(super) struct Flight {
    connection: Arc<Connection>,
    number: u64,
    stall: Duration,
    /// Given back with the last piece.
    _room: Arc<Reserved>,
}

impl Flight {
    pub fn begin(
        outflow: &Outflow,
        connection: &Arc<Connection>,
        kind: Kind,
        bytes: usize,
        room: Arc<Reserved>,
    ) -> Self {
        let (stall, whole) = outflow.allowance(kind, bytes);
        let now = Instant::now();
        let mut flights = connection.flights();
        let number = flights.next;
        flights.next += 1;
        flights.due.insert(number, (now + stall, now + whole));
        drop(flights);
        Flight { connection: connection.clone(), number, stall, _room: room }
    }

    /// A piece of it is sent.
    pub fn moved(&self) {
        if let Some((moves, _)) = self.connection.flights().due.get_mut(&self.number) {
            *moves = Instant::now() + self.stall;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.connection.flights().due.remove(&self.number);
    }
}

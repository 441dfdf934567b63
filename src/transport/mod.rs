//! Transport: one long-lived gRPC stream per ordered pair of replicas.
//!
//! ```text
//!  core ──Exposed<Outgoing>──► queue per peer ──► dialed stream ═══► accepted stream ──► check ──► Heard
//! ```
//!
//! The dialer sends, the acceptor receives; both say hello first, and whoever finds a mismatch
//! refuses: it logs what differs, and tells the other only of what kind it is, since a stranger could use
//! the rest. What is sent is heard once the dialer was called back (`known.rs`); of two live processes of
//! one name the second is refused (`live.rs`). The links are fair-lossy: a frame may be dropped,
//! delayed, and seen after a reconnect; the modules live with all of it. A frame that fails its
//! check never gets further than here.

mod accept;
mod address;
mod counters;
mod dial;
mod hello;
mod known;
mod live;
mod queue;

pub use address::{Address, AddressError};
pub use counters::Counters;
pub use hello::{Identity, PROTOCOL};

use crate::kernel::{Bounds, Exposed, MAX_BODY, Opened, Outgoing, ProcessId};
use counters::{Counts, Seldom};
use hello::Group;
use known::Known;
use queue::Queue;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// The largest message on a stream: a frame, its header, and the envelope.
const MAX_MESSAGE: usize = MAX_BODY + (64 << 10);
/// A ping goes out on every connection this often, …
const PING_EVERY: Duration = Duration::from_secs(1);
/// … and without an answer for so long the connection is broken: TCP alone would take minutes to
/// notice a cut, and as long again to notice that it healed.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// A hello, or a connection, that takes longer is given up.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes on their way in a stream that the receiver has not taken yet.
const STREAM_WINDOW: u32 = 4 << 20;

/// A member to talk to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its place in the configuration.
    pub process: ProcessId,
    /// Its name.
    pub name: String,
    /// Where its peers reach it; tried in turn.
    pub addresses: Vec<Address>,
}

/// What the transport tells the layer above.
#[derive(Debug)]
pub enum Heard {
    /// A frame that passed its check.
    Frame {
        /// The sender, as it has proved.
        from: ProcessId,
        /// The frame.
        frame: Opened,
        /// The room that it takes up: a sender is held back until enough of it is given back, by
        /// dropping it.
        room: Room,
    },
    /// A stream to a peer opened: what is sent from now on may arrive.
    Connected(ProcessId),
    /// The stream to a peer broke, and the peer refuses connections: it is likely dead.
    Refused(ProcessId),
}

/// The share of a peer's receive buffer that one frame takes up, until dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

/// Takes what is heard. It must not block.
pub type Listener = Arc<dyn Fn(Heard) + Send + Sync>;

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub struct PeerStatus {
    /// Whether a stream to it is open: it can hear.
    pub connected: bool,
    /// What it last said of itself.
    pub identity: Option<Identity>,
}

/// The streams of one replica. Dropping it closes them all, without waiting.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    queues: BTreeMap<ProcessId, Arc<Queue>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Transport {
    /// Listens for peers and dials them, on the current tokio runtime. To be called once the
    /// incarnation in `me` is durable, since every hello states it.
    ///
    /// # Errors
    /// When the listener cannot be driven by the runtime.
    pub fn start(
        me: Identity,
        listeners: Vec<std::net::TcpListener>,
        peers: Vec<Peer>,
        bounds: Bounds,
        heard: Listener,
    ) -> io::Result<Transport> {
        let shared = Arc::new(Shared {
            counts: Counts::default(),
            seldom: Seldom::new(),
            known: peers.iter().map(|p| (p.process, Known::new())).collect(),
            group: Group { me, peers },
            heard,
        });
        let mut transport = Transport { shared: shared.clone(), queues: BTreeMap::new(), tasks: Vec::new() };
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            transport.tasks.push(tokio::spawn(accept::run(shared.clone(), listener)));
        }
        for peer in shared.group.peers.clone() {
            let queue = Arc::new(Queue::new(bounds));
            transport.queues.insert(peer.process, queue.clone());
            transport.tasks.push(tokio::spawn(dial::run(shared.clone(), peer, queue)));
        }
        Ok(transport)
    }

    /// Sends a frame. Never waits: see [`Counters::frames_dropped`].
    ///
    /// Only what the journal exposed can be sent:
    ///
    /// ```compile_fail
    /// # use kvorum::{kernel::*, transport::Transport};
    /// fn send(transport: &Transport, frame: Outgoing) {
    ///     transport.send(frame);
    /// }
    /// ```
    ///
    /// ```
    /// # use kvorum::{kernel::*, transport::Transport};
    /// fn send(transport: &Transport, frame: Exposed<Outgoing>) {
    ///     transport.send(frame);
    /// }
    /// ```
    pub fn send(&self, outgoing: Exposed<Outgoing>) {
        let Outgoing { to, frame } = outgoing.into_inner();
        let dropped = match self.queues.get(&to) {
            Some(queue) => queue.push(frame),
            None => 1,
        };
        if dropped > 0 {
            self.shared.counts.frames_dropped.add(dropped);
        }
    }

    /// The counters, now.
    pub fn counters(&self) -> Counters {
        self.shared.counts.read()
    }

    /// What is known of each peer, now.
    pub fn peers(&self) -> BTreeMap<ProcessId, PeerStatus> {
        let status = |known: &Known| PeerStatus {
            connected: known.connected.load(Ordering::Relaxed),
            identity: known.identity(),
        };
        self.shared.known.iter().map(|(process, known)| (*process, status(known))).collect()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What all streams of a transport share.
struct Shared {
    group: Group,
    known: BTreeMap<ProcessId, Known>,
    counts: Counts,
    seldom: Seldom,
    heard: Listener,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("me", &self.group.me).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! What a process is told at boot, and the bounds that everything keeps to.

use super::mutant::Mutants;
use super::process::{ProcessId, Ticks};
use std::fmt;

/// What a process is told at boot. Everything else it finds in stable storage.
#[derive(Clone)]
pub struct Config {
    /// Which member this process is.
    pub me: ProcessId,
    /// The number of members.
    pub processes: usize,
    /// Hash of the initial configuration: names, peer URLs, token. Members that disagree on it do
    /// not talk.
    pub configuration: u64,
    /// The id of this data directory, drawn at random when it was made; never 0.
    pub disk: u64,
    /// A number drawn at random at each boot, which tells two boots of one incarnation apart (a
    /// data directory that was copied back).
    pub boot: u64,
    /// Whether storage came up damaged: the process then counts in no majority.
    pub damaged: bool,
    /// Durations, in ticks.
    pub timing: Timing,
    /// Bounds.
    pub bounds: Bounds,
    /// The bug put in on purpose, if any.
    pub mutants: Mutants,
}

/// Short, since every module shows its own: it never changes, and tells no state from another.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.me, self.processes)
    }
}

impl Config {
    /// Every member.
    pub fn members(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes as u8).map(ProcessId)
    }

    /// Every member but this one.
    pub fn peers(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.me;
        self.members().filter(move |p| *p != me)
    }

    /// The smallest number of processes that any two such sets share a member.
    pub fn majority(&self) -> usize {
        self.processes / 2 + 1
    }
}

/// Durations, in ticks of this process.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two rounds of heartbeats.
    pub heartbeat: Ticks,
    /// Without an answer for so long, a process is suspected.
    pub election: Ticks,
    /// Without progress for so long, messages are sent again.
    pub resend: Ticks,
}

impl Default for Timing {
    /// For ticks of 10 ms: heartbeats every 100 ms, suspicion after a second.
    fn default() -> Self {
        Self { heartbeat: 10, election: 100, resend: 30 }
    }
}

/// Bounds that everything keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests of clients that may wait at one process.
    pub requests: usize,
    /// Bytes that a leader may have proposed and not decided.
    pub undecided_bytes: usize,
    /// Entries in one frame.
    pub frame_entries: usize,
    /// Bytes of entries in one frame.
    pub frame_bytes: usize,
    /// Entries that a leader sends a follower ahead of its acknowledgement.
    pub window: u64,
    /// A process whose decided prefix is more than this many bytes of entries behind is first
    /// brought up to date with decided entries.
    pub sync_bytes: usize,
    /// Entries applied between two checkpoints.
    pub checkpoint_entries: u64,
    /// Bytes of log between two checkpoints.
    pub checkpoint_bytes: usize,
    /// Bytes of rows that a turn may write for a checkpoint or a snapshot.
    pub checkpoint_step: usize,
    /// Entries below the checkpoint that stay in the log for followers that lag.
    pub tail_entries: u64,
    /// Registers that a process keeps.
    pub registers: usize,
    /// Bytes of one register's value.
    pub register_bytes: usize,
    /// Messages of a link that one peer has not acknowledged.
    pub link_window: usize,
    /// Messages in the outbox of the logged links, for all peers together.
    pub outbox_entries: usize,
    /// Bytes of them; a single larger message passes alone.
    pub outbox_bytes: usize,
    /// Topics of which deliveries are kept.
    pub topics: usize,
    /// Bytes of one message of a broadcast.
    pub message_bytes: usize,
    /// The window of numbers within which the undelivered messages of one process lie.
    pub undelivered: u64,
    /// Delivered messages that stay for processes that lack them.
    pub relayed_entries: usize,
    /// Bytes of them.
    pub relayed_bytes: usize,
    /// Deliveries that are kept for readers; twice as many where a subscriber lags.
    pub delivery_entries: u64,
    /// Bytes of them.
    pub delivery_bytes: usize,
    /// Subscribers with acknowledged redelivery.
    pub subscribers: usize,
    /// The window of deliveries within which those lie that a subscriber has not acknowledged.
    pub unacknowledged: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        const {
            assert!(Self::FRAME_BYTES <= Self::UNDECIDED_BYTES);
            assert!(2 * (Self::UNDECIDED_BYTES + Self::SYNC_BYTES) <= super::frame::MAX_BODY);
            // A frame holds a message, and a replica those that wait beside those that it keeps.
            assert!(Self::MESSAGE_BYTES <= Self::FRAME_BYTES);
            assert!(Self::UNDELIVERED as usize <= Self::RELAYED_ENTRIES);
        }
        Self {
            requests: 4096,
            undecided_bytes: Self::UNDECIDED_BYTES,
            frame_entries: 1024,
            frame_bytes: Self::FRAME_BYTES,
            window: 8192,
            sync_bytes: Self::SYNC_BYTES,
            checkpoint_entries: 20_000,
            checkpoint_bytes: 32 << 20,
            checkpoint_step: 256 << 10,
            tail_entries: 5_000,
            registers: 4096,
            register_bytes: 64 << 10,
            link_window: 256,
            outbox_entries: 1 << 16,
            outbox_bytes: 64 << 20,
            topics: 1024,
            message_bytes: Self::MESSAGE_BYTES,
            undelivered: Self::UNDELIVERED,
            relayed_entries: Self::RELAYED_ENTRIES,
            relayed_bytes: 32 << 20,
            delivery_entries: 16_384,
            delivery_bytes: 32 << 20,
            subscribers: 256,
            unacknowledged: 256,
        }
    }
}

impl Bounds {
    const FRAME_BYTES: usize = 1 << 20;
    const UNDECIDED_BYTES: usize = 8 << 20;
    const SYNC_BYTES: usize = 8 << 20;
    const MESSAGE_BYTES: usize = 64 << 10;
    const UNDELIVERED: u64 = 256;
    const RELAYED_ENTRIES: usize = 4096;
}

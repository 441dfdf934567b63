//! Bounds: everything that grows has one, and each is a parameter.
//!
//! | | whose | changed by |
//! |---|---|---|
//! | [`Bounds`] | one process: what it keeps in memory and on disk, and does in one turn | its settings |
//! | [`SharedBounds`] | all members alike: they decide what a command answers | a release, with its protocol |
//! | [`ReplicatedBounds`](super::ReplicatedBounds) | the replicated state: so do they | a command of the log |
//!
//! The simulator draws all of them anew in each run, so that what happens at a bound happens.

use super::frame::MAX_BODY;

/// Bounds that a process keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Requests of clients that may wait at one process.
    pub requests: usize,
    /// Bytes of commands that wait at a leader to be proposed; a single larger one passes alone.
    pub queue_bytes: usize,
    /// Bytes that a leader may have proposed and not decided.
    pub undecided_bytes: usize,
    /// Bytes of one entry of the log; a command that makes a larger one is refused.
    pub entry_bytes: usize,
    /// Entries in one frame.
    pub frame_entries: usize,
    /// Bytes of entries in one frame.
    pub frame_bytes: usize,
    /// Frames that wait for one peer's stream.
    pub peer_frames: usize,
    /// Bytes of them; a single larger frame passes alone.
    pub peer_bytes: usize,
    /// Bytes that wait for the disk: stores, and the frames that wait for them. Past it frames of
    /// others are not taken, nor requests, and frames to others are dropped.
    pub journal_bytes: usize,
    /// Entries that a leader sends a follower ahead of its acknowledgement.
    pub window: u64,
    /// Bytes of them. So far, too, a leader proposes ahead of its own disk.
    pub window_bytes: usize,
    /// A process whose decided prefix is more than this many bytes of entries behind is first
    /// brought up to date with decided entries.
    pub sync_bytes: usize,
    /// Entries applied between two checkpoints.
    pub checkpoint_entries: u64,
    /// Bytes of log between two checkpoints.
    pub checkpoint_bytes: usize,
    /// Bytes of rows that a turn may write for a checkpoint or a snapshot.
    pub checkpoint_step: usize,
    /// Changes that a row of a checkpoint may stretch over: so many are looked at when it is
    /// cleaned.
    pub checkpoint_span: usize,
    /// Versions that housekeeping looks at in one tick.
    pub scrub_versions: usize,
    /// Rows of other generations that one sweep deletes.
    pub sweep_rows: u32,
    /// Sweeps between two looks whether such rows are left.
    pub sweeps: u32,
    /// Entries after which replicas tell each other the digest of their state.
    pub digest_entries: u64,
    /// Entries below the checkpoint that stay in the log for followers that lag.
    pub tail_entries: u64,
    /// Bytes of them.
    pub tail_bytes: usize,
    /// Bytes of log below the checkpoint that may stay for the sake of a snapshot that somebody reads.
    pub pinned_bytes: usize,
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
    /// Positions looked at for one subscriber in one turn.
    pub redelivery_scan: usize,
    /// Those that all members share.
    pub shared: SharedBounds,
}

/// Bounds that decide what a command answers, and that no command changes: whoever had others would
/// have another state after the same log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedBounds {
    /// Sessions of the store.
    pub sessions: usize,
    /// Calls that may be unanswered at a time in one session, and replies that it remembers.
    pub session_calls: u64,
    /// Bytes that the remembered replies of all sessions may take.
    pub reply_bytes: usize,
    /// Subscribers of total-order topics.
    pub subscribers: usize,
    /// Publications that such a subscriber is delivered and has not acknowledged.
    pub unacknowledged: u64,
    /// Keys that one transaction looks at.
    pub txn_visits: u64,
    /// Bytes that one transaction answers.
    pub txn_bytes: u64,
    /// Alarms that are on, of whatever kind and member.
    pub alarms: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for SharedBounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl SharedBounds {
    /// Those of every cluster but a simulated one.
    pub const DEFAULT: Self = Self {
        sessions: 1024,
        session_calls: 64,
        reply_bytes: 16 << 20,
        subscribers: 1024,
        unacknowledged: 256,
        txn_visits: 1 << 20,
        txn_bytes: 16 << 20,
        alarms: 128,
    };

    /// A longer reply is not remembered, only that the call was executed: so eviction ends at the
    /// latest when the session in hand is alone.
    pub const fn longest_reply(&self) -> usize {
        self.reply_bytes / self.session_calls as usize
    }
}

/// The first demand that does not hold.
macro_rules! demand {
    ($($holds:expr, $otherwise:literal;)+) => {
        $(if !$holds {
            return Err($otherwise);
        })+
    };
}

const _: () = assert!(Bounds::DEFAULT.check().is_ok());

/// What a frame holds beside its entries: names, lengths, deadlines.
const ENVELOPES: usize = 64 << 10;

impl Bounds {
    /// Those of a replica whose settings say nothing else.
    pub const DEFAULT: Self = Self {
        requests: 4096,
        queue_bytes: 64 << 20,
        undecided_bytes: 8 << 20,
        entry_bytes: (16 << 20) + (64 << 10),
        frame_entries: 1024,
        frame_bytes: 1 << 20,
        peer_frames: 4096,
        peer_bytes: 32 << 20,
        journal_bytes: 64 << 20,
        window: 8192,
        window_bytes: 16 << 20,
        sync_bytes: 8 << 20,
        checkpoint_entries: 20_000,
        checkpoint_bytes: 32 << 20,
        checkpoint_step: 256 << 10,
        checkpoint_span: 1024,
        scrub_versions: 1024,
        sweep_rows: 1024,
        sweeps: 8,
        digest_entries: 1024,
        tail_entries: 5_000,
        tail_bytes: 16 << 20,
        pinned_bytes: 128 << 20,
        registers: 4096,
        register_bytes: 64 << 10,
        link_window: 256,
        outbox_entries: 1 << 16,
        outbox_bytes: 64 << 20,
        topics: 1024,
        message_bytes: 64 << 10,
        undelivered: 256,
        relayed_entries: 4096,
        relayed_bytes: 32 << 20,
        delivery_entries: 16_384,
        delivery_bytes: 32 << 20,
        subscribers: 256,
        unacknowledged: 256,
        redelivery_scan: 1024,
        shared: SharedBounds::DEFAULT,
    };

    /// What lies around a message in a frame: its topic, most of all.
    pub const MESSAGE_HEADER: usize = 128;

    /// The most that may be undecided: a leader below `undecided_bytes` proposes a frame more, whose
    /// last entry may be the largest.
    pub const fn undecided_most(&self) -> usize {
        self.undecided_bytes + self.frame_bytes + self.entry_bytes
    }

    /// The most that one process sends another in chunks, before that takes it into its log: what is
    /// decided, up to `sync_bytes` or one entry, and what is not.
    pub const fn run_bytes(&self) -> usize {
        let decided = if self.sync_bytes > self.entry_bytes { self.sync_bytes } else { self.entry_bytes };
        decided + self.undecided_most()
    }

    /// What bounds demand of one another.
    ///
    /// # Errors
    /// The first demand that these do not meet.
    pub const fn check(&self) -> Result<(), &'static str> {
        let SharedBounds {
            sessions,
            session_calls,
            reply_bytes,
            subscribers,
            unacknowledged,
            txn_visits,
            txn_bytes: _,
            alarms,
        } = self.shared;
        demand! {
            self.requests > 0 && self.queue_bytes > 0, "a process takes one request at least";
            self.frame_entries > 0 && self.frame_bytes > 0, "a frame holds one entry at least";
            self.peer_frames > 0, "one frame at least may wait for a peer";
            self.frame_bytes <= self.journal_bytes, "what one frame says may wait for the disk";
            self.window > 0 && self.window_bytes > 0, "a follower is sent one entry at least";
            self.frame_bytes <= self.undecided_bytes, "a frame is not larger than what may be undecided";
            self.frame_bytes + self.entry_bytes + ENVELOPES <= MAX_BODY,
                "a frame is filled until it has enough, and its last entry may be the largest";
            self.checkpoint_entries > 0 && self.checkpoint_bytes > 0, "a checkpoint covers one entry at least";
            self.digest_entries > 0, "states are compared after one entry at least";
            self.checkpoint_step > 0 && self.checkpoint_span > 0, "a piece of a checkpoint gets on";
            self.scrub_versions > 0 && self.sweep_rows > 0 && self.sweeps > 0, "housekeeping gets on";
            self.link_window > 0 && self.outbox_entries > 0, "a link carries one message at least";
            self.message_bytes + Self::MESSAGE_HEADER <= self.frame_bytes, "a frame holds a message";
            2 * self.message_bytes <= self.delivery_bytes, "deliveries have room for a message and its header";
            self.undelivered > 0 && self.undelivered as usize <= self.relayed_entries,
                "a process has room for the messages that wait beside those that it keeps";
            self.unacknowledged > 0 && self.redelivery_scan > 0, "a subscriber is delivered something";
            sessions > 0 && session_calls > 0, "a session takes one call at least";
            reply_bytes as u64 >= session_calls, "the replies of one session fit in the room of all";
            unacknowledged > 0, "a subscriber in total order is delivered something";
            txn_visits > 0 && alarms > 0, "a key can be put, and an alarm raised";
            subscribers as u64 * unacknowledged * 32 <= 16 << 20,
                "what all subscribers in total order have acknowledged fits in memory, at 32 bytes a position";
        }
        Ok(())
    }
}

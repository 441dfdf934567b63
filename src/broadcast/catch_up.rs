//! Bringing a process that fell behind up to date: decided entries while the log still has them, a
//! snapshot where it does not.
//!
//! What is decided may be learned by anyone, from anyone, at any time: this traffic belongs to no
//! ballot and counts in no majority. The learner pulls: it asks from where it stands, and asks
//! again until it stands where its source does. A snapshot is the source's last finished
//! checkpoint, row by row in order; the learner stages the rows in a generation of its own, and
//! moves to it in one batch with the last of them, so that half a snapshot is never state.
//!
//! A part of the log's recovery, in the terms of [`SequencePaxos`](crate::consensus::SequencePaxos);
//! "Where this departs from the paper" in ARCHITECTURE.md has the argument.

use crate::kernel::{Ballot, Component, Config, MAX_COUNT, Message, ProcessId, RowKey, Slot, Ticks, Turn};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names a snapshot: the log prefix that it covers, the boot of the process that has it, and which
/// of its checkpoints it is. Two of them may cover the same prefix and differ in their rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The entries that it covers.
    pub applied: u64,
    /// The source's boot.
    pub boot: u64,
    /// Which checkpoint of that boot.
    pub number: u64,
}

/// A place between rows: revision and position.
pub type Cursor = (u64, u32);

/// Between a process that fell behind and its source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CatchUpMessage {
    /// What follows the asker's decided prefix is wanted.
    Ask {
        /// The asker's decided prefix.
        from: u64,
        /// The snapshot that it has begun to receive, and where that goes on.
        snapshot: Option<(SnapshotId, Cursor)>,
    },
    /// Decided entries.
    Entries {
        /// The index of the first.
        from: u64,
        /// The entries.
        entries: Vec<Bytes>,
        /// The source's decided prefix.
        decided: u64,
        /// Length and hash of what the source has decided up to the end of these entries.
        prefix: (u64, u64),
        /// What the source has promised: at or above every ballot in which they were decided.
        prom: Ballot,
    },
    /// A piece of a snapshot.
    Chunk(Chunk),
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Where the piece starts.
    pub at: Cursor,
    /// With the first piece: the checkpoint that the rows belong to.
    pub meta: Option<Bytes>,
    /// The rows, by revision and position.
    pub rows: Vec<(u64, u32, Bytes)>,
    /// Whether there are no more.
    pub last: bool,
    /// What the source has promised.
    pub prom: Ballot,
}

impl Message for CatchUpMessage {
    const COMPONENT: Component = Component::CatchUp;

    fn kind(&self) -> u8 {
        match self {
            Self::Ask { .. } => 1,
            Self::Entries { .. } => 2,
            Self::Chunk(_) => 3,
        }
    }

    fn slot(&self) -> Slot {
        Slot::Window
    }
}

/// The rows of a snapshot as they are staged.
#[derive(Debug)]
struct Staging<L> {
    id: SnapshotId,
    generation: u32,
    next: Cursor,
    loader: L,
}

/// Builds the state from a checkpoint's rows; implemented by the layer above.
pub trait Load: Sized {
    /// Starts from what the checkpoint says; nothing if it cannot be read.
    fn begin(meta: &Bytes) -> Option<Self>;
    /// What the checkpoint says, for rows that move to another generation.
    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes>;
    /// Takes a row; false if it cannot be one of the checkpoint's.
    fn row(&mut self, key: RowKey, value: Bytes) -> bool;
}

/// The complete snapshot.
#[derive(Debug)]
pub struct Installed<L> {
    /// The entries that it covers.
    pub applied: u64,
    /// What its source has promised.
    pub prom: Ballot,
    /// The state, loaded, with its rows in a generation of their own.
    pub loader: L,
}

/// The process that fell behind.
#[derive(Debug)]
pub struct CatchUp<L> {
    config: Config,
    source: Option<ProcessId>,
    asked: Ticks,
    progress: Ticks,
    staging: Option<Staging<L>>,
    /// The next generation that no row on disk uses.
    generation: u32,
    /// Where this process stood when entries last arrived.
    stood: u64,
    /// Generations of rows that were staged in vain.
    abandoned: Vec<u32>,
    now: Ticks,
}

impl<L: Load> CatchUp<L> {
    /// Nothing is resumed; `generation` is above that of every row on disk.
    pub fn start(config: Config, generation: u32) -> Self {
        Self {
            config,
            source: None,
            asked: 0,
            progress: 0,
            staging: None,
            generation,
            stood: 0,
            abandoned: Vec::new(),
            now: 0,
        }
    }

    /// Who is asked.
    pub fn source(&self) -> Option<ProcessId> {
        self.source
    }

    /// Whether a snapshot is being staged: its rows must not be cleared away.
    pub fn is_staging(&self) -> bool {
        self.staging.is_some()
    }

    /// This process lacks what `source` has decided.
    pub fn begin(&mut self, source: ProcessId, decided: u64, turn: &mut Turn) {
        if self.source.is_none() {
            tracing::info!(process = %self.config.me, %source, decided, "catches up");
            self.source = Some(source);
            self.progress = self.now;
            self.ask(decided, turn);
        }
    }

    fn ask(&mut self, decided: u64, turn: &mut Turn) {
        let Some(source) = self.source else { return };
        self.asked = self.now;
        let snapshot = self.staging.as_ref().map(|s| (s.id, s.next));
        turn.send(source, &CatchUpMessage::Ask { from: decided, snapshot });
    }

    /// Time passes: what was lost is asked for again; a source that is silent for several election
    /// timeouts is given up.
    pub fn tick(&mut self, now: Ticks, decided: u64, turn: &mut Turn) {
        self.now = now;
        if self.source.is_none() {
            return;
        }
        if now - self.progress > 4 * self.config.timing.election {
            self.end();
        } else if now - self.asked >= self.config.timing.resend {
            self.ask(decided, turn);
        }
    }

    fn end(&mut self) {
        self.source = None;
        self.abandon();
    }

    fn abandon(&mut self) {
        self.abandoned.extend(self.staging.take().map(|staging| staging.generation));
    }

    /// The generations of rows that were staged, and that nobody will use: they may be cleared away.
    pub fn take_abandoned(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.abandoned)
    }

    /// Decided entries arrived and were learned; `decided` is where this process stands now.
    pub fn upon_entries(&mut self, from: ProcessId, decided: u64, theirs: u64, turn: &mut Turn) {
        if self.source != Some(from) {
            return;
        }
        if decided >= theirs {
            self.end();
        } else if decided > self.stood {
            self.progress = self.now;
            self.ask(decided, turn);
        }
        self.stood = decided;
    }

    /// A piece of a snapshot arrived. Returns the snapshot when it is complete; the layer above
    /// moves to it in this same turn.
    pub fn upon_chunk(
        &mut self,
        from: ProcessId,
        decided: u64,
        chunk: Chunk,
        turn: &mut Turn,
    ) -> Option<Installed<L>> {
        let Chunk { id, at, meta, rows, last, prom } = chunk;
        if self.source != Some(from) || id.applied <= decided || id.applied > MAX_COUNT {
            return None;
        }
        if let Some(meta) = meta
            && self.staging.as_ref().is_none_or(|s| s.id != id)
        {
            let generation = self.generation;
            self.generation = self.generation.checked_add(1)?;
            let loader = L::begin(&L::rebase(&meta, generation)?)?;
            self.abandon();
            self.staging = Some(Staging { id, generation, next: (0, 0), loader });
        }
        let staging = self.staging.as_mut().filter(|s| s.id == id && s.next == at)?;
        self.progress = self.now;
        for (main, sub, value) in rows {
            let key = RowKey { generation: staging.generation, main, sub };
            turn.put_row(key, value.clone());
            if !staging.loader.row(key, value) {
                self.abandon();
                return None;
            }
            staging.next = (main, sub.saturating_add(1));
        }
        if !last {
            self.ask(decided, turn);
            return None;
        }
        let done = self.staging.take()?;
        Some(Installed { applied: done.id.applied, prom, loader: done.loader })
    }

    /// A snapshot was installed: go on with the entries after it.
    pub fn upon_installed(&mut self, decided: u64, turn: &mut Turn) {
        self.ask(decided, turn);
    }
}

/// The checkpoint that a source gives away.
#[derive(Clone, Debug)]
struct Pinned {
    id: SnapshotId,
    generation: u32,
    /// The first revision that it does not cover.
    end: u64,
    meta: Bytes,
    /// Up to where each of those who read it has come.
    reached: BTreeMap<ProcessId, Cursor>,
    /// How far each has asked for the log behind it.
    read: BTreeMap<ProcessId, u64>,
    /// When one of them last got on.
    used: Ticks,
}

/// Rows on their way from the disk to a learner. Whoever asks again before they come waits for them: a
/// disk that takes longer than it takes to ask again would otherwise never be heard out.
#[derive(Debug)]
struct Ticket {
    number: u64,
    to: ProcessId,
    at: Cursor,
}

/// Rows wanted from the checkpoint on disk: ticket, first row, first revision not wanted, bytes.
pub type Fetch = (u64, RowKey, u64, usize);

/// The process that has what another lacks.
///
/// While a checkpoint is pinned its rows stay as they are, and the log keeps what follows it. The
/// pin ends some election timeouts after those who read it last got on: to ask again and again for
/// the same piece holds nothing.
#[derive(Debug)]
pub struct Source {
    config: Config,
    pinned: Option<Pinned>,
    /// Whether somebody asked while none could be pinned.
    wanted: bool,
    tickets: Vec<Ticket>,
    next: u64,
    now: Ticks,
}

impl Source {
    /// Gives nothing away yet.
    pub fn start(config: Config) -> Self {
        Self { config, pinned: None, wanted: false, tickets: Vec::new(), next: 1, now: 0 }
    }

    /// Whether the last checkpoint must stay as it is.
    pub fn pins(&self) -> bool {
        self.pinned.is_some()
    }

    /// The log must keep what follows the snapshot that is being sent.
    pub fn pinned_applied(&self) -> Option<u64> {
        self.pinned.as_ref().map(|p| p.id.applied)
    }

    /// Time passes.
    pub fn tick(&mut self, now: Ticks) {
        self.now = now;
        if self.pinned.as_ref().is_some_and(|p| now - p.used > 4 * self.config.timing.election) {
            self.unpin();
        }
    }

    /// The checkpoint is replaced.
    pub fn unpin(&mut self) {
        self.pinned = None;
        self.tickets.clear();
    }

    /// A checkpoint is to be pinned as soon as one is finished.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether somebody waits for a checkpoint to be finished.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Somebody gets on with the log behind the pinned checkpoint, which the pin keeps.
    pub fn keep(&mut self, from: ProcessId, asked: u64) {
        let Some(pinned) = &mut self.pinned else { return };
        if pinned.read.get(&from).is_none_or(|read| *read < asked) {
            pinned.read.insert(from, asked);
            pinned.used = self.now;
        }
    }

    /// Pins the last finished checkpoint, unless one is pinned.
    pub fn pin(&mut self, (applied, number): (u64, u64), generation: u32, end: u64, meta: Bytes) {
        let id = SnapshotId { applied, boot: self.config.boot, number };
        let (used, reached, read) = (self.now, BTreeMap::new(), BTreeMap::new());
        self.wanted = false;
        self.pinned.get_or_insert(Pinned { id, generation, end, meta, reached, read, used });
    }

    /// The next piece of the pinned checkpoint is wanted.
    pub fn upon_ask(&mut self, from: ProcessId, snapshot: Option<(SnapshotId, Cursor)>) -> Option<Fetch> {
        let pinned = self.pinned.as_mut()?;
        let at = match snapshot {
            Some((id, at)) if id == pinned.id => at,
            Some(_) | None => (0, 0),
        };
        if pinned.reached.get(&from).is_none_or(|reached| *reached < at) {
            pinned.reached.insert(from, at);
            pinned.used = self.now;
        }
        if self.tickets.iter().any(|ticket| (ticket.to, ticket.at) == (from, at)) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.tickets.retain(|t| t.to != from);
        self.tickets.push(Ticket { number, to: from, at });
        let first = RowKey { generation: pinned.generation, main: at.0, sub: at.1 };
        Some((number, first, pinned.end, self.config.bounds.frame_bytes))
    }

    /// The rows came from the disk: send them. No rows means that there are no more.
    pub fn upon_rows(&mut self, number: u64, rows: Vec<(RowKey, Bytes)>, prom: Ballot, turn: &mut Turn) {
        let Some(pinned) = &self.pinned else { return };
        let Some(i) = self.tickets.iter().position(|t| t.number == number) else { return };
        let Ticket { to, at, .. } = self.tickets.swap_remove(i);
        let last = rows.is_empty();
        let rows = rows.into_iter().map(|(k, v)| (k.main, k.sub, v)).collect();
        let meta = (at == (0, 0)).then(|| pinned.meta.clone());
        turn.send(to, &CatchUpMessage::Chunk(Chunk { id: pinned.id, at, meta, rows, last, prom }));
    }

    /// The rows could not be read: who wants them asks again.
    pub fn upon_failed(&mut self, number: u64) {
        self.tickets.retain(|ticket| ticket.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Journal, Mutants};

    fn source() -> Source {
        let mut source = Source::start(Config::of(0, 3));
        source.pin((7, 1), 0, 100, Bytes::new());
        source
    }

    /// How many pieces the rows of a ticket make.
    fn sent(source: &mut Source, number: u64) -> usize {
        let rows = vec![(RowKey { generation: 0, main: 1, sub: 0 }, Bytes::new())];
        let mut journal: Journal<()> = Journal::new(Mutants::default());
        let prom = Ballot::default();
        journal.turn(|turn, _| source.upon_rows(number, rows, prom, turn)).1.frames.len()
    }

    #[test]
    fn who_asks_again_before_a_slow_disk_answers_is_answered_all_the_same() {
        let mut source = source();
        let (ticket, ..) = source.upon_ask(ProcessId(1), None).unwrap();
        for _ in 0..5 {
            assert_eq!(source.upon_ask(ProcessId(1), None), None, "the disk is asked once");
        }
        assert_eq!(sent(&mut source, ticket), 1);
        // The piece got lost.
        let (again, ..) = source.upon_ask(ProcessId(1), None).unwrap();
        assert_eq!(sent(&mut source, again), 1);
    }

    #[test]
    fn rows_that_cannot_be_read_are_asked_for_again() {
        let mut source = source();
        let (ticket, ..) = source.upon_ask(ProcessId(1), None).unwrap();
        source.upon_failed(ticket);
        assert!(source.upon_ask(ProcessId(1), None).is_some());
    }
}

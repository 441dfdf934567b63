//! Logged total-order broadcast: commands of every process on their way into the log.
//!
//! Interface: request Broadcast(command), from any process; delivery is the decided log, read from
//! one's own cursor. Properties: those of the log, and at most once: (origin, incarnation, seq) has
//! one effect.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 6.1 (total-order broadcast, from a sequence of consensus decisions), in
//! fail-recovery, and with one log for the sequence.
//!
//! **Durable first**: nothing; a command that is lost before it is proposed was never acknowledged.
//! **On recovery** the commands of an earlier life are nobody's.

use crate::kernel::{
    Account, Ballot, Bound, Bounds, Component, Config, Incarnation, MAX_COUNT, Memory, Message, ProcessId,
    SLOT, Slot, Ticks, Turn,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the log carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The process that was asked.
    pub origin: ProcessId,
    /// Its incarnation.
    pub inc: Incarnation,
    /// Counts its commands.
    pub seq: u64,
    /// The lowest command that it still waits for.
    pub low: u64,
    /// The command.
    pub command: Bytes,
}

impl Entry {
    /// As the log stores it.
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("entries are plain data, which always encodes").into()
    }

    /// From the log. The command is a slice of `bytes`.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (origin, inc, seq, low, command) = postcard::from_bytes::<Fields<'_>>(bytes).ok()?;
        Some(Self { origin, inc, seq, low, command: bytes.slice_ref(command) })
    }

    /// Whether the command of an encoded entry is one of these.
    fn has(bytes: &Bytes, is: impl Fn(&Bytes) -> bool) -> bool {
        Self::decode(bytes).is_some_and(|entry| is(&entry.command))
    }

    /// All but the command.
    fn name(bytes: &Bytes) -> Option<(ProcessId, Incarnation, u64, u64)> {
        Some(postcard::take_from_bytes(bytes).ok()?.0)
    }
}

/// The fields of an [`Entry`], as they are encoded.
type Fields<'a> = (ProcessId, Incarnation, u64, u64, &'a [u8]);

/// Commands and reads on their way to the leader and back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TotalOrderMessage {
    /// Encoded entries for the leader, each with the ticks that its origin still waits.
    Forward {
        /// The entries.
        entries: Vec<(Ticks, Bytes)>,
    },
    /// A read index is wanted; a later `number` replaces an earlier one.
    ReadAsk {
        /// The asker's incarnation.
        inc: Incarnation,
        /// Counts its questions.
        number: u64,
    },
    /// Reads asked for up to `number` may look once everything below `index` is applied.
    ReadAt {
        /// The asker's incarnation.
        inc: Incarnation,
        /// The question.
        number: u64,
        /// The read index.
        index: u64,
    },
}

impl Message for TotalOrderMessage {
    const COMPONENT: Component = Component::TotalOrder;

    fn kind(&self) -> u8 {
        match self {
            Self::Forward { .. } => 1,
            Self::ReadAsk { .. } => 2,
            Self::ReadAt { .. } => 3,
        }
    }

    fn slot(&self) -> Slot {
        match self {
            Self::Forward { .. } => Slot::Window,
            Self::ReadAsk { .. } | Self::ReadAt { .. } => Slot::Newest,
        }
    }
}

/// A command of this process that has no answer yet.
#[derive(Debug)]
struct Pending {
    request: u64,
    entry: Bytes,
    deadline: Ticks,
    /// The ballot whose leader has it, and since when.
    sent: Option<(Ballot, Ticks)>,
    /// How often it was handed over.
    copies: u32,
}

impl Pending {
    fn give_up(self) -> (u64, GivenUp) {
        (self.request, if self.sent.is_some() { GivenUp::Unknown } else { GivenUp::NeverSent })
    }
}

/// Why a command is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// Too many wait already.
    TooMany,
    /// Its entry would be larger than one may be.
    TooLarge,
}

/// Why a command was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenUp {
    /// It never left this process: it is surely not executed.
    NeverSent,
    /// Its fate is unknown.
    Unknown,
    /// Space is short, and it is surely not executed.
    NoSpace,
}

/// The commands of one process, and at the leader those of the others.
///
/// Bounds: `pending` holds at most `bounds.requests`, and so does `queue` for each process, and
/// `bounds.queue_bytes` in all; a single larger command passes alone.
#[derive(Debug)]
pub struct TotalOrder {
    config: Config,
    inc: Incarnation,
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// At the leader: entries to propose, with the time at which they are given up.
    queue: VecDeque<(Ticks, Bytes)>,
    queue_bytes: usize,
    now: Ticks,
}

impl TotalOrder {
    /// Nothing is resumed: the commands of an earlier incarnation are nobody's.
    pub fn start(config: Config, inc: Incarnation) -> Self {
        Self {
            config,
            inc,
            next: 1,
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            now: 0,
        }
    }

    /// Commands: of this process `requests`, of `entry_bytes` each; to be proposed here `queue_bytes`, and
    /// one that passed alone, of all processes.
    pub fn memory(&self) -> Memory {
        let Bounds { requests, entry_bytes, queue_bytes, .. } = self.config.bounds;
        let own = requests.saturating_mul(SLOT + entry_bytes);
        let queued = queue_bytes + entry_bytes + requests * self.config.processes * SLOT;
        let bytes = self.pending.values().map(|p| p.entry.len()).sum::<usize>() + self.queue_bytes;
        let held = (self.pending.len() + self.queue.len(), bytes);
        Memory::new(Account::Commands, held, own.saturating_add(queued))
    }

    /// Broadcasts a command.
    ///
    /// # Errors
    /// When too many wait already, or no frame would carry its entry: then it is not broadcast.
    pub fn broadcast(
        &mut self,
        request: u64,
        command: Bytes,
        patience: Ticks,
        turn: &mut Turn,
    ) -> Result<(), NotTaken> {
        let low = self.pending.keys().next().copied().unwrap_or(self.next);
        let bound = self.config.bounds.requests;
        let hit = if self.pending.len() >= bound {
            Some(Bound::Commands)
        } else {
            // The filter of every process has a place for each number above the lowest.
            (self.next - low >= 8 * bound as u64).then_some(Bound::CommandSpan)
        };
        if let Some(hit) = hit {
            turn.hit(hit);
            return Err(NotTaken::TooMany);
        }
        let seq = self.next;
        let entry = Entry { origin: self.config.me, inc: self.inc, seq, low, command }.encode();
        if entry.len() > self.config.bounds.entry_bytes {
            turn.hit(Bound::EntryBytes);
            return Err(NotTaken::TooLarge);
        }
        self.next += 1;
        self.pending
            .insert(seq, Pending { request, entry, deadline: self.now + patience, sent: None, copies: 0 });
        Ok(())
    }

    /// Nobody waits for the request any more.
    pub fn cancel(&mut self, request: u64) {
        self.pending.retain(|_, p| p.request != request);
    }

    /// Time passes: the requests whose time ran out.
    pub fn tick(&mut self, now: Ticks) -> Vec<(u64, GivenUp)> {
        self.now = now;
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(s, _)| *s).collect();
        late.into_iter().filter_map(|seq| self.pending.remove(&seq)).map(Pending::give_up).collect()
    }

    /// Gives up every request.
    pub fn give_up(&mut self) -> Vec<(u64, GivenUp)> {
        std::mem::take(&mut self.pending).into_values().map(Pending::give_up).collect()
    }

    /// Sends what the leader of `ballot` does not have yet, or has had for so long that it was
    /// probably lost. Where this process leads it goes into the queue. A command that is refused by now
    /// is not sent again: nobody knows its fate, and this process may have come to lead.
    pub fn dispatch(
        &mut self,
        leader: Option<Ballot>,
        leads: bool,
        refused: Option<fn(&Bytes) -> bool>,
        turn: &mut Turn,
    ) {
        if !leads {
            self.queue.clear();
            self.queue_bytes = 0;
        }
        let Some(ballot) = leader else { return };
        let (now, resend, bounds) = (self.now, self.config.timing.resend, self.config.bounds);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for pending in self.pending.values_mut() {
            let waits = pending.sent.is_some_and(|(to, at)| to == ballot && now - at < 4 * resend);
            if waits || refused.is_some_and(|is| Entry::has(&pending.entry, is)) {
                continue;
            }
            let full = leads && self.queue_bytes + bytes >= bounds.queue_bytes;
            if full || bytes >= bounds.frame_bytes || entries.len() >= bounds.frame_entries {
                turn.hit(match (full, bytes >= bounds.frame_bytes) {
                    (true, _) => Bound::QueueBytes,
                    (false, true) => Bound::FrameBytes,
                    (false, false) => Bound::FrameEntries,
                });
                break;
            }
            bytes += pending.entry.len();
            pending.sent = Some((ballot, now));
            pending.copies += 1;
            entries.push((pending.deadline - now, pending.entry.clone()));
        }
        if entries.is_empty() {
        } else if leads {
            self.enqueue(entries, turn);
        } else {
            turn.send(ballot.process, &TotalOrderMessage::Forward { entries });
        }
    }

    /// Space is short: drops what would grow from the queue, and gives up what is not under way, or
    /// has been for so long that it was probably dropped.
    ///
    /// That a leader dropped a copy says nothing of another one: a command that was handed to
    /// anybody else, or more than once, may still be executed.
    ///
    /// ```text
    /// b        forwards x ──────────────────────────────── again (no answer) ── "no space": false
    /// a           └ leads, proposes x ─── alarm applied ─────┘ drops it
    ///                              └ x was before the alarm, and is executed
    /// ```
    ///
    /// So its origin is not told, but gives it up by itself when it would send it again, its fate
    /// unknown; or before, when it is executed after all.
    pub fn shrink(&mut self, grows: impl Fn(&Bytes) -> bool) -> Vec<(u64, GivenUp)> {
        let Self { config, inc, pending, queue, queue_bytes, now, .. } = self;
        let mut own = BTreeSet::new();
        queue.retain(|(_, entry)| {
            let Some(dropped) = Entry::decode(entry).filter(|entry| grows(&entry.command)) else {
                return true;
            };
            *queue_bytes -= entry.len();
            if (dropped.origin, dropped.inc) == (config.me, *inc) {
                own.insert(dropped.seq);
            }
            false
        });
        let mut given_up = Vec::new();
        let resend = 4 * config.timing.resend;
        pending.retain(|seq, p| {
            let fate = match p.sent {
                None => GivenUp::NoSpace,
                Some((ballot, _)) if p.copies == 1 && ballot.process == config.me && own.contains(seq) => {
                    GivenUp::NoSpace
                }
                Some((_, at)) if *now - at >= resend => GivenUp::Unknown,
                Some(_) => return true,
            };
            let refused = Entry::has(&p.entry, &grows);
            if refused {
                given_up.push((p.request, fate));
            }
            !refused
        });
        given_up
    }

    /// Commands that a process forwards: its own, and nobody else's.
    pub fn upon_forward(&mut self, from: ProcessId, entries: Vec<(Ticks, Bytes)>, turn: &mut Turn) {
        let is_own = |(_, entry): &(Ticks, Bytes)| {
            Entry::name(entry).is_some_and(|(origin, inc, seq, low)| {
                origin == from && low <= seq && seq < MAX_COUNT && inc < MAX_COUNT
            })
        };
        self.enqueue(entries.into_iter().filter(is_own).collect(), turn);
    }

    /// Commands to be proposed here. What finds no room is dropped: its origin sends it again. So is
    /// what is too large: no frame would carry it on, and nothing behind it in the log would be decided.
    pub fn enqueue(&mut self, entries: Vec<(Ticks, Bytes)>, turn: &mut Turn) {
        let room = self.config.bounds.requests * self.config.processes;
        let limit = self.config.bounds.entry_bytes;
        for (patience, entry) in entries.into_iter().filter(|(_, entry)| entry.len() <= limit) {
            let size = self.queue_bytes + entry.len();
            let many = self.queue.len() >= room;
            if (many || size > self.config.bounds.queue_bytes) && !self.queue.is_empty() {
                turn.hit(if many { Bound::QueuedCommands } else { Bound::QueueBytes });
                break;
            }
            self.queue_bytes = size;
            self.queue.push_back((self.now.saturating_add(patience), entry));
        }
    }

    /// The next entries to propose: at most `bytes` of them, and none whose time ran out.
    pub fn take_proposals(&mut self, bytes: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut size = 0;
        while size < bytes {
            let Some((deadline, entry)) = self.queue.pop_front() else { break };
            self.queue_bytes -= entry.len();
            if deadline > self.now {
                size += entry.len();
                taken.push(entry);
            }
        }
        taken
    }

    /// Whether commands wait to be proposed here.
    pub fn has_proposals(&self) -> bool {
        !self.queue.is_empty()
    }

    /// An entry was executed: the request that waits for it here, if one does.
    pub fn executed(&mut self, entry: &Entry) -> Option<u64> {
        if entry.origin != self.config.me || entry.inc != self.inc {
            return None;
        }
        self.pending.remove(&entry.seq).map(|p| p.request)
    }

    /// The requests among those waiting whose command is done, though this process did not execute
    /// it: a snapshot covered it.
    pub fn take_done(&mut self, is_done: impl Fn(Incarnation, u64) -> bool) -> Vec<u64> {
        let inc = self.inc;
        let done: Vec<u64> = self.pending.keys().copied().filter(|seq| is_done(inc, *seq)).collect();
        done.into_iter().filter_map(|seq| self.pending.remove(&seq)).map(|p| p.request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Journal, Mutants};

    /// The oldest command waits, and others come and go.
    #[test]
    fn numbers_reach_no_further_than_every_filter_has_room_for() {
        let bounds = Bounds { requests: 2, ..Bounds::DEFAULT };
        let mut journal: Journal<()> = Journal::new(Mutants::default());
        let mut total_order = TotalOrder::start(Config { bounds, ..Config::of(0, 3) }, 1);
        let _ = journal.turn(|turn, _| {
            for request in 0..16 {
                total_order.broadcast(request, "x".into(), 1000, turn).unwrap();
                if request > 0 {
                    total_order.cancel(request);
                }
            }
            assert_eq!(total_order.broadcast(16, "x".into(), 1000, turn), Err(NotTaken::TooMany));
            total_order.cancel(0);
            assert_eq!(total_order.broadcast(17, "x".into(), 1000, turn), Ok(()));
        });
        assert_eq!(journal.hits().of(Bound::CommandSpan), 1);
    }

    /// A command that was handed to another leader, and may be in its log, when space gets short.
    #[test]
    fn who_comes_to_lead_while_space_is_short_does_not_propose_what_grows() {
        let config = Config::of(0, 3);
        let mut journal: Journal<()> = Journal::start(&config, 0);
        let mut total_order = TotalOrder::start(config, 1);
        let [other, own] = [1, 0].map(|p| Some(Ballot { counter: 1, process: ProcessId(p), ..Ballot::ZERO }));
        let _ = journal.turn(|turn, _| {
            total_order.broadcast(7, "+a".into(), 1000, turn).unwrap();
            total_order.dispatch(other, false, None, turn);
            let grows = |command: &Bytes| command.starts_with(b"+");
            assert_eq!(total_order.shrink(grows), [], "it may be executed yet");
            total_order.dispatch(own, true, Some(grows), turn);
            assert!(!total_order.has_proposals());
            total_order.dispatch(own, true, None, turn);
            assert!(total_order.has_proposals(), "there is room again");
        });
    }
}

//! Cross-checking the replicated state: replicas that have applied the same entries tell each other
//! the digest of what came of it.
//!
//! Equal logs give equal states (the state machine's agreement) unless a state machine is not
//! deterministic, a replica does not come up as it went down, or its memory or disk is damaged. Then
//! a replica answers what others would not, and nothing in the log protocol notices:
//!
//! ```text
//! b      loads its checkpoint, and orders two sessions otherwise ── evicts S
//! a, c   evict N                                                        │
//! client puts with N: a and c execute it, b does not ── reads at b: the put is missing, for ever
//! ```
//!
//! Interface: what a process's state is after a prefix of the log ([`CrossCheck::upon_state`]), each
//! `bounds.digest_entries` entries. Output: whether a majority of the members has another one.
//!
//! Properties: *accuracy*: who is told that it diverged has another state than a majority after the
//! same entries; *completeness*: who diverges from a majority that stays connected to it is told,
//! within `bounds.digest_entries` entries and a round trip. Without a majority nobody is told; the
//! log says who differs from whom.
//!
//! **Durable first**: a digest leaves after the stores of its turn, like everything. **On recovery**
//! the next digests are compared: what differed still does.
//!
//! A process that is ahead is not waited for: what it said last is kept until this one gets there.
//! One that is behind hears, if it differs, what this process had at the same place: so it finds out
//! also where nobody ever stands where it does at the same time.

use super::Filter;
use super::state_machine::StateMachine;
use crate::kernel::{Component, Config, Message, ProcessId, ProcessSet, Slot, Turn};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Own digests that are kept.
const KEPT: usize = 16;
/// Bytes of entries after which the digest is brought up to date in any case: until then it keeps
/// what they replaced in memory.
const BYTES: usize = 4 << 20;

/// The replicated state after a prefix of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateDigest {
    /// The length of the prefix.
    pub applied: u64,
    /// Of the state machine.
    pub machine: u64,
    /// Of the at-most-once filter.
    pub filter: u64,
}

/// Between two replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CrossCheckMessage {
    /// What the sender has come to.
    State(StateDigest),
    /// What the sender had where the receiver has something else.
    Differs(StateDigest),
}

impl Message for CrossCheckMessage {
    const COMPONENT: Component = Component::CrossCheck;

    fn kind(&self) -> u8 {
        match self {
            Self::State(_) => 1,
            Self::Differs(_) => 2,
        }
    }

    fn slot(&self) -> Slot {
        Slot::Newest
    }
}

/// What this process had, and what others said of the same prefix.
#[derive(Debug)]
struct Own {
    digest: StateDigest,
    said: BTreeMap<ProcessId, StateDigest>,
}

/// The cross-check at one process.
///
/// Bounds: of `KEPT` own states what each peer said, and of each peer one word about a state to come.
#[derive(Debug)]
pub struct CrossCheck {
    config: Config,
    /// The newest last.
    own: VecDeque<Own>,
    ahead: BTreeMap<ProcessId, StateDigest>,
    /// Whose difference is in the log of this process.
    warned: ProcessSet,
    /// Bytes of entries since the digest was brought up to date.
    bytes: usize,
}

impl CrossCheck {
    /// Nothing is compared yet.
    pub fn start(config: Config) -> Self {
        Self { config, own: VecDeque::new(), ahead: BTreeMap::new(), warned: ProcessSet::default(), bytes: 0 }
    }

    /// Another state took the place of this process's own.
    pub fn upon_installed(&mut self) {
        self.own.clear();
        self.bytes = 0;
    }

    /// The own states that are kept, for monitors.
    pub fn states(&self) -> impl Iterator<Item = StateDigest> {
        self.own.iter().map(|own| own.digest)
    }

    /// An entry of so many bytes was applied, as the last of `applied`. Says so to the others if it is
    /// time for that; whether this process has diverged.
    pub fn upon_applied<M: StateMachine>(
        &mut self,
        (applied, bytes): (u64, usize),
        machine: &mut M,
        filter: &Filter,
        turn: &mut Turn,
    ) -> bool {
        self.bytes += bytes;
        let due = applied.is_multiple_of(self.config.bounds.digest_entries.max(1));
        if !due && self.bytes < BYTES {
            return false;
        }
        self.bytes = 0;
        let state = StateDigest { applied, machine: machine.digest(), filter: filter.digest() };
        due && self.upon_state(state, turn)
    }

    /// This process has come to a state; whether it has diverged.
    pub fn upon_state(&mut self, state: StateDigest, turn: &mut Turn) -> bool {
        turn.send_all(self.config.peers(), &CrossCheckMessage::State(state));
        self.own.push_back(Own { digest: state, said: BTreeMap::new() });
        if self.own.len() > KEPT {
            self.own.pop_front();
        }
        let reached = |(_, said): &(&ProcessId, &StateDigest)| said.applied == state.applied;
        let said: Vec<(ProcessId, StateDigest)> =
            self.ahead.iter().filter(reached).map(|(p, said)| (*p, *said)).collect();
        self.ahead.retain(|_, said| said.applied > state.applied);
        said.into_iter().for_each(|(from, said)| _ = self.compare(from, said));
        self.has_diverged()
    }

    /// Another process says what it had; whether this one has diverged.
    pub fn upon(&mut self, from: ProcessId, message: &CrossCheckMessage, turn: &mut Turn) -> bool {
        let (CrossCheckMessage::State(said) | CrossCheckMessage::Differs(said)) = message;
        if from == self.config.me || from.index() >= self.config.processes {
            return false;
        }
        let newest = self.own.back().map_or(0, |own| own.digest.applied);
        if said.applied > newest {
            self.ahead.insert(from, *said);
        } else if let Some(own) = self.compare(from, *said)
            && let CrossCheckMessage::State(_) = message
        {
            turn.send(from, &CrossCheckMessage::Differs(own));
        }
        self.has_diverged()
    }

    /// Notes what a process had; what this one had instead, if it did.
    fn compare(&mut self, from: ProcessId, said: StateDigest) -> Option<StateDigest> {
        let own = self.own.iter_mut().find(|own| own.digest.applied == said.applied)?;
        own.said.insert(from, said);
        let own = own.digest;
        if own == said {
            return None;
        }
        if !self.warned.contains(from) {
            self.warned.insert(from);
            tracing::error!(
                process = %self.config.me, peer = %from, applied = said.applied,
                own = format_args!("{:016x}/{:016x}", own.machine, own.filter),
                theirs = format_args!("{:016x}/{:016x}", said.machine, said.filter),
                "the state of a peer is not that of this replica after the same entries: whichever of the two \
                 differs from a majority stops serving; without a majority look at all of them"
            );
        }
        Some(own)
    }

    /// Whether a majority of the members had one and the same other state.
    fn has_diverged(&self) -> bool {
        self.own.iter().any(|own| {
            let others = own.said.values().filter(|said| **said != own.digest);
            let alike = |with: &StateDigest| own.said.values().filter(|said| *said == with).count();
            others.map(alike).max().unwrap_or(0) >= self.config.majority()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Held, Journal, Mutants, Opened};

    fn state(applied: u64, machine: u64) -> StateDigest {
        StateDigest { applied, machine, filter: 7 }
    }

    /// What was sent in a turn, by receiver, and what the turn returned.
    fn turn<T>(react: impl FnOnce(&mut Turn) -> T) -> (Vec<(u8, CrossCheckMessage)>, T) {
        let (returned, release) = Journal::new(Mutants::default()).turn(|turn, _: &mut Held<()>| react(turn));
        let sent = release.frames.into_iter().map(|frame| {
            let frame = frame.into_inner();
            (frame.to.0, Opened::check(frame.frame.bytes().clone()).unwrap().message().unwrap())
        });
        (sent.collect(), returned)
    }

    fn comes_to(check: &mut CrossCheck, state: StateDigest) -> bool {
        turn(|turn| check.upon_state(state, turn)).1
    }

    fn hears(check: &mut CrossCheck, from: u8, said: StateDigest) -> bool {
        turn(|turn| check.upon(ProcessId(from), &CrossCheckMessage::State(said), turn)).1
    }

    #[test]
    fn who_differs_from_a_majority_has_diverged_and_nobody_else() {
        let mut check = CrossCheck::start(Config::of(0, 3));
        assert!(!comes_to(&mut check, state(10, 1)));
        assert!(!hears(&mut check, 1, state(10, 1)), "equal");
        assert!(!hears(&mut check, 2, state(10, 2)), "the other one differs");
        assert!(!comes_to(&mut check, state(20, 3)));
        assert!(!hears(&mut check, 1, state(20, 4)));
        assert!(!hears(&mut check, 2, state(20, 5)), "three states, and no majority");
        assert!(!comes_to(&mut check, state(30, 3)));
        assert!(!hears(&mut check, 1, state(30, 4)));
        assert!(!hears(&mut check, 1, state(30, 4)), "one process says it twice");
        assert!(hears(&mut check, 2, state(30, 4)));
    }

    #[test]
    fn what_is_said_of_a_state_to_come_is_kept_until_then() {
        let mut check = CrossCheck::start(Config::of(0, 3));
        assert!(!hears(&mut check, 1, state(20, 2)));
        assert!(!hears(&mut check, 2, state(20, 2)));
        assert!(!comes_to(&mut check, state(10, 1)));
        assert!(comes_to(&mut check, state(20, 1)));
    }

    #[test]
    fn who_is_behind_and_differs_is_told_so_and_nobody_answers_an_answer() {
        let mut check = CrossCheck::start(Config::of(0, 3));
        (1..=3).for_each(|n| assert!(!comes_to(&mut check, state(10 * n, 1))));
        let say = |check: &mut CrossCheck, said| turn(|turn| check.upon(ProcessId(2), &said, turn)).0;
        let told = say(&mut check, CrossCheckMessage::State(state(10, 2)));
        assert_eq!(told, [(2, CrossCheckMessage::Differs(state(10, 1)))]);
        assert!(say(&mut check, CrossCheckMessage::Differs(state(10, 2))).is_empty());
        assert!(say(&mut check, CrossCheckMessage::State(state(20, 1))).is_empty(), "equal");
        assert!(say(&mut check, CrossCheckMessage::State(state(7, 1))).is_empty(), "not compared here");
    }

    #[test]
    fn what_is_kept_is_bounded_whatever_others_say() {
        let mut check = CrossCheck::start(Config::of(0, 3));
        for n in 1..100 {
            comes_to(&mut check, state(n, 1));
            hears(&mut check, 1, state(u64::MAX - n, 1));
            hears(&mut check, 9, state(n, 1));
        }
        assert_eq!((check.own.len(), check.ahead.len()), (KEPT, 1));
        assert!(check.own.iter().all(|own| own.said.is_empty()));
    }
}

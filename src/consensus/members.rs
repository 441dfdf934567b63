//! Who is a member, and whose votes count: forming the cluster, and recognising a process that has
//! lost its memory (rules 12 and 13 of ARCHITECTURE.md).
//!
//! Forming takes two exchanges. First everyone tells its disk's id; who knows all ids stores the
//! full set, never replaces it, and tells it; who has heard the same set from everyone has formed.
//! With one exchange a replica that is wiped while the cluster forms would get a second vote:
//!
//! ```text
//! A      hears B1, C1 ─ forms {A,B1,C1}, votes with B1
//! B      tells B1 ──── forms, votes with A ──── wiped: B2 ── tells B2 ┐
//! C                        (hears nothing from B1)                  forms {A,B2,C}, votes with B2
//! ```

use super::messages::{Distrust, Membership};
use crate::kernel::{
    Config, Incarnation, Logged, Mutant, ProcessId, ProcessSet, Stored, Ticks, Turn, Undecodable,
};

/// The last boot of a peer that was recorded: its incarnation, and the number drawn at it.
type Recorded = (Incarnation, u64);

/// Membership as one process sees it.
///
/// Invariant: `set`, once stored, is never replaced; `formed` only ever becomes true.
#[derive(Debug)]
pub struct Members {
    config: Config,
    inc: Incarnation,
    /// The disks of the members, by process; empty until all are known.
    set: Logged<Vec<u64>>,
    formed: Logged<bool>,
    /// Why this process counts in no majority, once it knows that it must not. For ever: its old
    /// promises may still be in flight, so that catching up is not enough.
    distrust: Logged<Option<Distrust>>,
    recorded: Logged<Vec<Recorded>>,
    /// Disks that were told, before the set is stored.
    heard: Vec<Option<u64>>,
    /// Who told the same set.
    same: ProcessSet,
    /// Who has recorded this boot.
    acks: ProcessSet,
    /// Peers whose disk is not the one of the set.
    strangers: ProcessSet,
    hello_at: Ticks,
    warned: ProcessSet,
}

impl Members {
    /// Recovers from what is stored.
    pub fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        turn: &mut Turn,
    ) -> Result<Self, Undecodable> {
        let n = config.processes;
        let mut heard = vec![None; n];
        heard[config.me.index()] = Some(config.disk);
        let mut members = Self {
            inc,
            set: Logged::recover("members/set", stored, Vec::new())?,
            formed: Logged::recover("members/formed", stored, false)?,
            distrust: Logged::recover("members/distrust", stored, None)?,
            recorded: Logged::recover("members/recorded", stored, vec![(0, 0); n])?,
            heard,
            same: ProcessSet::default(),
            acks: ProcessSet::default(),
            strangers: ProcessSet::default(),
            hello_at: 0,
            warned: ProcessSet::default(),
            config,
        };
        if members.config.damaged {
            members.forget(Distrust::Damaged, turn);
        }
        members.settle(turn);
        members.hello(members.config.peers().collect(), true, None, turn);
        Ok(members)
    }

    /// Whether the cluster has formed.
    pub fn is_formed(&self) -> bool {
        *self.formed
    }

    /// Why this process counts in no majority, if it does not.
    pub fn distrust(&self) -> Option<Distrust> {
        *self.distrust
    }

    /// The processes that count each other's votes with this one, once the cluster has formed: those
    /// that have recorded its boot, since they would know of a later one. To ask for the records of
    /// a majority would be too much: after a power cut the rim of a star hears nobody but its hub.
    pub fn voters(&self) -> ProcessSet {
        if !*self.formed && self.distrust.is_none() {
            return ProcessSet::default();
        }
        let me = self.config.me;
        let learns = self.distrust.is_some();
        let counts = !learns && (self.config.processes == 1 || !self.acks.is_empty());
        let fits = |p: &ProcessId| match *p == me {
            true => counts,
            false => !self.strangers.contains(*p) && (learns || self.acks.contains(*p)),
        };
        self.config.members().filter(fits).collect()
    }

    /// A stream to the peer opened: introduce oneself.
    pub fn upon_connected(&mut self, peer: ProcessId, turn: &mut Turn) {
        self.hello(vec![peer], true, None, turn);
    }

    /// Time passes: while something is missing, ask again.
    pub fn tick(&mut self, now: Ticks, turn: &mut Turn) {
        if self.distrust.is_some() || now - self.hello_at < self.config.timing.resend {
            return;
        }
        // What made a peer a stranger may have been a hello from before the cluster formed.
        let known = |p: ProcessId| self.acks.contains(p) && !self.strangers.contains(p);
        let missing = |p: &ProcessId| !(*self.formed && known(*p));
        let missing: Vec<ProcessId> = self.config.peers().filter(missing).collect();
        self.hello_at = now;
        if !missing.is_empty() {
            self.hello(missing, true, None, turn);
        }
    }

    /// This process has forgotten what it had acknowledged.
    pub fn upon_forgot(&mut self, turn: &mut Turn) {
        self.forget(Distrust::Forgot, turn);
    }

    fn hello(&self, to: Vec<ProcessId>, ask: bool, ack: Option<u64>, turn: &mut Turn) {
        turn.send_all(
            to,
            &Membership::Hello {
                configuration: self.config.configuration,
                disk: self.config.disk,
                inc: self.inc,
                boot: self.config.boot,
                set: self.set.to_vec(),
                ask,
                ack,
            },
        );
    }

    /// A message of a peer.
    pub fn upon(&mut self, from: ProcessId, message: Membership, turn: &mut Turn) {
        if from == self.config.me || from.index() >= self.config.processes {
            return;
        }
        match message {
            Membership::Hello { configuration, disk, inc, boot, set, ask, ack } => {
                if configuration != self.config.configuration {
                    self.warn_once(from, "its initial configuration is another one");
                    return;
                }
                self.upon_set(from, &set, turn);
                self.upon_disk(from, disk, turn);
                if ack == Some(self.config.boot) {
                    self.acks.insert(from);
                }
                self.settle(turn);
                if ask {
                    self.answer(from, disk, (inc, boot), turn);
                }
            }
            Membership::Amnesia { boot, reason } => {
                if boot == self.config.boot {
                    self.forget(reason, turn);
                }
            }
        }
    }

    /// Records the boot and says so, or says why the process counts no more.
    fn answer(&mut self, to: ProcessId, disk: u64, boot: Recorded, turn: &mut Turn) {
        let known = self.recorded[to.index()];
        let other_disk = self.set.get(to.index()).is_some_and(|d| *d != disk);
        if other_disk && !self.config.mutants.on(Mutant::WipedVotes) {
            turn.send(to, &Membership::Amnesia { boot: boot.1, reason: Distrust::OtherDisk });
            self.hello(vec![to], false, None, turn);
            return;
        }
        let earlier = boot.0 < known.0 || (boot.0 == known.0 && boot.1 != known.1);
        let mutants = self.config.mutants;
        if earlier && !mutants.on(Mutant::CopyVotes) && !mutants.on(Mutant::WipedVotes) {
            turn.send(to, &Membership::Amnesia { boot: boot.1, reason: Distrust::RolledBack });
            return;
        }
        if boot != known {
            let mut recorded = self.recorded.to_vec();
            recorded[to.index()] = boot;
            self.recorded.set(recorded, turn);
        }
        self.hello(vec![to], false, Some(boot.1), turn);
    }

    fn upon_disk(&mut self, from: ProcessId, disk: u64, _turn: &mut Turn) {
        match self.set.get(from.index()) {
            None => self.heard[from.index()] = Some(disk),
            Some(known) if *known != disk && !self.config.mutants.on(Mutant::WipedVotes) => {
                self.warn_once(from, "its disk is not the one that the cluster was formed with");
                self.strangers.insert(from);
            }
            Some(_) => {
                self.strangers =
                    self.config.peers().filter(|p| *p != from && self.strangers.contains(*p)).collect();
            }
        }
    }

    fn upon_set(&mut self, from: ProcessId, set: &[u64], turn: &mut Turn) {
        if set.len() != self.config.processes {
            return;
        }
        if set[self.config.me.index()] != self.config.disk {
            if self.config.mutants.on(Mutant::WipedVotes) {
                let mut set = set.to_vec();
                set[self.config.me.index()] = self.config.disk;
                self.set.set(set, turn);
                self.formed.set(true, turn);
                return;
            }
            let reason = if self.config.damaged { Distrust::Damaged } else { Distrust::OtherDisk };
            self.forget(reason, turn);
        } else if *self.set == set {
            self.same.insert(from);
        } else if !self.set.is_empty() {
            self.warn_once(
                from,
                "it knows other disks as members: a replica was wiped while the cluster formed",
            );
        }
    }

    /// Stores the set once all ids are known, and forms once everyone has told the same set.
    fn settle(&mut self, turn: &mut Turn) {
        if self.distrust.is_some() {
            return;
        }
        if self.set.is_empty() {
            let Some(all) = self.heard.iter().copied().collect::<Option<Vec<u64>>>() else { return };
            self.set.set(all, turn);
            self.hello(self.config.peers().collect(), true, None, turn);
        }
        let complete = self.same.len() + 1 == self.config.processes;
        if !*self.formed && (complete || self.config.mutants.on(Mutant::FormAfterOneExchange)) {
            self.formed.set(true, turn);
            tracing::info!(process = %self.config.me, "the cluster has formed");
        }
    }

    fn forget(&mut self, reason: Distrust, turn: &mut Turn) {
        if self.distrust.is_none() {
            tracing::error!(
                process = %self.config.me, incarnation = self.inc, ?reason,
                "this replica has lost its memory: it receives the log and counts in no majority"
            );
            self.distrust.set(Some(reason), turn);
        }
    }

    fn warn_once(&mut self, peer: ProcessId, what: &str) {
        if !self.warned.contains(peer) {
            self.warned.insert(peer);
            tracing::warn!(process = %self.config.me, %peer, "{what}");
        }
    }
}

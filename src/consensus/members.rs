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
//!
//! A disk that was rolled back is noticed by its peers in two ways. They record its boots: who tells a
//! boot before the recorded one is a copy. And they keep the highest commit mark that it has shown
//! them: whose disk ends before that at its boot has forgotten commits that somebody may have counted.
//!
//! ```text
//! c      commits 50, copied, acknowledges x with commit 51 ─── crashes, the copy is put back
//! a                        └ counts c; "c: 51" goes into the commit of the next entry
//! c'     boots at 50 ── a answers "I have seen 51": c' is a learner, and x does not lack a's vote
//! ```
//!
//! A copy commits, too, and nobody may hear of it for several boots. So a process tells the mark of the
//! first boot that nobody is known to have recorded, and shows no mark until somebody has.
//!
//! ```text
//! c'     boots at 50, unheard, commits 51 and 52 ── boots at 52: above what a has seen
//! ```

use super::messages::{Distrust, Life, Membership};
use crate::kernel::{
    Config, Incarnation, Logged, Mutant, Origin, ProcessId, ProcessSet, Stamp, Stored, Ticks, Turn,
    Undecodable, may_follow,
};
use serde::{Deserialize, Serialize};

/// The last boot of a peer that was recorded: its incarnation, and the number drawn at it.
type Recorded = (Incarnation, u64);

/// The boot that a process tells. One that nobody is known to have recorded is told again after the
/// next: with a number of its own at each boot, a copy that nobody hears would overtake the records.
///
/// ```text
/// B      boots as 15, copied, as 16 ─ A and C record 16 ─ the copy is put back
/// copy   boots as 16, unheard, crashes, boots as 17 ─ above 16: A and C would count its votes
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Boot {
    /// Its incarnation.
    inc: Incarnation,
    /// The number drawn at it.
    number: u64,
    /// Whether a member has recorded it.
    recorded: bool,
}

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
    /// The life of each peer that was recorded last, whichever boot it told.
    lives: Logged<Vec<Recorded>>,
    /// The highest commit mark that each peer has shown, as far as it is stored, and as it is. Recorded
    /// marks lag by the commits of this process: each is stored with what is stored next.
    marks: Logged<Vec<u64>>,
    shown: Vec<u64>,
    boot: Logged<Boot>,
    /// The last commit of the disk before that boot.
    base: Logged<u64>,
    /// This life.
    life: Life,
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
        let marks = Logged::recover("members/marks", stored, vec![0; n])?.hint();
        let mut members = Self {
            inc,
            life: Life { inc, number: config.boot, mark: stored.commits },
            lives: Logged::recover("members/lives", stored, vec![(0, 0); n])?,
            shown: marks.to_vec(),
            marks,
            set: Logged::recover("members/set", stored, Vec::new())?,
            formed: Logged::recover("members/formed", stored, false)?,
            distrust: Logged::recover("members/distrust", stored, None)?,
            recorded: Logged::recover("members/recorded", stored, vec![(0, 0); n])?,
            boot: Logged::recover("members/boot", stored, Boot::default())?,
            base: Logged::recover("members/base", stored, stored.commits)?,
            heard,
            same: ProcessSet::default(),
            acks: ProcessSet::default(),
            strangers: ProcessSet::default(),
            hello_at: 0,
            warned: ProcessSet::default(),
            config,
        };
        let fresh = members.boot.inc == 0 || members.config.mutants.on(Mutant::BootAnew);
        if fresh || members.boot.recorded {
            let number = members.config.boot;
            members.boot.set(Boot { inc, number, recorded: false }, turn);
            members.base.set(stored.commits, turn);
        }
        if !members.config.mutants.on(Mutant::MarkAnew) {
            members.life.mark = *members.base;
        }
        if members.config.damaged {
            members.forget(Distrust::Damaged, turn);
        }
        match members.config.origin {
            Origin::Own => {}
            Origin::Copied if members.config.mutants.on(Mutant::CopiedVotes) => {}
            Origin::Copied => members.forget(Distrust::Copied, turn),
            Origin::Adopted => members.adopted(turn),
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

    /// A leader says that this process has forgotten what it had acknowledged. It must name this life,
    /// which only those know who were told of it.
    pub fn upon_forgot(&mut self, life: u64, turn: &mut Turn) {
        if life == self.life.number || self.config.mutants.on(Mutant::StrangersBelieved) {
            self.forget(Distrust::Forgot, turn);
        }
    }

    /// The last life of each process that was recorded here.
    pub fn boots(&self) -> impl Iterator<Item = u64> {
        self.lives.iter().map(|(_, number)| *number)
    }

    /// The state of this process is not that of a majority. It leaves the majorities like one that
    /// lost its memory: its directory has to be set aside, and then it has.
    pub fn upon_diverged(&mut self, turn: &mut Turn) {
        if *self.distrust != Some(Distrust::Diverged) {
            tracing::error!(
                process = %self.config.me, incarnation = self.inc,
                "the state of this replica is not that of a majority after the same entries: it serves nothing \
                 from now on; stop it, keep its data directory aside for a report, and start it with an empty \
                 one: it receives everything again"
            );
            self.distrust.set(Some(Distrust::Diverged), turn);
        }
    }

    /// A frame of a peer says how far its disk has got. Only the life that was recorded last is believed:
    /// before its hello, a new life might show a mark above the one at which it began, and be taken for a
    /// disk that was rolled back.
    pub fn upon_stamp(&mut self, from: ProcessId, stamp: Stamp) {
        let known = self.lives.get(from.index()).is_some_and(|life| life.0 > 0 && life.1 == stamp.boot);
        if known {
            let shown = &mut self.shown[from.index()];
            *shown = (*shown).max(stamp.mark);
        }
    }

    /// Whether a mark was shown that is not stored.
    pub fn has_unstored_marks(&self) -> bool {
        *self.marks != self.shown
    }

    /// Stores the marks that were shown, beside what is stored anyway.
    pub fn store_marks(&mut self, turn: &mut Turn) {
        if self.has_unstored_marks() {
            self.marks.set(self.shown.clone(), turn);
        }
    }

    fn hello(&self, to: Vec<ProcessId>, ask: bool, ack: Option<u64>, turn: &mut Turn) {
        turn.send_all(
            to,
            &Membership::Hello {
                configuration: self.config.configuration,
                disk: self.config.disk,
                inc: self.boot.inc,
                boot: self.boot.number,
                life: self.life,
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
            Membership::Hello { configuration, disk, inc, boot, life, set, ask, ack } => {
                if configuration != self.config.configuration {
                    self.warn_once(from, "its initial configuration is another one");
                    return;
                }
                self.upon_set(from, &set, turn);
                self.upon_disk(from, disk, turn);
                if ack == Some(self.life.number) && !self.strangers.contains(from) {
                    self.acks.insert(from);
                    if !self.boot.recorded {
                        self.boot.set(Boot { recorded: true, ..*self.boot }, turn);
                        turn.show_commits();
                    }
                }
                self.settle(turn);
                if ask {
                    self.answer(from, disk, (inc, boot), life, turn);
                }
            }
            Membership::Amnesia { life, reason } => self.upon_amnesia(from, life, reason, turn),
        }
    }

    /// A peer says that this process counts no more. It must name this life, which only those know who
    /// were told of it.
    ///
    /// Who has formed has heard the same set from everybody, with its own disk in it, and nobody ever
    /// replaces that: of another disk nobody can know better. A later boot, or a later commit, somebody
    /// else can have recorded, and of anything else a peer knows nothing.
    fn upon_amnesia(&mut self, from: ProcessId, life: u64, reason: Distrust, turn: &mut Turn) {
        let believed = match reason {
            Distrust::RolledBack => true,
            Distrust::OtherDisk => !*self.formed,
            Distrust::Forgot | Distrust::Damaged | Distrust::Copied | Distrust::Diverged => false,
        };
        if life != self.life.number {
            return; // an earlier one, or nobody's
        }
        if believed || self.config.mutants.on(Mutant::StrangersBelieved) {
            self.forget(reason, turn);
        } else {
            self.warn_once(
                from,
                "it says that this replica has lost its memory, and cannot know: not believed",
            );
        }
    }

    /// Records the boot and says so, or says why the process counts no more.
    fn answer(&mut self, to: ProcessId, disk: u64, boot: Recorded, life: Life, turn: &mut Turn) {
        let mutants = self.config.mutants;
        let other_disk = self.set.get(to.index()).is_some_and(|d| *d != disk);
        if other_disk && !mutants.on(Mutant::WipedVotes) {
            turn.send(to, &Membership::Amnesia { life: life.number, reason: Distrust::OtherDisk });
            self.hello(vec![to], false, None, turn);
            return;
        }
        let this = (life.inc, life.number);
        let earlier = is_before(boot, self.recorded[to.index()]) || is_before(this, self.lives[to.index()]);
        let forgot = this != self.lives[to.index()]
            && life.mark < self.shown[to.index()]
            && !mutants.on(Mutant::MarkForgotten);
        if (earlier || forgot) && !mutants.on(Mutant::CopyVotes) && !mutants.on(Mutant::WipedVotes) {
            turn.send(to, &Membership::Amnesia { life: life.number, reason: Distrust::RolledBack });
            return;
        }
        let (known, lived) = (self.recorded[to.index()].0, self.lives[to.index()].0);
        if !(may_follow(known, boot.0) && may_follow(lived, life.inc)) {
            self.warn_once(to, "it names a boot that is too far above its last one: not recorded");
            return;
        }
        record(&mut self.recorded, to, boot, turn);
        record(&mut self.lives, to, this, turn);
        self.hello(vec![to], false, Some(life.number), turn);
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
            if *self.formed && !self.config.mutants.on(Mutant::StrangersBelieved) {
                self.warn_once(from, "it knows another disk of this replica as a member's: not believed");
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

    /// A person vouches that the original of this directory promised and stored nothing that the copy
    /// lacks. That answers the copy alone, and no other reason to count it nowhere.
    fn adopted(&mut self, turn: &mut Turn) {
        if *self.distrust == Some(Distrust::Copied) {
            tracing::warn!(process = %self.config.me, "adopted as a copy of a stopped directory: counts again");
            self.distrust.set(None, turn);
        }
    }

    fn forget(&mut self, reason: Distrust, turn: &mut Turn) {
        // What a peer knows weighs more than that the directory is a copy, which may be vouched for.
        let weaker = *self.distrust == Some(Distrust::Copied) && reason != Distrust::Copied;
        if self.distrust.is_none() || weaker {
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

/// Whether a boot came before the recorded one, or is another of the same incarnation.
fn is_before(boot: Recorded, known: Recorded) -> bool {
    boot.0 < known.0 || (boot.0 == known.0 && boot.1 != known.1)
}

fn record(records: &mut Logged<Vec<Recorded>>, of: ProcessId, boot: Recorded, turn: &mut Turn) {
    if records[of.index()] != boot {
        let mut all = records.to_vec();
        all[of.index()] = boot;
        records.set(all, turn);
    }
}

#[cfg(test)]
mod tests;

//! What happens to a process and its surroundings: its disk gets on or fails, it crashes and
//! recovers, its disk loses its memory, links are cut and heal.

use super::action::Shape;
use super::disk::{Fault, Loss, Part};
use super::monitors::{Failure, Property, Verdict, ensure};
use super::trace::{self, Note};
use super::world::World;
use crate::kernel::{Commit, Disk, DiskError, LogId, ProcessId, Store, Synced, Ticks};
use crate::stack::{Event, Role};

/// Ticks of a process after which a commit counts as slow: for so long a silent one is trusted.
const SLOW: Ticks = 20;
/// Steps after a boot in which a crash counts as right after it.
const BOOT: u64 = 40;
/// One in so many steps at which a disk has everything, a process is compared with its recovery.
const RELOAD: u64 = 8;

impl World {
    /// The disk of a process gets on by one stage.
    pub(super) fn disk(&mut self, p: ProcessId, fault: Option<Fault>) -> Verdict {
        let process = &mut self.processes[p.index()];
        let Some(alive) = process.alive.as_deref_mut() else { return Ok(()) };
        if let Some(synced) = alive.synced.take() {
            let took = process.ticks - alive.committing;
            self.coverage.slow_commits += u64::from(took > SLOW);
            let release = alive.journal.synced(synced);
            self.reload(p)?;
            return self.release(p, release);
        }
        let Some(commit) = alive.commit.take() else {
            alive.commit = alive.journal.next_commit();
            alive.committing = process.ticks;
            return Ok(());
        };
        if let Some(fault) = fault {
            process.disk.arm(fault);
            match fault {
                Fault::FailedWrite => self.coverage.failed_writes += 1,
                Fault::FailedSync { .. } => self.coverage.failed_syncs += 1,
                Fault::Full => self.coverage.full_disks += 1,
                Fault::CrashBefore | Fault::CrashTorn | Fault::CrashWritten { .. } | Fault::Lie => {}
            }
        }
        match self.write(p, &commit)? {
            Ok(synced) => {
                if let Some(alive) = self.alive_mut(p) {
                    alive.synced = Some(synced);
                }
                Ok(())
            }
            Err(error) => {
                // The replica halts: recovery is the only way back.
                self.befalls(p, || format!("halts: {error}"));
                self.fall(p);
                Ok(())
            }
        }
    }

    /// Now and then, when the disk has all that a process has: what is not in checkpoints is as it would
    /// be recovered.
    fn reload(&self, p: ProcessId) -> Verdict {
        let process = &self.processes[p.index()];
        let Some(alive) = process.alive.as_deref() else { return Ok(()) };
        let settled = alive.journal.is_settled() && alive.commit.is_none();
        if !settled || !self.step.is_multiple_of(RELOAD) || !self.states.are_reloaded() {
            return Ok(());
        }
        let other = alive.stack.differs(&process.disk.stored());
        ensure(other.is_none(), Property::Reload, || {
            format!("{p} would recover other {} than it has", other.unwrap_or_default())
        })
    }

    /// A commit reaches the disk, or does not.
    pub(super) fn write(
        &mut self,
        p: ProcessId,
        commit: &Commit,
    ) -> Result<Result<Synced, DiskError>, Failure> {
        let process = &mut self.processes[p.index()];
        let before = *process.disk.facts();
        let status = process.alive.as_ref().map(|a| a.stack.status());
        let leads = status.filter(|s| s.role == Role::Leader).map(|s| s.accepted);
        let disk: &mut dyn Disk = &mut process.disk;
        let result = commit.run(disk);
        let after = *process.disk.facts();
        let changed = before != after;
        for store in commit.batch().stores() {
            match store {
                Store::TruncatePrefix { .. } => self.coverage.trims += 1,
                Store::Reset { .. } => self.coverage.snapshots += 1,
                Store::Put { .. }
                | Store::Remove { .. }
                | Store::Append { .. }
                | Store::TruncateSuffix { .. }
                | Store::PutRow { .. }
                | Store::DeleteRow { .. }
                | Store::DropOtherGenerations { .. } => {}
            }
        }
        self.trace.fold(after.len);
        for store in commit.batch().stores() {
            if let Store::TruncateSuffix { log: LogId::REPLICATED, len } = store {
                ensure(!changed || *len >= before.decided, Property::LoudDivergence, || {
                    format!(
                        "{p} overwrites entry {len}, and knew durably that {} are decided",
                        before.decided
                    )
                })?;
            }
        }
        if self.apart.is_none() {
            self.topics.stored(p, &process.disk)?;
        }
        if changed || result.is_ok() {
            let step = self.step;
            let batch = || trace::words(commit.batch());
            self.trace.note(step, || Note::Stored { at: p, batch: batch(), before, after });
            if changed {
                self.monitors.stored(p, &before, &process.disk, leads)?;
            }
        }
        Ok(result)
    }

    /// A process crashes; a commit under way meets this fate.
    pub(super) fn crash(&mut self, p: ProcessId, fault: Fault) -> Verdict {
        let process = &mut self.processes[p.index()];
        let Some(alive) = process.alive.as_deref_mut() else { return Ok(()) };
        self.coverage.crashes += 1;
        self.coverage.crashes_after_sync += u64::from(alive.synced.is_some());
        self.coverage.crashes_in_exposure += u64::from(alive.has_exposures());
        let at_boot = self.step - alive.born < BOOT;
        process.loops = if at_boot { process.loops + 1 } else { 0 };
        self.coverage.crashes_at_boot += u64::from(at_boot);
        self.coverage.crash_loops += u64::from(process.loops == 3);
        let commit = alive.commit.take();
        let step = self.step;
        self.trace.note(step, || Note::Crashed { at: p, during: commit.as_ref().map(|_| fault) });
        if let Some(commit) = commit {
            self.coverage.crashes_in_write += 1;
            self.coverage.torn_batches += u64::from(fault == Fault::CrashTorn);
            process.disk.arm(fault);
            let _ = self.write(p, &commit)?;
        }
        self.fall(p);
        Ok(())
    }

    /// A process is gone, with everything that was not durable.
    pub(super) fn fall(&mut self, p: ProcessId) {
        self.trace.fold(0xdead_0000 + u64::from(p.0));
        let process = &mut self.processes[p.index()];
        process.led = process.alive.as_ref().is_some_and(|a| a.stack.status().role == Role::Leader);
        if let Some(alive) = process.alive.take() {
            self.coverage.hits += *alive.journal.hits();
        }
        process.disk.crash();
        self.monitors.crashed(p);
        self.coverage.blackouts += u64::from(self.processes.iter().all(|q| q.alive.is_none()));
        for peer in self.members().filter(|q| *q != p) {
            if self.rng.bool() && !self.network.is_cut(peer, p) {
                self.arrives(peer, Event::Refused { peer: p });
            }
        }
    }

    /// A process recovers, from what is durable alone.
    pub(super) fn recover(&mut self, p: ProcessId) -> Verdict {
        if self.is_up(p) {
            return Ok(());
        }
        let boot = self.rng.u64(..);
        let step = self.step;
        let process = &mut self.processes[p.index()];
        let stored = process.disk.facts().inc > 0;
        self.coverage.set_aside += u64::from(!process.disk.is_sound());
        let release = process.boot(boot, step).map_err(|e| Failure {
            property: Property::Incarnations,
            detail: format!("{p} cannot recover from what it had stored: {e}"),
        })?;
        self.coverage.recoveries += u64::from(stored);
        self.coverage.leader_recoveries += u64::from(stored && process.led);
        let inc = process.inc().unwrap_or_default();
        self.trace.fold(inc);
        self.trace.note(step, || Note::Recovered { at: p, inc });
        self.monitors.booted(p, inc, &process.disk)?;
        if self.apart.is_none() {
            self.topics.booted(p, &process.disk);
        }
        self.states.booted(p);
        self.watch(p)?;
        self.release(p, release)?;
        for peer in self.members().filter(|q| *q != p) {
            for (at, peer) in [(p, peer), (peer, p)] {
                if self.is_up(peer) && !self.network.is_cut(at, peer) {
                    self.arrives(at, Event::Connected { peer });
                }
            }
        }
        Ok(())
    }

    /// The disk of a process that is down loses its memory.
    pub(super) fn lose(&mut self, p: ProcessId, how: Loss) -> Verdict {
        if self.is_up(p) {
            return Ok(());
        }
        self.befalls(p, || format!("loses its memory: {how:?}"));
        *match how {
            Loss::Lost => &mut self.coverage.lost_disks,
            Loss::Damaged => &mut self.coverage.damaged_disks,
            Loss::RolledBack(Part::Store) => &mut self.coverage.rolled_back_stores,
            Loss::RolledBack(Part::Directory) => &mut self.coverage.rolled_back_directories,
            Loss::RolledBack(Part::Moment) => &mut self.coverage.put_back,
        } += 1;
        if how == Loss::RolledBack(Part::Moment) {
            self.put_back.push(p);
        }
        let process = &mut self.processes[p.index()];
        let formed = process.disk.facts().formed;
        self.monitors.wiped(p, process.disk.facts());
        self.effects.wiped(p);
        process.lose(how);
        let kept = if process.disk.is_sound() { process.disk.extent(LogId::DELIVERIES).1 } else { 0 };
        self.wiped.push(p);
        self.topics.wiped(p, formed, kept)
    }

    /// Whether everyone else has recorded a later boot of a process than that of the copy of its disk.
    pub(super) fn copy_is_outlived(&self, p: ProcessId) -> bool {
        let Some(copied) = self.processes[p.index()].disk.copied() else { return false };
        let peers = self.processes.iter().filter(|q| q.id != p);
        peers.map(|q| q.disk.recorded(p)).all(|inc| inc > copied.inc)
    }

    /// Whether everyone else knows durably of a later commit of a process than the last in the copy.
    pub(super) fn copy_is_overtaken(&self, p: ProcessId) -> bool {
        let Some(commits) = self.processes[p.index()].disk.copied_commits() else { return false };
        let peers = self.processes.iter().filter(|q| q.id != p);
        peers.map(|q| q.disk.marked(p)).all(|mark| mark > commits)
    }

    /// Disks move, and messages are sent and received, from now on.
    pub(super) fn relieve(&mut self) {
        self.failing_reads = false;
        for process in &mut self.processes {
            process.stalled = 0;
            if let Some(alive) = &mut process.alive {
                (alive.mute, alive.deaf) = (0, 0);
            }
        }
    }

    /// The links take another shape.
    pub(super) fn reshape(&mut self, shape: Shape, forget: bool) {
        let n = self.processes.len();
        let lost = if forget { "; what a changed link carried is lost" } else { "" };
        self.say(|| format!("links: {}{lost}", shape.words(n)));
        match shape {
            Shape::Halves(_) => self.coverage.halves += 1,
            Shape::OneWay(_) => self.coverage.one_way += 1,
            Shape::Chain(_) => self.coverage.chains += 1,
            Shape::Star(_) => self.coverage.stars += 1,
            Shape::Holes(_) => self.coverage.holes += 1,
            Shape::Whole | Shape::Apart(..) | Shape::Unheard(..) => {}
        }
        for (from, to) in self.pairs() {
            let cut = shape.cuts(from, to, n);
            let changed = self.network.set_cut(from, to, cut);
            if !changed {
                continue;
            }
            if forget {
                self.network.forget(from, to, || false);
            }
            if cut {
                self.coverage.cuts += 1;
            } else if self.is_up(to) {
                self.arrives(from, Event::Connected { peer: to });
            }
        }
    }
}

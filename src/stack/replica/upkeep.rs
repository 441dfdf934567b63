//! What a replica keeps on disk: checkpoints, the log behind them, and what others fetch of both.

use super::{Out, Stack};
use crate::broadcast::StateMachine;
use crate::kernel::{Bound, Mutant, Turn};
use crate::stack::Indication;
use crate::stack::sweep::{self, Next};

impl<M: StateMachine> Stack<M> {
    /// Whether the log is longer than checkpoints at each tick keep it.
    pub(super) fn log_is_over(&self) -> bool {
        self.paxos.log().bytes() > self.log_bytes(2)
    }

    /// Goes on with a checkpoint, and drops what the last one covers.
    pub(super) fn keep_up(&mut self, turn: &mut Turn, up: Out<'_, M>) {
        if !turn.is_full() {
            self.checkpoint(turn, up);
        }
        self.trim(turn);
        self.machine.hold_rows(self.source.pins());
        turn.collect(self.machine.take_hits());
    }

    /// Writes a piece of a checkpoint, begins one, or clears away rows that none refers to.
    fn checkpoint(&mut self, turn: &mut Turn, up: Out<'_, M>) {
        if self.checkpoints.is_writing() {
            if self.checkpoints.step(&mut self.machine, self.now, turn) {
                if self.source.is_wanted() {
                    self.pin();
                }
                let applied = self.checkpoints.applied();
                tracing::debug!(process = %self.config.me, applied, "finished a checkpoint");
            } else {
                turn.hit(Bound::CheckpointStep);
            }
        } else if let Some(hit) = self.checkpoints.due(self.applied, self.machine.gives_back(), self.now)
            && let Some(hash) = self.paxos.hash_at(self.applied)
        {
            hit.into_iter().for_each(|hit| turn.hit(hit));
            self.checkpoints.begin(&mut self.machine, (self.applied, hash), &self.filter);
        } else if !self.catch_up.is_staging() && !self.source.pins() {
            match self.sweeper.next() {
                Next::Nothing | Next::Wait => {}
                Next::Sweep => {
                    turn.drop_other_generations(self.machine.generation(), self.config.bounds.sweep_rows);
                }
                Next::Look(from) => {
                    let (ticket, end) = (sweep::TICKET, u64::MAX);
                    up.expose(Indication::Fetch { ticket, from, end, max_bytes: 0 });
                }
            }
        }
    }

    /// Drops what the log has below the last finished checkpoint, but for a tail for those who lag a
    /// little, and for what follows a snapshot that somebody reads. That one is not waited for however
    /// much there is: who reads it begins again with a newer one.
    fn trim(&mut self, turn: &mut Turn) {
        let (log, bounds) = (self.paxos.log(), &self.config.bounds);
        let checkpoint = self.checkpoints.applied();
        let (mut tail, hit) = self.tail();
        match self.source.pinned_applied() {
            Some(pinned) if log.bytes_between(pinned, checkpoint) > bounds.pinned_bytes => {
                tracing::warn!(process = %self.config.me, pinned, "gives up a snapshot that holds the log");
                turn.hit(Bound::PinnedBytes);
                self.source.unpin();
            }
            Some(pinned) => tail = tail.min(pinned),
            None => {}
        }
        let before = tail.max(log.first());
        if before > log.first() {
            turn.hit(hit);
        }
        self.paxos.trim(before, turn);
    }

    /// Where the tail begins that the log keeps for those who lag a little, and what bounds it.
    pub(super) fn tail(&self) -> (u64, Bound) {
        let (bounds, checkpoint) = (&self.config.bounds, self.checkpoints.applied());
        let tail = checkpoint.saturating_sub(bounds.tail_entries);
        let within = self.paxos.log().first_within(checkpoint, bounds.tail_bytes);
        if within > tail && !self.config.mutants.on(Mutant::TailUnbounded) {
            return (within, Bound::TailBytes);
        }
        (tail, Bound::TailEntries)
    }

    /// Keeps the last finished checkpoint as it is, for those who fetch it.
    pub(super) fn pin(&mut self) {
        let Some(last) = &self.checkpoints.last else { return };
        let end = M::checkpoint_end(&last.machine);
        self.source.pin((last.applied, self.checkpoints.number), last.generation, end, last.encode());
        self.machine.hold_rows(true);
    }
}

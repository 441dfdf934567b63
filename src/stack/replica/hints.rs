//! What is stored by the way: nothing that leaves the process depends on it.

use super::Stack;
use crate::broadcast::StateMachine;
use crate::kernel::Turn;

impl<M: StateMachine> Stack<M> {
    /// What others have shown of their disks, and how much of the log is decided, is stored with whatever is
    /// stored anyway; on an idle replica by itself, once an election timeout has passed. It takes one commit,
    /// which raises no mark, so that replicas do not keep each other busy.
    pub(super) fn remember(&mut self, turn: &mut Turn) {
        if !self.members.has_unstored_marks() && !self.paxos.has_unstored_decided() {
            self.unstored = None;
            return;
        }
        let since = *self.unstored.get_or_insert(self.now);
        if turn.stores() || self.now - since >= self.config.timing.election {
            self.members.store_marks(turn);
            self.paxos.store_decided(turn);
            self.unstored = None;
        }
    }
}

//! What is replicated of the ledger.

use super::machine::Ledger;
use super::record::{Key, Row, digest};
use super::view::View;
use crate::kernel::Digest;

impl Ledger {
    /// See [`StateMachine::digest`](crate::broadcast::StateMachine::digest). A sum over the records, in
    /// which those that changed since it was last asked for are replaced; they are found as a
    /// checkpoint finds them, and a load finds the sum in the checkpoint.
    pub fn digest(&mut self) -> u64 {
        let record = |of: &View, key: &Key| {
            let row = |content| digest(&Row { key: key.clone(), content: Some(content) }.encode());
            of.content(key).map_or(0, row)
        };
        for key in self.now.changed(&self.digested) {
            let (before, now) = (record(&self.digested, &key), record(&self.now, &key));
            self.sum = self.sum.wrapping_sub(before).wrapping_add(now);
        }
        self.digested = self.now.clone();
        let bounds = postcard::to_allocvec(&self.now.bounds);
        let bounds = bounds.expect("bounds are plain data, which always encodes");
        Digest::default().word(self.sum).word(self.now.end).bytes(&bounds).value()
    }

    /// Whether the replicated state is not as another ledger has it, for monitors, with all that
    /// follows from it: it is, after the same commands.
    pub fn differs(&self, other: &Ledger) -> bool {
        self.now != other.now
    }
}

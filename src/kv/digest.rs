//! What is replicated of the store, and nothing of what is each replica's own: how far housekeeping
//! has come, and what is on disk.

use super::Machine;
use super::view::View;
use crate::kernel::Digest;

impl Machine {
    /// See [`StateMachine::digest`](crate::broadcast::StateMachine::digest). The sums of the hashes of
    /// live versions and of sessions are kept along with them; a load adds them up anew.
    pub fn digest(&mut self) -> u64 {
        let sessions = self.sessions.digest();
        let View { space, revision, compacted, applied, alarms, budget: _ } = &self.now;
        let numbers = [space.alive, revision.cast_unsigned(), compacted.cast_unsigned(), *applied, sessions];
        let digest = numbers.into_iter().fold(Digest::default(), Digest::word);
        let alarm = |digest: Digest, (kind, member): &(i32, u64)| {
            digest.word(u64::from(kind.cast_unsigned())).word(*member)
        };
        alarms.iter().fold(digest, alarm).value()
    }

    /// What of the replicated state is not as another machine has it, for monitors: nothing, after the
    /// same commands. Looks at all of it, also at what a digest does not cover: superseded versions,
    /// and what follows from the state.
    pub fn differs(&self, other: &Machine) -> Option<&'static str> {
        let (a, b) = (&self.now, &other.now);
        let readable = || a.space.readable(a.compacted).eq(b.space.readable(b.compacted));
        match () {
            () if (a.revision, a.compacted) != (b.revision, b.compacted) => Some("revisions"),
            () if a.applied != b.applied => Some("the applied prefix"),
            () if a.alarms != b.alarms => Some("alarms"),
            () if self.sessions != other.sessions => Some("sessions"),
            () if a.space.alive != b.space.alive => Some("the sum of live versions"),
            () if !readable() => Some("versions of keys"),
            () => None,
        }
    }
}

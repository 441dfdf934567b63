//! Best-effort broadcast: to everybody, and no more than that. There are two.
//!
//! **Lossy** ([`BestEffort`]): fire and forget, for what is soon out of date. Request:
//! Broadcast(m). Indication: Deliver(p, m). Properties: *fair loss*, *finite duplication* and *no
//! creation*, those of its links. Durable first: nothing. Bounds: those of the transport.
//!
//! **Logged** ([`LoggedBestEffort`]): a logged perfect link to each process. Requests: Broadcast(m);
//! Hold and Ready. Indications: Confirm(id), which is what Broadcast returns, and Deliver(p, id, m),
//! appended to the delivery log in the same turn.
//!
//! Properties of the logged one:
//! * *validity*: what was confirmed at a correct process is delivered at every correct process, unless
//!   that was silent for so long that the outbox filled: then its oldest messages are given up;
//! * *no duplication*: no message is delivered twice, in any life of a process;
//! * *no creation*: what is delivered was broadcast.
//!
//! There is no agreement: where the broadcaster crashes for good, some may have delivered its last
//! messages and others not.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 3.2 (Basic Broadcast) and Section 3.5 (logged best-effort broadcast, there
//! on stubborn links).
//!
//! **Durable first, on recovery, bounds** of the logged one: those of [`LoggedPerfect`]. A message
//! is one entry of the outbox, however many processes there are.

use crate::kernel::{
    Config, Incarnation, Memory, Message, Mutant, Opened, ProcessId, ProcessSet, Stored, Turn, Undecodable,
};
use crate::links::{Delivered, FairLoss, LinkMessage, LoggedPerfect, Mark, Refused};
use bytes::Bytes;

/// Lossy best-effort broadcast of one kind of message.
#[derive(Clone, Debug)]
pub struct BestEffort<M> {
    links: FairLoss<M>,
    members: Vec<ProcessId>,
}

impl<M: Message> BestEffort<M> {
    /// To all members, this process included.
    pub fn start(config: &Config) -> Self {
        let one = usize::from(config.mutants.on(Mutant::OneLeftOut));
        Self { links: FairLoss::default(), members: config.members().skip(one).collect() }
    }

    /// Sends a message to everybody, once.
    pub fn broadcast(&self, message: &M, turn: &mut Turn) {
        self.links.send(self.members.iter().copied(), message, turn);
    }

    /// The message that a frame delivers, if it holds one of this broadcast.
    pub fn deliver(&self, frame: &Opened) -> Option<M> {
        self.links.deliver(frame)
    }
}

/// Logged best-effort broadcast.
#[derive(Clone, Debug)]
pub struct LoggedBestEffort {
    links: LoggedPerfect,
    members: ProcessSet,
}

impl LoggedBestEffort {
    /// What was broadcast and not delivered everywhere is sent again.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable> {
        let members = config.members().collect();
        Ok(Self { links: LoggedPerfect::start(config, inc, stored)?, members })
    }

    /// Whose votes count from now on. A process that is not among them itself broadcasts nothing.
    pub fn set_voters(&mut self, voters: ProcessSet) {
        self.links.set_voters(voters);
    }

    /// What its links hold.
    pub fn memory(&self) -> [Memory; 2] {
        self.links.memory()
    }

    /// Broadcasts a message. What is returned is the confirmation: it may be exposed in this turn.
    ///
    /// # Errors
    /// At once, and nothing has changed.
    pub fn broadcast(&mut self, message: &Bytes, turn: &mut Turn) -> Result<Mark, Refused> {
        self.links.give_up(message, turn);
        self.links.send(self.members, message, turn)
    }

    /// Another process, or this one, says something: what is delivered, to be stored in this turn.
    pub fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<Delivered> {
        self.links.upon(from, message, turn)
    }

    /// The layer above takes no more deliveries, until it is ready.
    pub fn hold(&mut self) {
        self.links.hold();
    }

    /// The layer above is ready: what has waited for that.
    pub fn ready(&mut self, turn: &mut Turn) -> Vec<Delivered> {
        self.links.ready(turn)
    }

    /// Time passes.
    pub fn tick(&mut self, turn: &mut Turn) {
        self.links.tick(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Bounds;
    use crate::links::tests::{ALL, System, Tried};

    impl Tried for LoggedBestEffort {
        fn boot(config: Config, inc: Incarnation, stored: &Stored) -> Self {
            let everybody = config.members().collect();
            let mut broadcast = Self::start(config, inc, stored).unwrap();
            broadcast.set_voters(everybody);
            broadcast
        }

        fn upon(
            &mut self,
            from: ProcessId,
            message: LinkMessage,
            turn: &mut Turn,
        ) -> Vec<(ProcessId, Bytes)> {
            Self::upon(self, from, message, turn).into_iter().map(|d| (d.from, d.message)).collect()
        }

        fn tick(&mut self, turn: &mut Turn) {
            Self::tick(self, turn);
        }
    }

    fn broadcast(system: &mut System<LoggedBestEffort>, message: &'static str) {
        system.at(0, |b, turn| b.broadcast(&Bytes::from_static(message.as_bytes()), turn)).unwrap();
    }

    #[test]
    fn validity_and_no_duplication_whoever_crashes_and_recovers() {
        let mut system = System::<LoggedBestEffort>::new(3, Bounds::default());
        broadcast(&mut system, "a");
        system.run(|_, to| to.0 < 2);
        system.crash(1);
        broadcast(&mut system, "b");
        system.run(|_, _| false);
        system.crash(0);
        [0, 1].into_iter().for_each(|p| system.recover(p));
        system.rounds(4);
        (0..3).for_each(|p| assert_eq!(system.delivered(p), ["a", "b"]));
    }

    #[test]
    fn who_is_silent_for_long_holds_nobody_up_and_goes_on_with_what_is_left() {
        let bounds = Bounds { outbox_entries: 3, link_window: 1, ..Bounds::default() };
        let mut system = System::<LoggedBestEffort>::new(3, bounds);
        system.crash(2);
        for message in ["a", "b", "c"] {
            broadcast(&mut system, message);
        }
        system.rounds(4);
        let refused = system.at(0, |b, turn| b.broadcast(&Bytes::from_static(b"d"), turn));
        assert_eq!(
            refused,
            Err(Refused::Full { entries: 3, waits_for: ProcessId(2) }),
            "it may come back soon"
        );
        system.rounds(1000);
        for message in ["d", "e", "f", "g"] {
            broadcast(&mut system, message);
            system.rounds(4);
        }
        assert_eq!(system.delivered(1), ["a", "b", "c", "d", "e", "f", "g"]);
        system.recover(2);
        system.rounds(40);
        // The first was on its way.
        assert_eq!(system.delivered(2), ["a", "e", "f", "g"]);
        assert!(system.at(0, |b, _| b.links.is_empty()));
    }

    #[test]
    fn nobody_is_silent_while_the_own_disk_is_stuck_and_nothing_is_lost() {
        let bounds = Bounds { outbox_entries: 3, link_window: 1, ..Bounds::default() };
        let mut system = System::<LoggedBestEffort>::new(3, bounds);
        system.syncing = false;
        for message in ["a", "b", "c"] {
            broadcast(&mut system, message);
        }
        system.rounds(2000);
        let refused = system.at(0, |b, turn| b.broadcast(&Bytes::from_static(b"d"), turn));
        assert!(matches!(refused, Err(Refused::Full { entries: 3, .. })), "{refused:?}");
        system.syncing = true;
        system.rounds(20);
        (0..3).for_each(|p| assert_eq!(system.delivered(p), ["a", "b", "c"]));
    }

    #[test]
    fn what_is_refused_gives_up_nothing() {
        let bounds = Bounds { outbox_entries: 3, link_window: 1, frame_bytes: 10, ..Bounds::default() };
        let mut system = System::<LoggedBestEffort>::new(3, bounds);
        system.crash(2);
        for message in ["a", "b", "c"] {
            broadcast(&mut system, message);
        }
        system.rounds(1100);
        let refused = system.at(0, |b, turn| b.broadcast(&Bytes::from_static(b"too large it is"), turn));
        assert_eq!(refused, Err(Refused::TooLarge { limit: 10 }));
        assert_eq!(system.at(0, |b, _| b.links.len()), 3);
    }

    #[test]
    fn there_is_no_agreement_where_the_broadcaster_is_gone_for_good() {
        let mut system = System::<LoggedBestEffort>::new(3, Bounds::default());
        broadcast(&mut system, "a");
        system.run(|_, to| to.0 == 1);
        system.crash(0);
        system.rounds(4);
        system.run(ALL);
        assert_eq!((system.delivered(1), system.delivered(2)), (vec!["a"], vec![]));
    }
}

//! FIFO order, as a layer on uniform reliable broadcast.
//!
//! Interface: a header for what is broadcast, and a condition on what is delivered.
//!
//! Property, beside those of the broadcast below: *FIFO delivery*: if a process broadcasts one
//! message before another, no process delivers the second unless it has delivered the first. Across
//! topics: the order is that of a process.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 3.9.2 (broadcast with sequence number).
//!
//! **Durable first**: the header, in the relayed message. **On recovery** the number of the process'
//! own last message is read from its two logs; the condition looks at what is delivered, which is
//! durable. A message that has to wait waits in the log of relayed messages: it is there anyway, it
//! is bounded, and it survives a crash, so that there is no second place to park.
//!
//! The header names the message before it, rather than counting: messages of other orders share the
//! numbers of their origin, and who learns that something is lost to it for ever knows which numbers
//! are.

use super::message::{MessageId, Order};
use super::seen::Seen;

/// The sender's side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fifo {
    /// One past the number of the last message of this process in this order, or 0.
    last: u64,
}

impl Fifo {
    /// A message of this process: new, or found at recovery.
    pub fn upon_own(&mut self, id: MessageId) {
        self.last = self.last.max(id.seq + 1);
    }

    /// The header of the next message.
    pub fn header(&self) -> Order {
        Order::Fifo(self.last)
    }
}

/// Whether a message may be delivered, such that the one before it is. `previous` is one past the
/// number of that, or 0.
pub fn admits(id: MessageId, previous: u64, delivered: &[Seen]) -> bool {
    previous.checked_sub(1).is_none_or(|seq| delivered[id.origin.index()].contains(seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ProcessId;

    #[test]
    fn a_message_waits_for_the_one_before_it_and_for_no_other() {
        let id = |seq| MessageId { origin: ProcessId(0), seq };
        let mut fifo = Fifo::default();
        assert_eq!(fifo.header(), Order::Fifo(0));
        fifo.upon_own(id(0));
        // Number 1 has another order.
        assert_eq!(fifo.header(), Order::Fifo(1));
        fifo.upon_own(id(2));
        assert_eq!(fifo.header(), Order::Fifo(3));
        let mut delivered = vec![Seen::default()];
        assert!(admits(id(0), 0, &delivered) && !admits(id(2), 1, &delivered));
        delivered[0].insert(0);
        assert!(admits(id(2), 1, &delivered) && !admits(id(3), 3, &delivered));
    }
}

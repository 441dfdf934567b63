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

/// The header of the next message of a process. Of its messages in this order those below `delivered`
/// are delivered; the others are among those that wait, the latest first.
pub fn header<'a>(delivered: u64, mut waiting: impl Iterator<Item = (MessageId, &'a Order)>) -> Order {
    let last = waiting.find(|(_, order)| matches!(order, Order::Fifo(_)));
    Order::Fifo(last.map_or(0, |(id, _)| id.seq + 1).max(delivered))
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
        let waiting = [(id(2), &Order::Fifo(1)), (id(1), &Order::None), (id(0), &Order::Fifo(0))];
        assert_eq!(header(0, [].into_iter()), Order::Fifo(0));
        // Number 1 has another order.
        assert_eq!(header(0, waiting[1..].iter().copied()), Order::Fifo(1));
        assert_eq!(header(0, waiting.into_iter()), Order::Fifo(3));
        assert_eq!(header(3, [].into_iter()), Order::Fifo(3), "all are delivered");
        let mut delivered = vec![Seen::default()];
        assert!(admits(id(0), 0, &delivered) && !admits(id(2), 1, &delivered));
        delivered[0].insert(0);
        assert!(admits(id(2), 1, &delivered) && !admits(id(3), 3, &delivered));
    }
}

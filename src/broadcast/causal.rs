//! Causal order, as a layer on uniform reliable broadcast.
//!
//! Interface: a context for what is broadcast, and a condition on what is delivered.
//!
//! Property, beside those of the broadcast below: *causal delivery*: if the broadcast of one message
//! may have been caused by another, no process delivers the first unless it has delivered the other.
//! A message may have caused another if its publisher had published or delivered it before, in causal
//! order; or if a program saw it, here or elsewhere, and published with the context that it came with.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 3.9.5 (waiting causal broadcast).
//!
//! **Durable first**: the context, in the relayed message and in the delivery. **On recovery** the
//! context of a process is read from its two logs. A message that has to wait waits in the log of
//! relayed messages, like one in FIFO order.

use super::message::{MessageId, Order};
use super::seen::Seen;
use crate::kernel::{MAX_COUNT, ProcessId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What somebody knows of: of each process one past the number of its last message in causal order,
/// or 0. Those before it are known of too, since each names the one before it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Context(Vec<u64>);

/// The most processes of a context.
const PROCESSES: usize = crate::kernel::ProcessSet::CAPACITY;

impl Context {
    /// Whether nothing is known of.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|n| *n == 0)
    }

    /// One past the number of the last message of a process that is known of, or 0.
    pub fn of(&self, origin: ProcessId) -> u64 {
        self.0.get(origin.index()).copied().unwrap_or(0)
    }

    /// A message is known of.
    pub fn add(&mut self, id: MessageId) {
        let at = id.origin.index();
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = self.0[at].max(id.seq + 1);
    }

    /// What another knows of is known of here too.
    pub fn merge(&mut self, other: &Context) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
    }

    /// Whether it knows of no process but so many, and can be counted on from.
    pub fn is_of(&self, processes: usize) -> bool {
        self.0.len() <= PROCESSES
            && self.0.iter().all(|n| *n <= MAX_COUNT)
            && self.0.iter().skip(processes).all(|n| *n == 0)
    }

    /// As an opaque token for programs.
    pub fn token(&self) -> Bytes {
        if self.is_empty() {
            return Bytes::new();
        }
        let mut bytes = postcard::to_allocvec(self).expect("contexts are plain data, which always encodes");
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.into()
    }

    /// From a token that a program hands back.
    ///
    /// # Errors
    /// When it is none that [`Context::token`] has made.
    pub fn from_token(token: &[u8]) -> Result<Self, NotAToken> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let (bytes, sum) = token.split_last_chunk::<4>().ok_or(NotAToken)?;
        if crc32fast::hash(bytes).to_be_bytes() != *sum {
            return Err(NotAToken);
        }
        let context: Self = postcard::from_bytes(bytes).map_err(|_| NotAToken)?;
        if context.0.len() > PROCESSES { Err(NotAToken) } else { Ok(context) }
    }
}

/// A context token is damaged, or was never one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("kvorum: the context is none that a delivery or a publication came with; pass it on unchanged")]
pub struct NotAToken;

/// The header of the next message of a process, which has delivered a context, whose own messages wait
/// to be delivered, the latest first, and which knows of another context besides.
pub fn header<'a>(
    delivered: &Context,
    mut waiting: impl Iterator<Item = (MessageId, &'a Order)>,
    known: &Context,
) -> Order {
    let mut past = delivered.clone();
    if let Some((last, _)) = waiting.find(|(_, order)| matches!(order, Order::Causal(_))) {
        past.add(last);
    }
    past.merge(known);
    Order::Causal(past)
}

/// Whether everything that a context knows of is delivered.
pub fn admits(past: &Context, delivered: &[Seen]) -> bool {
    past.0.iter().enumerate().all(|(origin, end)| {
        let Some(last) = end.checked_sub(1) else { return true };
        delivered.get(origin).is_some_and(|d| d.contains(last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(origin: u8, seq: u64) -> MessageId {
        MessageId { origin: ProcessId(origin), seq }
    }

    #[test]
    fn a_message_waits_for_its_causal_past() {
        let mut past = Context::default();
        past.add(id(0, 0));
        past.add(id(1, 3));
        let mut delivered = vec![Seen::default(); 2];
        assert!(!admits(&past, &delivered));
        delivered[0].insert(0);
        delivered[1].insert(3);
        assert!(admits(&past, &delivered));
        assert!(admits(&Context::default(), &[]));
    }

    #[test]
    fn a_token_comes_back_as_it_went_and_no_other_bytes_do() {
        let mut context = Context::default();
        context.add(id(2, 7));
        let token = context.token();
        assert_eq!(Context::from_token(&token), Ok(context));
        for bit in 0..token.len() * 8 {
            let mut damaged = token.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Context::from_token(&damaged), Err(NotAToken));
        }
        assert_eq!(Context::from_token(b""), Ok(Context::default()));
        assert_eq!(Context::from_token(b"abc"), Err(NotAToken));
    }
}

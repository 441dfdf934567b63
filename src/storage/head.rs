//! The head: the one value that every commit replaces, in the same sled batch as its stores.

use super::codec::{self, Reader};
use crate::kernel::LogId;
use std::collections::BTreeMap;

/// The most logs that one store can have, so that a head fits in one value.
pub const MAX_LOGS: usize = 100;
const FIXED: usize = 8 + 8 + 8 + 1 + 1;
const PER_LOG: usize = 1 + 8 + 8 + 8;
const _: () = assert!(FIXED + MAX_LOGS * PER_LOG <= codec::CHUNK);

/// Which entries a log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The index of the first entry.
    pub first: u64,
    /// The index after the last one.
    pub next: u64,
    /// The chained hash of every entry below `next`.
    pub chain: u64,
}

impl Span {
    /// A log without entries, whose next one has the index `first`.
    pub fn empty(first: u64) -> Self {
        Self { first, next: first, chain: codec::hash(first, b"log") }
    }
}

/// What the last commit says of the whole store. Every field but `clean` is checked at boot: a
/// page that sled silently dropped, or brought back from an earlier time, changes the digest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The number of the commit; each is one more than the one before.
    pub w: u64,
    /// The chained hash of all commits.
    pub chain: u64,
    /// The sum of [`codec::pair_hash`] over every pair of the store but the head's own.
    pub digest: u64,
    /// Whether this was the last commit of a clean shutdown.
    pub clean: bool,
    /// The logs.
    pub logs: BTreeMap<LogId, Span>,
}

impl Head {
    /// The head of the commit that changes the digest by `delta`.
    pub fn advance(&mut self, delta: u64) {
        self.w += 1;
        self.digest = self.digest.wrapping_add(delta);
        self.chain = codec::hash(codec::hash(self.chain, &self.w.to_le_bytes()), &self.digest.to_le_bytes());
    }

    /// The mark that the witness keeps of this commit.
    pub fn mark(&self) -> Mark {
        Mark { w: self.w, chain: self.chain }
    }

    /// The stored form, at most [`codec::CHUNK`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.logs.len() * PER_LOG);
        for number in [self.w, self.chain, self.digest] {
            out.extend(number.to_le_bytes());
        }
        out.extend([u8::from(self.clean), self.logs.len() as u8]);
        for (log, span) in &self.logs {
            out.push(log.0);
            for number in [span.first, span.next, span.chain] {
                out.extend(number.to_le_bytes());
            }
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let mut head =
            Self { w: r.u64()?, chain: r.u64()?, digest: r.u64()?, clean: r.u8()? != 0, ..Self::default() };
        for _ in 0..r.u8()? {
            let log = LogId(r.u8()?);
            head.logs.insert(log, Span { first: r.u64()?, next: r.u64()?, chain: r.u64()? });
        }
        r.0.is_empty().then_some(head)
    }
}

/// The number and the chained hash of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// The number of the commit.
    pub w: u64,
    /// The chained hash of all commits up to it.
    pub chain: u64,
}

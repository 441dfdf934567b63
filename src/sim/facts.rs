//! What is durable at a process, as far as the protocol speaks of it: decoded from the batches
//! that reached its disk, independently of the code under test.

use crate::kernel::{Ballot, Batch, Incarnation, LogId, Store};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// The durable state of one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// Its incarnation.
    pub(super) inc: Incarnation,
    /// The boot that it tells: an incarnation, the number drawn at it, and whether it was recorded.
    pub(super) boot: (Incarnation, u64, bool),
    /// Its promise.
    pub(super) prom: Ballot,
    /// The ballot in which its log was last accepted.
    pub(super) acc: Ballot,
    /// Whether its cluster has formed, so that it may have voted.
    pub(super) formed: bool,
    /// Its decided prefix.
    pub(super) decided: u64,
    /// The first entry kept.
    pub(super) first: u64,
    /// The length of its log.
    pub(super) len: u64,
}

impl Facts {
    /// Takes in what a batch stores.
    pub(super) fn apply(&mut self, batch: &Batch) {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => match var.as_ref() {
                    "log/inc" => self.inc = decode(value),
                    "log/prom" => self.prom = decode(value),
                    "log/acc" => self.acc = decode(value),
                    "log/decided" => self.decided = decode(value),
                    "members/boot" => self.boot = decode(value),
                    "members/formed" => self.formed = decode(value),
                    _ => {}
                },
                Store::Append { log: LogId::REPLICATED, first, entries } => {
                    self.len = first + entries.len() as u64;
                }
                Store::TruncateSuffix { log: LogId::REPLICATED, len } => self.len = *len,
                Store::TruncatePrefix { log: LogId::REPLICATED, before } => self.first = *before,
                Store::Reset { log: LogId::REPLICATED, first } => {
                    self.first = *first;
                    self.len = *first;
                }
                Store::Append { .. }
                | Store::TruncateSuffix { .. }
                | Store::TruncatePrefix { .. }
                | Store::Reset { .. }
                | Store::Remove { .. }
                | Store::PutRow { .. }
                | Store::DeleteRow { .. }
                | Store::DropOtherGenerations { .. } => {}
            }
        }
    }
}

fn decode<T: DeserializeOwned>(value: &Bytes) -> T {
    postcard::from_bytes(value).expect("the stack stores these variables in postcard's encoding")
}

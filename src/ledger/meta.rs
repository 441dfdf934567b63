//! What a finished checkpoint says besides its rows.

use crate::kernel::{MAX_COUNT, ReplicatedBounds};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// Stored in the same batch as the last rows: it makes the checkpoint finished.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The rows are of this generation.
    pub generation: u32,
    /// Rows numbered from here on belong to a checkpoint that was not finished.
    pub next: u64,
    /// One past the last entry that was a command of the ledger.
    pub applied: u64,
    /// The sum of the digests of the rows that count.
    pub digest: u64,
    pub bounds: ReplicatedBounds,
}

impl Meta {
    /// The format, the content, and a checksum of both.
    pub fn encode(&self) -> Bytes {
        let out = postcard::to_extend(self, vec![FORMAT]);
        let mut out: Vec<u8> = out.expect("a vector takes everything that is written to it");
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.into()
    }

    /// What was encoded; nothing where it is damaged, or of a newer format.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk()?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return None;
        }
        match content.split_first() {
            // A peer may have made it: what is counted on from it must fit.
            Some((&FORMAT, content)) => {
                let countable = |meta: &Self| meta.next <= MAX_COUNT && meta.applied <= MAX_COUNT;
                postcard::from_bytes(content).ok().filter(countable)
            }
            Some(_) | None => None,
        }
    }
}

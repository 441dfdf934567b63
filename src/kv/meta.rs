//! What a finished checkpoint says besides its rows.

use super::error::Malformed;
use super::revision::Revision;
use super::session::{Session, Sessions};
use crate::kernel::MAX_COUNT;
use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;
const WHAT: &str = "checkpoint";

/// Stored in the same batch as the last rows: it makes the checkpoint finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The rows are of this generation.
    pub generation: u32,
    /// The length of the log prefix that the checkpoint covers.
    pub applied: u64,
    /// Rows beyond this revision belong to a checkpoint that was not finished.
    pub revision: i64,
    pub compacted: i64,
    /// The digest counts what is alive under this (main, sub).
    settled: (i64, u32),
    pub digest: u64,
    /// Alarm and member.
    alarms: Vec<(i32, u64)>,
    sessions: Vec<SessionRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SessionRecord {
    id: u64,
    low: u64,
    used: u64,
    replies: Vec<(u64, Bytes)>,
}

/// What a checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The generation of its rows.
    pub generation: u32,
    /// The length of the log prefix that it replaces.
    pub applied: u64,
    /// Its revision: the rows beyond are not part of it.
    pub revision: i64,
}

/// What the metadata of a checkpoint says.
pub fn summary(meta: &Bytes) -> Result<Summary, Malformed> {
    let Meta { generation, applied, revision, .. } = Meta::decode(meta)?;
    Ok(Summary { generation, applied, revision })
}

/// The metadata of a checkpoint whose rows are stored under another generation: a snapshot that
/// arrives from a peer is staged beside what the replica has.
pub fn with_generation(meta: &Bytes, generation: u32) -> Result<Bytes, Malformed> {
    Ok(Meta { generation, ..Meta::decode(meta)? }.encode())
}

/// The part of a checkpoint that is fixed when it begins; O(1).
#[derive(Clone)]
pub(super) struct Fixed {
    pub generation: u32,
    pub applied: u64,
    pub revision: i64,
    pub compacted: i64,
    pub settled: Revision,
    pub digest: u64,
    pub alarms: OrdSet<(i32, u64)>,
    pub sessions: OrdMap<u64, Session>,
}

impl Fixed {
    pub(super) fn meta(&self) -> Meta {
        let session = |(id, s): (&u64, &Session)| SessionRecord {
            id: *id,
            low: s.low,
            used: s.used,
            replies: s.replies.iter().map(|(seq, reply)| (*seq, reply.clone())).collect(),
        };
        Meta {
            generation: self.generation,
            applied: self.applied,
            revision: self.revision,
            compacted: self.compacted,
            settled: (self.settled.main, self.settled.sub),
            digest: self.digest,
            alarms: self.alarms.iter().copied().collect(),
            sessions: self.sessions.iter().map(session).collect(),
        }
    }
}

impl Meta {
    pub(super) fn settled(&self) -> Revision {
        Revision { main: self.settled.0, sub: self.settled.1 }
    }

    pub(super) fn alarms(&self) -> OrdSet<(i32, u64)> {
        self.alarms.iter().copied().collect()
    }

    pub(super) fn sessions(&self) -> Sessions {
        let mut sessions = Sessions::default();
        for s in &self.sessions {
            let replies = s.replies.iter().cloned().collect();
            sessions.insert(s.id, Session { low: s.low, used: s.used, replies });
        }
        sessions
    }

    /// Whether revisions can be counted on from it. A peer may have made it.
    fn is_countable(&self) -> bool {
        let most = MAX_COUNT.cast_signed();
        let from = |least, revision: i64| (least..=most).contains(&revision);
        from(0, self.revision)
            && from(-1, self.compacted)
            && from(-1, self.settled.0)
            && self.applied <= MAX_COUNT
    }

    /// The format, the content, and a checksum of both.
    pub(super) fn encode(&self) -> Bytes {
        let out =
            postcard::to_extend(self, vec![FORMAT]).expect("a vector takes everything that is written to it");
        let mut out: Vec<u8> = out;
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.into()
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Meta, Malformed> {
        let invalid = |why: &str| Malformed::invalid(WHAT, why);
        let (content, sum) = bytes.split_last_chunk().ok_or_else(|| invalid("it is cut short"))?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return Err(invalid("its checksum does not match"));
        }
        match content.split_first() {
            Some((&FORMAT, content)) => {
                let meta: Meta = postcard::from_bytes(content).map_err(|e| Malformed::invalid(WHAT, e))?;
                if meta.is_countable() { Ok(meta) } else { Err(invalid("its revisions are none")) }
            }
            Some((&found, _)) if found > FORMAT => {
                Err(Malformed::Newer { what: WHAT, found, newest: FORMAT })
            }
            Some(_) | None => Err(invalid("it has no format")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        let session =
            SessionRecord { id: 7, low: 1, used: 9, replies: vec![(1, "x".into()), (2, Bytes::new())] };
        Meta {
            generation: 3,
            applied: 10,
            revision: 8,
            compacted: -1,
            settled: (4, 2),
            digest: u64::MAX,
            alarms: vec![(1, 77)],
            sessions: vec![session],
        }
    }

    #[test]
    fn the_metadata_reads_back_as_it_was() {
        assert_eq!(Meta::decode(&meta().encode()), Ok(meta()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = meta().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_snapshot_is_staged_under_another_generation() {
        let staged = with_generation(&meta().encode(), 4).unwrap();
        assert_eq!(summary(&staged), Ok(Summary { generation: 4, applied: 10, revision: 8 }));
        assert_eq!(Meta::decode(&staged), Ok(Meta { generation: 4, ..meta() }));
    }
}

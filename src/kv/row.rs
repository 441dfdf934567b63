//! Rows of state: the form of versions on disk.
//!
//! A row is the format, then one record per version, in the order of revisions:
//! `main sub version key` (a tombstone has version 0, and ends here), `create lease value`. Numbers
//! are varints; key and value have their length before them.

use super::error::Malformed;
use super::keyspace::{Live, Version};
use super::range::Unreadable;
use super::revision::Revision;
use crate::kernel::{DiskError, RowKey};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint};

const FORMAT: u8 = 1;
const WHAT: &str = "row of state";

/// Rows are packed up to this size: with its key, a row then fits the storage's largest value.
pub(super) const TARGET: usize = 3584;

/// One version as a row has it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub at: Revision,
    pub key: Bytes,
    /// Nothing: a tombstone.
    pub live: Option<Live>,
}

impl Record {
    pub(super) fn version(&self) -> Version {
        match &self.live {
            Some(live) => Version::put(self.at, &self.key, live),
            None => Version::tombstone(self.at, &self.key),
        }
    }

    pub(super) fn value(self) -> Bytes {
        self.live.map(|live| live.value).unwrap_or_default()
    }
}

/// A row that is being written.
pub(super) struct Writer {
    bytes: BytesMut,
    first: Option<Revision>,
    last: Revision,
}

impl Writer {
    pub(super) fn new() -> Self {
        let mut bytes = BytesMut::with_capacity(TARGET);
        bytes.put_u8(FORMAT);
        Writer { bytes, first: None, last: Revision::ZERO }
    }

    /// Appends a version, if the row has room for it: a row has room for a first one of any size.
    pub(super) fn push(&mut self, at: Revision, key: &[u8], version: &Version, value: &[u8]) -> bool {
        const NUMBERS: usize = 45;
        if self.first.is_some() && self.bytes.len() + key.len() + value.len() + NUMBERS > TARGET {
            return false;
        }
        assert!(self.last < at, "the versions of a row come in order");
        let out = &mut self.bytes;
        encode_varint(at.main.cast_unsigned(), out);
        encode_varint(at.sub.into(), out);
        encode_varint(version.version.cast_unsigned(), out);
        encode_varint(key.len() as u64, out);
        out.put_slice(key);
        if !version.is_tombstone() {
            encode_varint(version.create.cast_unsigned(), out);
            encode_varint(version.lease.cast_unsigned(), out);
            encode_varint(value.len() as u64, out);
            out.put_slice(value);
        }
        self.first.get_or_insert(at);
        self.last = at;
        true
    }

    /// The first and the last version, and the row.
    pub(super) fn finish(self) -> Option<(Revision, Revision, Bytes)> {
        Some((self.first?, self.last, self.bytes.freeze()))
    }
}

/// Reads a row back. Keys and values are slices of it. Ends after the first error.
pub(super) fn records(mut bytes: Bytes) -> impl Iterator<Item = Result<Record, Malformed>> {
    let mut format = Some(match bytes.try_get_u8() {
        Ok(FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(Malformed::Newer { what: WHAT, found, newest: FORMAT }),
        Ok(_) | Err(_) => Err(Malformed::invalid(WHAT, "it has no format")),
    });
    std::iter::from_fn(move || {
        if let Some(Err(e)) = format.take() {
            bytes.clear();
            return Some(Err(e));
        }
        if bytes.is_empty() {
            return None;
        }
        let record = record(&mut bytes);
        if record.is_err() {
            bytes.clear();
        }
        Some(record)
    })
}

fn record(bytes: &mut Bytes) -> Result<Record, Malformed> {
    let main = number(bytes)?;
    let sub = u32::try_from(number(bytes)?).map_err(|e| Malformed::invalid(WHAT, e))?;
    let at = Revision { main, sub };
    let version = number(bytes)?;
    let key = slice(bytes)?;
    let live = match version {
        0 => None,
        _ => Some(Live { at, version, create: number(bytes)?, lease: number(bytes)?, value: slice(bytes)? }),
    };
    Ok(Record { at, key, live })
}

fn number(bytes: &mut Bytes) -> Result<i64, Malformed> {
    decode_varint(bytes).map(u64::cast_signed).map_err(|e| Malformed::invalid(WHAT, e))
}

fn slice(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = usize::try_from(number(bytes)?).unwrap_or(usize::MAX);
    if len > bytes.len() {
        return Err(Malformed::invalid(WHAT, "it is cut short"));
    }
    Ok(bytes.split_to(len))
}

/// A row that was well when its checkpoint was made, or when the replica started.
pub(super) fn damaged(key: RowKey, why: impl ToString) -> Unreadable {
    let RowKey { generation, main, sub } = key;
    let why = why.to_string();
    Unreadable::Disk(DiskError::Damaged(format!("row {main}.{sub} of generation {generation}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(at: Revision, value: &'static [u8]) -> Live {
        Live { at, create: 1 << 40, version: 3, lease: -1, value: Bytes::from_static(value) }
    }

    fn row() -> Bytes {
        let mut row = Writer::new();
        for (sub, value) in [&b"one"[..], b"", b"three"].into_iter().enumerate() {
            let at = Revision { main: 9, sub: sub as u32 };
            assert!(row.push(at, b"key", &Version::put(at, b"key", &live(at, value)), value));
        }
        let at = Revision { main: 10, sub: 0 };
        assert!(row.push(at, b"gone", &Version::tombstone(at, b"gone"), b""));
        row.finish().unwrap().2
    }

    #[test]
    fn a_row_reads_back_as_it_was() {
        let records: Vec<_> = records(row()).map(|r| r.unwrap()).collect();
        assert_eq!(records.len(), 4);
        assert_eq!(records[2].at, Revision { main: 9, sub: 2 });
        assert_eq!(records[2].version(), Version::put(records[2].at, b"key", &live(records[2].at, b"three")));
        assert!(records[3].version().is_tombstone());
        assert_eq!(records[3].key, "gone");
    }

    #[test]
    fn every_flipped_bit_is_seen_in_a_hash_or_in_the_form() {
        let well: Vec<_> = records(row()).map(|r| r.map(|r| r.version().hash)).collect();
        for bit in 0..row().len() * 8 {
            let mut bytes = row().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read: Vec<_> = records(bytes.into()).map(|r| r.map(|r| r.version().hash)).collect();
            assert_ne!(read, well, "bit {bit}");
        }
    }

    #[test]
    fn a_row_is_packed_up_to_the_target_and_a_larger_version_has_its_own() {
        let mut row = Writer::new();
        let big = vec![0; 1 << 20];
        let at = |sub| Revision { main: 2, sub };
        let version = Version::tombstone(at(0), b"");
        assert!(row.push(at(0), b"k", &Version { version: 1, ..version }, &big));
        assert!(!row.push(at(1), b"k", &version, b""));
        let mut row = Writer::new();
        let fit = (0..)
            .take_while(|i| row.push(at(*i), b"k", &Version { version: 1, ..version }, &[0; 100]))
            .count();
        assert!((20..35).contains(&fit), "{fit} versions of some 110 bytes in a row");
        assert!(row.finish().unwrap().2.len() <= TARGET);
    }
}

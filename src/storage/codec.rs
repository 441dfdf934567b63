//! How things look inside sled: keys, sealed values in chunks, and the hashes that tie them.
//!
//! A *blob* (a variable, a record of a log, a row, the head) is cut into chunks of at most
//! [`MAX_VALUE`] bytes, since sled moves a page beyond some 128 KiB into a file that it never syncs.
//! Every chunk is sealed: `format u8 ‖ crc32 u32 ‖ length of the whole blob u32 ‖ data`, where the
//! checksum covers the key as well, so that a value under another's key is seen.

use crate::kernel::{LogId, RowKey};

/// The version of the format of everything in a data directory. It comes first in every record.
pub const FORMAT: u8 = 1;

/// The largest value handed to sled, in bytes.
pub const MAX_VALUE: usize = 4096;
const SEAL: usize = 1 + 4 + 4;

/// How many bytes of a blob fit in one value.
pub const CHUNK: usize = MAX_VALUE - SEAL;

/// The largest blob, in bytes.
pub const MAX_BLOB: usize = u32::MAX as usize;

const VARS: u8 = 0x00;
const LOGS: u8 = 0x01;
const ROWS: u8 = 0x02;

/// What a key of sled names; [`Place::base`] and the number of a chunk make the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The head, which every commit replaces.
    Head,
    /// A variable.
    Var(String),
    /// The record of a log that starts at an index.
    Record(LogId, u64),
    /// A row of state.
    Row(RowKey),
}

impl Place {
    /// The key without the number of the chunk.
    pub fn base(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(24);
        match self {
            Place::Head => key.push(VARS),
            Place::Var(name) => {
                assert!(!name.is_empty() && name.len() < 128, "variable {name:?} has a name of 1..128 bytes");
                key.extend([VARS, name.len() as u8]);
                key.extend(name.as_bytes());
            }
            Place::Record(log, first) => {
                key.extend([LOGS, log.0]);
                key.extend(first.to_be_bytes());
            }
            Place::Row(row) => {
                key.push(ROWS);
                key.extend(row.generation.to_be_bytes());
                key.extend(row.main.to_be_bytes());
                key.extend(row.sub.to_be_bytes());
            }
        }
        key
    }

    /// Reads a key: its place and the number of the chunk.
    pub fn parse(key: &[u8]) -> Option<(Place, u32)> {
        let (base, chunk) = key.split_last_chunk::<4>()?;
        let (kind, rest) = base.split_first()?;
        let place = match *kind {
            VARS if rest.is_empty() => Place::Head,
            VARS => {
                let (len, name) = rest.split_first()?;
                if name.is_empty() || usize::from(*len) != name.len() {
                    return None;
                }
                Place::Var(String::from_utf8(name.to_vec()).ok()?)
            }
            LOGS => {
                let (log, first) = rest.split_first()?;
                Place::Record(LogId(*log), u64::from_be_bytes(first.try_into().ok()?))
            }
            ROWS => {
                let (generation, rest) = rest.split_first_chunk::<4>()?;
                let (main, sub) = rest.split_first_chunk::<8>()?;
                Place::Row(RowKey {
                    generation: u32::from_be_bytes(*generation),
                    main: u64::from_be_bytes(*main),
                    sub: u32::from_be_bytes(sub.try_into().ok()?),
                })
            }
            _ => return None,
        };
        Some((place, u32::from_be_bytes(*chunk)))
    }
}

/// Where the rows are: every key of a row is at or above it, and below [`rows_end`].
pub fn rows_start() -> Vec<u8> {
    vec![ROWS]
}

/// The first key behind all rows.
pub fn rows_end() -> Vec<u8> {
    vec![ROWS + 1]
}

/// The key of one chunk.
pub fn chunk_key(base: &[u8], chunk: u32) -> Vec<u8> {
    [base, &chunk.to_be_bytes()].concat()
}

/// How many chunks a blob of `len` bytes has: at least one.
pub fn chunks(len: usize) -> u32 {
    u32::try_from(len.div_ceil(CHUNK).max(1)).expect("a blob is at most 4 GiB")
}

/// The sealed value of one chunk of a blob of `total` bytes.
pub fn seal(key: &[u8], total: u32, data: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(SEAL + data.len());
    value.push(FORMAT);
    value.extend(checksum(FORMAT, key, total, data).to_le_bytes());
    value.extend(total.to_le_bytes());
    value.extend(data);
    value
}

/// Why a stored value cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// It contradicts itself.
    #[error("{0}")]
    Damaged(String),
    /// It was written by a newer program.
    #[error("a record has format {0}, newer than {FORMAT}")]
    Newer(u8),
}

/// Opens a sealed value: the length of the whole blob, and this chunk's part of it.
pub fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<(u32, &'a [u8]), Unreadable> {
    let short = || Unreadable::Damaged(format!("the value of key {} is too short", Hex(key)));
    let (format, rest) = value.split_first().ok_or_else(short)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (total, data) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let total = u32::from_le_bytes(*total);
    if u32::from_le_bytes(*crc) != checksum(*format, key, total, data) {
        return Err(Unreadable::Damaged(format!("the value of key {} fails its checksum", Hex(key))));
    }
    if *format > FORMAT {
        return Err(Unreadable::Newer(*format));
    }
    Ok((total, data))
}

fn checksum(format: u8, key: &[u8], total: u32, data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[format]);
    crc.update(key);
    crc.update(&total.to_le_bytes());
    crc.update(data);
    crc.finalize()
}

/// A 64-bit hash against damage, not against forgery. Its values are stored: it never changes
/// within a format.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |h: u64, word: u64| {
        let h = (h ^ word).wrapping_mul(MULTIPLIER);
        h ^ (h >> 29)
    };
    let (words, tail) = bytes.as_chunks::<8>();
    let mut h = mix(seed, bytes.len() as u64);
    for word in words {
        h = mix(h, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    h = mix(h, u64::from_le_bytes(last));
    mix(h, h >> 32)
}

/// What a pair of key and value adds to the digest of a store, which is the sum over its pairs.
pub fn pair_hash(key: &[u8], value: &[u8]) -> u64 {
    hash(hash(u64::from(FORMAT), key), value)
}

/// Bytes for people.
pub struct Hex<'a>(pub &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads little-endian numbers off the front of some bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_in_its_key_again() {
        let row = RowKey { generation: 3, main: u64::MAX - 1, sub: 9 };
        for place in [
            Place::Head,
            Place::Var("consensus/prom".into()),
            Place::Var("\0\0\0\0".into()),
            Place::Record(LogId(7), 1 << 40),
            Place::Row(row),
        ] {
            let key = chunk_key(&place.base(), 5);
            assert_eq!(Place::parse(&key), Some((place, 5)));
        }
        assert_eq!(Place::parse(&[9, 0, 0, 0, 0]), None);
        assert_eq!(Place::parse(&[0, 2, b'a', 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_sealed_value_shows_every_flipped_bit_and_a_foreign_key() {
        let value = seal(b"key", 6, b"abcdef");
        assert_eq!(unseal(b"key", &value), Ok((6, &b"abcdef"[..])));
        assert!(unseal(b"kez", &value).is_err());
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(unseal(b"key", &flipped), Err(Unreadable::Damaged(_))), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(unseal(b"key", &value[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn the_hash_never_changes_within_a_format() {
        assert_eq!(hash(0, b""), 0x0000_0000_0000_0000);
        assert_eq!(hash(1, b"kvorum stable storage"), 0x48a8_2dcd_1f4e_cb24);
    }
}

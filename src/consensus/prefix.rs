//! The hash of the decided prefix, at each length from the trim point on.
//!
//! Two processes whose decided prefixes have one length in reach of both can tell by two numbers whether
//! they agree: no rule of the protocol lets decided prefixes differ, but a disk that was rolled back
//! unnoticed does. The chain starts at the beginning of the log; where the log is trimmed, the hash of what
//! is gone stays.

use bytes::Bytes;
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The hash of no entries.
pub const EMPTY: u64 = 0x6b76_6f72_756d_0001;

/// The hash of a prefix and one entry more.
pub fn link(hash: u64, entry: &[u8]) -> u64 {
    xxh3_64_with_seed(entry, hash)
}

/// Hashes of the prefixes of a log.
///
/// Invariant: there is one for each length from `first` to [`PrefixHashes::end`].
#[derive(Clone, Debug)]
pub struct PrefixHashes {
    first: u64,
    hashes: VecDeque<u64>,
}

impl PrefixHashes {
    /// Only the prefix of length `first` is known.
    pub fn from(first: u64, hash: u64) -> Self {
        Self { first, hashes: VecDeque::from([hash]) }
    }

    /// The longest prefix of which the hash is known.
    pub fn end(&self) -> u64 {
        self.first + self.hashes.len() as u64 - 1
    }

    /// The hash of the longest prefix.
    pub fn last(&self) -> u64 {
        self.hashes.back().copied().unwrap_or(EMPTY)
    }

    /// The hash of the prefix of a length, where it is known.
    pub fn at(&self, len: u64) -> Option<u64> {
        len.checked_sub(self.first).and_then(|i| self.hashes.get(i as usize)).copied()
    }

    /// The prefix grows by an entry.
    pub fn push(&mut self, entry: &Bytes) {
        self.hashes.push_back(link(self.last(), entry));
    }

    /// Shorter prefixes than `first` are forgotten.
    pub fn trim(&mut self, first: u64) {
        assert!(first <= self.end(), "the hash of {first} entries is not known, only of {}", self.end());
        let gone = first.saturating_sub(self.first);
        self.hashes.drain(..gone as usize);
        self.first += gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn equal_prefixes_have_equal_hashes_and_others_do_not() {
        let of = |entries: &[&'static str]| {
            let mut hashes = PrefixHashes::from(0, EMPTY);
            entries.iter().for_each(|e| hashes.push(&entry(e)));
            hashes
        };
        let (one, other) = (of(&["a", "b", "c"]), of(&["a", "x", "c"]));
        assert_eq!((one.end(), one.at(1)), (3, other.at(1)));
        assert_ne!(one.at(2), other.at(2));
        assert_ne!(one.at(3), other.at(3), "what differs once differs for ever");
        assert_ne!(of(&["ab", "c"]).last(), of(&["a", "bc"]).last());
        assert_ne!(of(&["", ""]).last(), of(&[""]).last());
    }

    #[test]
    fn what_is_trimmed_lives_on_in_the_hash() {
        let mut hashes = PrefixHashes::from(0, EMPTY);
        ["a", "b", "c"].iter().for_each(|e| hashes.push(&entry(e)));
        let whole = hashes.last();
        hashes.trim(2);
        assert_eq!((hashes.at(1), hashes.at(3), hashes.end()), (None, Some(whole), 3));
        let mut resumed = PrefixHashes::from(2, hashes.at(2).unwrap());
        resumed.push(&entry("c"));
        assert_eq!(resumed.last(), whole);
    }
}

//! Records of a log: the entries of one commit, packed up to what fits in one value of sled.
//!
//! `first u64 ‖ count u32 ‖ chain u64 ‖ (length u32 ‖ entry)*`, where `chain` is the chained hash of
//! every entry before the record. An entry too large for a value makes a record of its own, in
//! several chunks.

use super::codec::{self, CHUNK, Reader};
use bytes::Bytes;

const HEADER: usize = 8 + 4 + 8;

/// Some consecutive entries of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The index of the first entry.
    pub first: u64,
    /// The chained hash of the entries before it.
    pub chain: u64,
    /// The entries.
    pub entries: Vec<Bytes>,
}

/// The chained hash after one more entry.
pub fn link(chain: u64, entry: &[u8]) -> u64 {
    codec::hash(chain, entry)
}

impl Record {
    /// Cuts entries into records of at most one value each, save for entries beyond that size.
    pub fn pack(first: u64, chain: u64, entries: &[Bytes]) -> Vec<Record> {
        let mut records = Vec::new();
        let (mut first, mut chain, mut rest) = (first, chain, entries);
        while !rest.is_empty() {
            let mut size = HEADER;
            let fitting = rest.iter().take_while(|entry| {
                size += 4 + entry.len();
                size <= CHUNK
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            let record = Record { first, chain, entries: now.to_vec() };
            (first, chain, rest) = (record.end(), record.chain_after(), later);
            records.push(record);
        }
        records
    }

    /// The index after the last entry.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The chained hash up to and with the last entry.
    pub fn chain_after(&self) -> u64 {
        self.entries.iter().fold(self.chain, |chain, entry| link(chain, entry))
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.entries.iter().map(|e| 4 + e.len()).sum::<usize>());
        out.extend(self.first.to_le_bytes());
        out.extend((self.entries.len() as u32).to_le_bytes());
        out.extend(self.chain.to_le_bytes());
        for entry in &self.entries {
            out.extend((entry.len() as u32).to_le_bytes());
            out.extend(entry.iter());
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let (first, count, chain) = (r.u64()?, r.u32()?, r.u64()?);
        let mut entries = Vec::new();
        for _ in 0..count {
            let len = r.u32()?;
            entries.push(Bytes::copy_from_slice(r.take(len as usize)?));
        }
        (count > 0 && r.0.is_empty() && first.checked_add(u64::from(count)).is_some()).then_some(Record {
            first,
            chain,
            entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sizes: &[usize]) -> Vec<Bytes> {
        sizes.iter().enumerate().map(|(i, size)| Bytes::from(vec![i as u8; *size])).collect()
    }

    #[test]
    fn small_entries_share_a_record_up_to_one_value() {
        let records = Record::pack(10, 7, &entries(&[256; 64]));
        assert_eq!(records.len(), 5, "15 entries of 256 bytes fit in 4 KiB");
        assert!(records.iter().all(|r| r.encode().len() <= CHUNK));
        assert_eq!(records[0].entries.len(), 15);
        assert_eq!(records.last().map(Record::end), Some(74));
    }

    #[test]
    fn a_large_entry_stands_alone_and_the_chain_runs_through() {
        let all = entries(&[10, 20_000, 10, 0, 5]);
        let records = Record::pack(0, 7, &all);
        assert_eq!(records.iter().map(|r| r.entries.len()).collect::<Vec<_>>(), [1, 1, 3]);
        for pair in records.windows(2) {
            assert_eq!(pair[0].end(), pair[1].first);
            assert_eq!(pair[0].chain_after(), pair[1].chain);
        }
        let whole = all.iter().fold(7, |chain, e| link(chain, e));
        assert_eq!(records[2].chain_after(), whole);
    }

    #[test]
    fn what_was_encoded_is_decoded_and_nothing_else() {
        let record = Record { first: 3, chain: 9, entries: entries(&[0, 1, 300]) };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), None);
        }
    }
}

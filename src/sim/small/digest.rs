//! 128 bits of what something shows of itself, by which states are told apart.

use std::collections::HashMap;
use std::fmt::{self, Debug, Write};
use std::hash::{BuildHasherDefault, Hasher};

/// Takes in text; equal texts that arrive in equal pieces give equal digests.
struct Digest(u64, u64);

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide >> 64) as u64 ^ wide as u64
}

impl Digest {
    fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, FIRST).wrapping_add(word);
        self.1 = fold(self.1.rotate_left(23) ^ word, SECOND).wrapping_add(self.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = rest.len() as u8 | 0x80;
        self.word(u64::from_le_bytes(last));
    }

    fn finish(mut self) -> u128 {
        self.word(FIRST);
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The digest of what something shows of itself.
pub(super) fn of_shown(what: &impl Debug) -> u128 {
    let mut digest = Digest(FIRST, SECOND);
    write!(digest, "{what:?}").expect("a digest takes any text");
    digest.finish()
}

/// The digest of bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> u128 {
    let mut digest = Digest(SECOND, FIRST);
    digest.bytes(bytes);
    digest.finish()
}

/// The digest of numbers, which may be digests.
pub(super) fn of_numbers(numbers: impl Iterator<Item = u128>) -> u128 {
    let mut digest = Digest(FIRST, SECOND);
    numbers.for_each(|n| {
        digest.word(n as u64);
        digest.word((n >> 64) as u64);
    });
    digest.finish()
}

/// Keyed by digests.
pub(super) type Table<V> = HashMap<u128, V, BuildHasherDefault<Plain>>;

/// A digest needs no further hashing.
#[derive(Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_differs_has_another_digest() {
        let shown: BTreeSet<u128> = (0..10_000u32).map(|n| of_shown(&(n, Some("x"), [n / 7; 3]))).collect();
        assert_eq!(shown.len(), 10_000);
        let bytes: BTreeSet<u128> = (0..100).map(|n| of_bytes(&vec![0; n])).collect();
        assert_eq!(bytes.len(), 100, "also by its length alone");
        assert_eq!(of_shown(&(1, 2)), of_shown(&(1, 2)));
    }
}

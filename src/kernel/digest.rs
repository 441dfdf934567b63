//! Digests of replicated state. Different states have different ones but by chance, which is one in
//! 2^64; nothing is promised against somebody who looks for two that are alike.

/// A digest of a sequence of words and byte strings, each of which counts, and their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    /// Of the empty sequence.
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Digest {
    /// Of one word more.
    #[must_use]
    pub fn word(self, word: u64) -> Self {
        // The finalizer of Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, 2014.
        let mut x = (self.0.rotate_left(5) ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(x ^ (x >> 31))
    }

    /// Of one byte string more.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let whole =
            words.iter().fold(self.word(bytes.len() as u64), |d, word| d.word(u64::from_le_bytes(*word)));
        whole.word(u64::from_le_bytes(last))
    }

    /// The digest.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_said_and_in_which_order_counts() {
        let d = Digest::default;
        let all = [
            d(),
            d().word(0),
            d().word(1).word(2),
            d().word(2).word(1),
            d().bytes(b""),
            d().bytes(b"a"),
            d().bytes(b"a\0"),
            d().bytes(b"ab").bytes(b"c"),
            d().bytes(b"a").bytes(b"bc"),
            d().bytes(b"12345678"),
            d().bytes(b"123456789"),
        ];
        assert_eq!(all.map(Digest::value).into_iter().collect::<BTreeSet<u64>>().len(), all.len());
    }
}

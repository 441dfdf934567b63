//! Sizes of what clients send: as small as it comes, mostly, and at times around a byte bound that is
//! in force, so that what happens at that bound happens.

use fastrand::Rng;
use std::borrow::Cow;

/// Bounds beyond this are left alone: to reach them would cost more steps than it shows.
const MOST: usize = 4 << 10;
/// Bytes that lie around a value where a bound counts it: its key, its command, its entry.
const ENVELOPE: usize = 96;
/// How often, of 128 draws, a size is around a bound; in some runs never, since what goes wrong
/// needs many entries.
const OFTEN: [u8; 4] = [0, 4, 16, 64];
/// What stands behind a text to make it longer.
const PADDING: char = '.';

/// Sizes around some bounds.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    bounds: Vec<usize>,
    often: u8,
}

impl Sizes {
    pub(super) fn around(bounds: impl IntoIterator<Item = usize>, rng: &mut Rng) -> Self {
        let bounds = bounds.into_iter().filter(|bound| *bound <= MOST).collect();
        Self { bounds, often: OFTEN[rng.usize(..OFTEN.len())] }
    }

    /// A size; 0 is as small as it comes.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        if self.bounds.is_empty() || rng.u8(..128) >= self.often {
            return 0;
        }
        let bound = self.bounds[rng.usize(..self.bounds.len())];
        match rng.u8(..4) {
            0 => rng.usize(..=bound),
            _ => rng.usize(bound.saturating_sub(ENVELOPE)..=bound + ENVELOPE / 4),
        }
    }
}

/// The text, made so long at least; what it was before tells it from others still.
pub(super) fn padded(text: &str, size: usize) -> String {
    format!("{text}{}", PADDING.to_string().repeat(size.saturating_sub(text.len())))
}

/// The text before it was made longer.
pub(super) fn unpadded(text: &str) -> &str {
    text.trim_end_matches(PADDING)
}

/// For people: a text that was made longer, with its size instead.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    match unpadded(&text) {
        whole if whole.len() == text.len() => text,
        short => format!("{short} ({} bytes)", bytes.len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_text_is_told_from_others_and_has_its_size() {
        assert_eq!(padded("v1", 5), "v1...");
        assert_eq!(padded("v1", 1), "v1");
        assert_eq!(unpadded("v1..."), "v1");
        assert_eq!(shown(b"v1..."), "v1 (5 bytes)");
        assert_eq!(shown(b"v1"), "v1");
    }

    #[test]
    fn sizes_lie_on_both_sides_of_each_bound() {
        let mut rng = Rng::with_seed(1);
        let sizes = Sizes { bounds: vec![200, 1000], often: 64 };
        let drawn: Vec<usize> = (0..2000).map(|_| sizes.draw(&mut rng)).collect();
        for bound in [200, 1000] {
            let near = |low: usize, high: usize| drawn.iter().any(|size| (low..=high).contains(size));
            assert!(near(bound - ENVELOPE, bound - 1) && near(bound + 1, bound + ENVELOPE), "{bound}");
        }
        assert!(drawn.iter().filter(|size| **size == 0).count() > 900);
        assert_eq!(Sizes::around([MOST + 1], &mut rng).draw(&mut rng), 0);
    }
}

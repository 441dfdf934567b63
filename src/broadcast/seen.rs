//! A set of numbers that grows for ever in bounded space: everything below a watermark, and a few
//! above it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Numbers that were seen.
///
/// Invariant: `low` itself is not in the set, and everything in `above` is greater. The set only
/// grows; whoever adds to it keeps what lies above within a window.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    low: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// The lowest number that was not seen.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// One past the greatest number that was seen.
    pub fn end(&self) -> u64 {
        self.above.last().map_or(self.low, |n| n + 1)
    }

    /// The lowest number above one that was not seen, that was.
    pub fn after(&self, n: u64) -> Option<u64> {
        self.above.range(n..).next().copied()
    }

    /// The lowest number above one that was seen, that was not.
    pub fn past(&self, n: u64) -> u64 {
        if n < self.low { self.low } else { (n + 1..).find(|n| !self.above.contains(n)).unwrap_or(n + 1) }
    }

    /// Whether a number was seen.
    pub fn contains(&self, n: u64) -> bool {
        n < self.low || self.above.contains(&n)
    }

    /// Whether all numbers of another set were seen.
    pub fn covers(&self, other: &Seen) -> bool {
        let mut between = self.low..other.low;
        between.all(|n| self.above.contains(&n)) && other.above.iter().all(|n| self.contains(*n))
    }

    /// Adds a number; false when it was there.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        self.above.insert(n);
        self.settle();
        true
    }

    /// The numbers from one to another, the last not included, as ranges.
    pub fn within(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let below = Some((from, self.low.min(to))).filter(|(a, b)| a < b);
        let above = if from < to { Some(self.above.range(from..to)) } else { None };
        below.into_iter().chain(above.into_iter().flatten().map(|n| (*n, n + 1)))
    }

    /// Adds the numbers from one to another, the last not included.
    pub fn fill(&mut self, from: u64, to: u64) {
        if from <= self.low {
            return self.raise(to);
        }
        (from..to).for_each(|n| {
            self.insert(n);
        });
    }

    /// Adds everything below a number.
    pub fn raise(&mut self, low: u64) {
        if low > self.low {
            self.low = low;
            self.above = self.above.split_off(&low);
            self.settle();
        }
    }

    /// Adds everything of another set; whether there was anything to add.
    pub fn merge(&mut self, other: &Seen) -> bool {
        if self.low >= other.low && other.above.iter().all(|n| self.contains(*n)) {
            return false;
        }
        let before = (self.low, self.above.len());
        self.raise(other.low);
        other.above.iter().for_each(|n| {
            self.insert(*n);
        });
        before != (self.low, self.above.len())
    }

    /// Whether it is one: everything above the watermark lies above it.
    pub fn is_sound(&self) -> bool {
        self.above.first().is_none_or(|first| *first > self.low)
    }

    /// Takes away everything from a number on.
    pub fn cut(&mut self, end: u64) {
        self.low = self.low.min(end);
        drop(self.above.split_off(&end));
    }

    fn settle(&mut self) {
        while self.above.remove(&self.low) {
            self.low += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0u64..40, 0..60), raise in 0u64..20) {
            let mut seen = Seen::default();
            let mut model = BTreeSet::new();
            for (i, n) in numbers.iter().enumerate() {
                prop_assert_eq!(seen.insert(*n), model.insert(*n));
                if i == 20 {
                    seen.raise(raise);
                    model.extend(0..raise);
                }
            }
            for n in 0..60 {
                prop_assert_eq!(seen.contains(n), model.contains(&n));
            }
            prop_assert!(!seen.contains(seen.low()));
            prop_assert_eq!(seen.end(), model.last().map_or(0, |n| n + 1));
        }

        #[test]
        fn merging_is_union(
            a in prop::collection::btree_set(0u64..30, 0..30),
            b in prop::collection::btree_set(0u64..30, 0..30),
        ) {
            let of = |set: &BTreeSet<u64>| {
                let mut seen = Seen::default();
                set.iter().for_each(|n| { seen.insert(*n); });
                seen
            };
            let mut merged = of(&a);
            prop_assert_eq!(merged.merge(&of(&b)), !b.is_subset(&a));
            prop_assert_eq!(&merged, &of(&(&a | &b)));
            prop_assert!(merged.covers(&of(&a)) && merged.covers(&of(&b)));
            prop_assert_eq!(of(&a).covers(&of(&b)), b.is_subset(&a));
        }
    }
}

//! Operations worth recording: a few contended keys, and values that are never written twice.

use super::operation::{Call, Reply, Write};
use std::collections::BTreeMap;

/// How often each kind of operation is drawn, relative to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Puts.
    pub put: u32,
    /// Linearizable reads.
    pub get: u32,
    /// Serializable reads.
    pub serializable: u32,
    /// Deletes.
    pub delete: u32,
    /// Comparisons with the value that the client saw last.
    pub cas: u32,
    /// Transactions that read one key and write another; they join keys, which makes the history
    /// harder to check.
    pub txn: u32,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { put: 40, get: 35, serializable: 0, delete: 5, cas: 20, txn: 0 }
    }
}

impl Mix {
    fn total(&self) -> u32 {
        self.put + self.get + self.serializable + self.delete + self.cas + self.txn
    }

    /// Writes only: for a demonstration that counts what was acknowledged.
    pub const PUTS: Mix = Mix { put: 1, get: 0, serializable: 0, delete: 0, cas: 0, txn: 0 };
}

/// The operations of one client, drawn from a seeded generator.
///
/// Every value is written at most once in a run, so that what is read says which write it was:
/// values are `LABEL-N`, where the label is the client's own.
#[derive(Debug)]
pub struct Workload {
    label: String,
    keys: Vec<String>,
    mix: Mix,
    rng: fastrand::Rng,
    written: u64,
    /// Bytes that the next values have at least.
    size: usize,
    /// Per key: what the client saw last, for comparisons that have a chance to hold.
    seen: BTreeMap<String, Option<String>>,
}

impl Workload {
    /// `label` must be unique among the clients of a run.
    ///
    /// # Panics
    /// If there are no keys, or the mix is all zeros.
    pub fn new(label: impl Into<String>, keys: Vec<String>, mix: Mix, rng: fastrand::Rng) -> Workload {
        assert!(!keys.is_empty(), "a workload needs keys");
        assert!(mix.total() > 0, "a workload needs operations");
        Workload { label: label.into(), keys, mix, rng, written: 0, size: 0, seen: BTreeMap::new() }
    }

    /// Values that are drawn from now on have at least so many bytes: dots stand behind their names.
    pub fn pad(&mut self, size: usize) {
        self.size = size;
    }

    /// The next operation.
    pub fn draw(&mut self) -> Call {
        let key = self.keys[self.rng.usize(..self.keys.len())].clone();
        let mut at = self.rng.u32(..self.mix.total());
        let mut falls_in = |share: u32| {
            let hit = at < share;
            at = at.wrapping_sub(share);
            hit
        };
        if falls_in(self.mix.put) {
            Call::Put { key, value: self.fresh() }
        } else if falls_in(self.mix.get) {
            Call::Get { key, serializable: false }
        } else if falls_in(self.mix.serializable) {
            Call::Get { key, serializable: true }
        } else if falls_in(self.mix.delete) {
            Call::Delete { key }
        } else if falls_in(self.mix.cas) {
            match self.seen.get(&key).cloned() {
                Some(expected) => Call::Cas { key, expected, value: self.fresh() },
                // Nothing to compare with yet: look first.
                None => Call::Get { key, serializable: false },
            }
        } else {
            let other = self.keys[self.rng.usize(..self.keys.len())].clone();
            Call::Txn { reads: vec![key], writes: vec![Write { key: other, value: Some(self.fresh()) }] }
        }
    }

    /// Tells the client what came of an operation, so that its next comparison is a good guess.
    /// Not needed for operations without an answer.
    pub fn observe(&mut self, call: &Call, reply: &Reply) {
        match (call, reply) {
            (Call::Get { key, .. }, Reply::Get(value)) => self.saw(key, value.clone()),
            (Call::Put { key, value }, Reply::Put) | (Call::Cas { key, value, .. }, Reply::Cas(true)) => {
                self.saw(key, Some(value.clone()));
            }
            (Call::Delete { key }, Reply::Delete(_)) => self.saw(key, None),
            (Call::Txn { reads, writes }, Reply::Txn(values)) => {
                reads.iter().zip(values).for_each(|(key, value)| self.saw(key, value.clone()));
                writes.iter().for_each(|w| self.saw(&w.key, w.value.clone()));
            }
            // A comparison that failed: forget the guess, or it is made for ever.
            (Call::Cas { key, .. }, Reply::Cas(false)) => {
                self.seen.remove(key);
            }
            (_, Reply::Put | Reply::Get(_) | Reply::Delete(_) | Reply::Cas(_) | Reply::Txn(_)) => {}
        }
    }

    fn saw(&mut self, key: &str, value: Option<String>) {
        self.seen.insert(key.to_owned(), value);
    }

    fn fresh(&mut self) -> String {
        self.written += 1;
        let name = format!("{}-{}", self.label, self.written);
        format!("{name:.<width$}", width = self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn workload(label: &str, mix: Mix, seed: u64) -> Workload {
        Workload::new(label, vec!["a".into(), "b".into()], mix, fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut w = workload("c", Mix::default(), seed);
            (0..100).map(|_| w.draw()).collect::<Vec<Call>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn no_value_is_written_twice() {
        let mix = Mix { txn: 10, ..Mix::default() };
        let mut values = BTreeSet::new();
        for label in ["c1", "c2"] {
            let mut w = workload(label, mix, 1);
            for _ in 0..500 {
                for (_, value) in w.draw().writes() {
                    assert!(value.is_none_or(|v| values.insert(v.to_owned())), "{value:?} twice");
                }
            }
        }
    }

    #[test]
    fn a_comparison_is_with_what_was_seen() {
        let mut w = workload("c", Mix { cas: 1, put: 0, get: 0, delete: 0, serializable: 0, txn: 0 }, 3);
        assert!(matches!(w.draw(), Call::Get { .. }), "nothing was seen yet");
        for key in ["a", "b"] {
            let get = Call::Get { key: key.into(), serializable: false };
            w.observe(&get, &Reply::Get(Some("v".into())));
        }
        assert!(matches!(w.draw(), Call::Cas { expected: Some(v), .. } if v == "v"));
    }
}

//! Runs: entries that go from one process to another in chunks, staged in memory until all are there.
//!
//! A promise's suffix, and the log that a leader adopted, may be larger than a frame. They go chunk by
//! chunk; the receiver asks for each when it has the one before it, by the message that the run
//! answers:
//!
//! ```text
//! candidate  Prepare ──────► ◄── Promise 0..4 of 9     follower  Promise ─────► ◄── AcceptSync 0..4 of 9
//!            Prepare, has 4 ► ◄── Promise 4..8                   Promise, has 4 ► ◄── AcceptSync 4..8
//!            Prepare, has 8 ► ◄── Promise 8..9                   Promise, has 8 ► ◄── AcceptSync 8..9
//!            adopts all of it                                    stores log and accRnd in one batch
//! ```
//!
//! Whoever sends keeps nothing: each question says what it has. A chunk that is lost is asked for again
//! after a while; one that arrives twice brings nothing, and asks for nothing, else each repetition
//! would go on beside the others to the end.
//!
//! What is staged is in no log, and a crash takes it: the log and accRnd change with the last chunk,
//! in one batch. If accRnd changed with the first, half of a log would pass for all of it:
//!
//! ```text
//! p        promises 7 ── chunk 0..4 of 9: accRnd := 7 ──┐ crash ─── promises 8: (accRnd 7, length 4)
//! leader 7   adopted 0..9, 8 is decided ── crash        │
//! q        holds 0..9 of ballot 6, as the old majority ─┘ promises 8: (6, 9), which is less: 4..9 are lost
//! ```

use bytes::Bytes;

/// Entries without a gap, from the first of the run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    from: u64,
    entries: Vec<Bytes>,
    bytes: usize,
}

impl Run {
    /// Nothing yet, of a run that starts at `from`.
    pub fn new(from: u64) -> Self {
        Self { from, entries: Vec::new(), bytes: 0 }
    }

    /// The index of its first entry.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The index behind its last entry.
    pub fn upto(&self) -> u64 {
        self.from + self.entries.len() as u64
    }

    /// Begins anew at `from`, if that lies beyond what is here: whoever sends the run has learned meanwhile
    /// that what lies below is not needed.
    pub fn skip_to(&mut self, from: u64) {
        if from > self.upto() {
            *self = Self::new(from);
        }
    }

    /// Takes a chunk, without what is there already. Says whether it brought anything: one behind a
    /// gap does not, nor does one that would make it more than `limit` bytes.
    pub fn take(&mut self, at: u64, chunk: &[Bytes], limit: usize) -> bool {
        let Some(skip) = self.upto().checked_sub(at) else { return false };
        let new = chunk.get(skip as usize..).unwrap_or_default();
        let bytes: usize = new.iter().map(Bytes::len).sum();
        if new.is_empty() || self.bytes + bytes > limit {
            return false;
        }
        self.bytes += bytes;
        self.entries.extend_from_slice(new);
        true
    }

    /// Its entries.
    pub fn into_entries(self) -> Vec<Bytes> {
        self.entries
    }
}

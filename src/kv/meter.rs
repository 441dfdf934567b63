//! What one command or one read may cost: keys that it looks at, and bytes that it answers.
//!
//! Whether a transaction stays within its budget decides what it does, so every replica must count
//! alike. Counted is what a reader can see: keys that exist, in the state that the log has led to.
//! Never counted is what only this replica has: versions that compaction has hidden and that are not
//! cleaned up yet, rows, what is in memory and what is on disk. Else:
//!
//! ```text
//! a  has cleaned up k's old versions: the transaction looks at 1 key,    puts x
//! b  has not:                         the same transaction looks at 9:   refused     a ≠ b, for ever
//! ```
//!
//! The same goes for what is read at a past revision, where hidden versions are walked over. So a
//! transaction's read of the past is not executed with it: that has no effect, and sessions do not
//! remember it. Whoever answers reads it later, in a copy of the state.

use super::Error;
use crate::kernel::SharedBounds;
use crate::proto::etcdserverpb::range_request::SortTarget;

/// What one transaction may cost. All members have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Keys that it looks at, at most; one that it deletes counts as [`DELETION`], and comparing or
    /// sorting values counts as more, by their length.
    pub visits: u64,
    /// Bytes that it answers, at most: keys and values, and [`OVERHEAD`] for each key.
    pub reply_bytes: u64,
}

/// So many keys are looked at in the time in which one is deleted.
pub const DELETION: u64 = 8;
/// What an answered key takes beside itself and its value: its numbers, and the handles of both.
pub const OVERHEAD: u64 = 100;

impl From<SharedBounds> for Budget {
    fn from(bounds: SharedBounds) -> Budget {
        Budget { visits: bounds.txn_visits, reply_bytes: bounds.txn_bytes }
    }
}

impl Default for Budget {
    fn default() -> Self {
        SharedBounds::DEFAULT.into()
    }
}

impl Budget {
    /// No bound: for what is bounded otherwise.
    pub const NONE: Budget = Budget { visits: u64::MAX, reply_bytes: u64::MAX };
}

/// What is counted while a command or a read is executed.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    budget: Budget,
    visits: u64,
    bytes: u64,
    /// Bytes of answers that are worth making: no one waits for the reply here, or it is remembered
    /// only up to a length.
    wanted: u64,
    whole: bool,
}

impl Meter {
    /// Everything that is answered is also made.
    pub(super) fn new(budget: Budget) -> Self {
        Meter { budget, visits: 0, bytes: 0, wanted: u64::MAX, whole: true }
    }

    /// Answers are made as long as their encoding may have at most so many bytes, and no further.
    pub(super) fn making(budget: Budget, wanted: u64) -> Self {
        Meter { wanted, whole: wanted > 0, ..Meter::new(budget) }
    }

    /// Looks at keys, or at what takes as long.
    pub(super) fn visit(&mut self, cost: u64) -> Result<(), Error> {
        self.visits = self.visits.saturating_add(cost);
        let limit = self.budget.visits;
        if self.visits > limit { Err(Error::TooManyKeys { limit }) } else { Ok(()) }
    }

    /// Answers a key with a value of so many bytes.
    pub(super) fn answer(&mut self, key: usize, value: usize) -> Result<(), Error> {
        /// An encoded key takes at least so much beside itself and its value: tags, and three numbers.
        const LEAST: u64 = 8;
        let content = (key + value) as u64;
        self.bytes = self.bytes.saturating_add(content + OVERHEAD);
        self.fits(0)?;
        match self.wanted.checked_sub(content + LEAST) {
            Some(left) => self.wanted = left,
            None => self.whole = false,
        }
        Ok(())
    }

    /// Whether so many keys more, of whatever length, would fit in the answer.
    pub(super) fn fits(&self, keys: usize) -> Result<(), Error> {
        let limit = self.budget.reply_bytes;
        let bytes = self.bytes.saturating_add(keys as u64 * OVERHEAD);
        if bytes > limit { Err(Error::ReplyTooLong { limit }) } else { Ok(()) }
    }

    /// Whether answers have been made so far, all of them. Once they are not, nothing of the reply is
    /// of use.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The bytes answered.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What it takes to compare a value: as much as looking at a key for each KiB.
pub(super) fn comparing(bytes: usize) -> u64 {
    1 + bytes as u64 / 1024
}

/// What it takes to look at a key that will be sorted: values are compared again and again.
pub(super) fn sorting(target: SortTarget, bytes: usize) -> u64 {
    match target {
        SortTarget::Value => 1 + bytes as u64 / 64,
        SortTarget::Key | SortTarget::Version | SortTarget::Create | SortTarget::Mod => 1,
    }
}

//! What runs of the small world injected, and what came of it.

use std::fmt;
use std::ops::AddAssign;

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Something that must happen in a suite, or it proves nothing.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Class {
            $($(#[doc = $doc])+ $name,)+
        }

        const LABELS: &[&str] = &[$($label),+];

        /// How often each class happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Coverage([u64; LABELS.len()]);
    };
}

classes! {
    /// Steps under faults.
    Steps = "steps",
    /// Requests of the layer above.
    Requests = "requests",
    /// Indications to it.
    Indications = "indications",
    /// Frames that arrived.
    Delivered = "frames delivered",
    /// Frames that did not.
    Lost = "frames lost",
    /// Frames that arrived and stayed in flight.
    Duplicated = "frames duplicated",
    /// Frames that overtook others between the same two.
    Reordered = "frames reordered",
    /// Frames that were damaged, and refused.
    Corrupted = "frames corrupted",
    /// Frames of an incarnation that had crashed.
    Stale = "stale frames across incarnations",
    /// Times that links were cut.
    Cuts = "links cut",
    /// Runs in which some links were missing for ever.
    Incomplete = "graphs that stay incomplete",
    /// Commits that became durable.
    Commits = "commits",
    /// Crashes.
    Crashes = "crashes",
    /// Crashes while something was being written.
    CrashesWriting = "crashes inside a write",
    /// Crashes with something exposed, and something not.
    CrashesExposing = "crashes between two exposures",
    /// Recoveries.
    Recoveries = "recoveries",
}

impl Coverage {
    /// It happened once.
    pub(super) fn count(&mut self, class: Class) {
        self.add(class, 1);
    }

    /// It happened so often.
    pub(super) fn add(&mut self, class: Class, times: u64) {
        self.0[class as usize] += times;
    }

    /// How often it happened.
    pub fn of(&self, class: Class) -> u64 {
        self.0[class as usize]
    }

    /// Every class, by name, with its count.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LABELS.iter().copied().zip(self.0)
    }
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, count)) in self.classes().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{count:>12}  {name}")?;
        }
        Ok(())
    }
}

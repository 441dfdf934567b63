//! At most once: clients write no value twice, so a value that is seen with two revisions was
//! written twice by one request. And revisions never go back: what a process shows only grows,
//! also across its crashes. And state agreement: equal prefixes of the log give equal states.

use super::{Property, Verdict, digest, ensure, entries};
use crate::kernel::ProcessId;
use std::collections::BTreeMap;

/// What was shown so far.
#[derive(Debug)]
pub(in crate::sim) struct Effects {
    /// By the digest of a value: the revision that wrote it.
    written: BTreeMap<u64, u64>,
    /// Per process, the greatest revision that it showed.
    shown: Vec<u64>,
    /// By the length of the prefix applied: a digest of the state.
    states: BTreeMap<u64, u64>,
}

impl Effects {
    pub(in crate::sim) fn new(processes: usize) -> Self {
        Self { written: BTreeMap::new(), shown: vec![0; processes], states: BTreeMap::new() }
    }

    /// A value was written by this revision.
    pub(in crate::sim) fn wrote(&mut self, value: &str, revision: u64) -> Verdict {
        let known = *self.written.entry(digest(value.as_bytes())).or_insert(revision);
        ensure(known == revision, Property::AtMostOnce, || {
            format!("{value:?} was written by revision {known}, and again by revision {revision}")
        })
    }

    /// A process shows the state of a revision.
    pub(in crate::sim) fn shows(&mut self, p: ProcessId, revision: u64) -> Verdict {
        let shown = &mut self.shown[p.index()];
        ensure(revision >= *shown, Property::ClientHistory, || {
            format!("{p} shows revision {revision} after it showed {shown}")
        })?;
        *shown = revision;
        Ok(())
    }

    /// A process shows a state after a prefix of the log.
    pub(in crate::sim) fn state(&mut self, p: ProcessId, applied: u64, state: u64) -> Verdict {
        let known = *self.states.entry(applied).or_insert(state);
        ensure(known == state, Property::StateAgreement, || {
            format!("{p} has applied {}, and its state is not that of others who had", entries(applied))
        })
    }

    /// A disk that lost its memory shows what it learns.
    pub(in crate::sim) fn wiped(&mut self, p: ProcessId) {
        self.shown[p.index()] = 0;
    }
}

//! Total-order topics: what was published where, and what readers find.

use super::{Property, Verdict, ensure};
use crate::broadcast::Publication;
use crate::kernel::ProcessId;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What was published so far. No two publications have the same payload.
#[derive(Debug, Default)]
pub(in crate::sim) struct Publications {
    sent: BTreeSet<(&'static str, Bytes)>,
    /// By position.
    at: BTreeMap<u64, (&'static str, Bytes)>,
    positions: BTreeMap<Bytes, u64>,
}

impl Publications {
    /// A client publishes, perhaps again.
    pub(in crate::sim) fn publishes(&mut self, topic: &'static str, payload: Bytes) {
        self.sent.insert((topic, payload));
    }

    /// A process tells where a publication is.
    pub(in crate::sim) fn tells(
        &mut self,
        p: ProcessId,
        topic: &'static str,
        position: u64,
        payload: &Bytes,
    ) -> Verdict {
        let here = (topic, payload.clone());
        ensure(self.sent.contains(&here), Property::TotalOrder, || {
            format!("{p} tells that {payload:?} is at {position} of {topic}, where nobody published it")
        })?;
        let known = self.at.entry(position).or_insert_with(|| here.clone());
        ensure(*known == here, Property::TotalOrder, || {
            format!("{p} tells that {here:?} is at {position}, where {known:?} was")
        })?;
        let before = *self.positions.entry(payload.clone()).or_insert(position);
        ensure(before == position, Property::PublishedOnce, || {
            format!("{p} tells that {payload:?} is at {position}, and it was at {before}")
        })
    }

    /// Positions of a topic that anybody was told of.
    pub(in crate::sim) fn known(&self, topic: &str, range: Range<u64>) -> impl Iterator<Item = u64> {
        let range = range.start.min(range.end)..range.end;
        self.at.range(range).filter(move |(_, (of, _))| *of == topic).map(|(position, _)| *position)
    }

    /// A reader finds these at a process whose log was applied to `end`; there were no more.
    pub(in crate::sim) fn reads(
        &mut self,
        p: ProcessId,
        topic: &'static str,
        (cursor, end): (u64, u64),
        found: &[Publication],
    ) -> Verdict {
        let mut next = cursor;
        for Publication { position, payload } in found {
            ensure(*position >= next, Property::TotalOrder, || {
                format!("{p} shows {position} of {topic} to a reader that stands at {next}")
            })?;
            self.tells(p, topic, *position, payload)?;
            next = position + 1;
        }
        let missed = |(position, (of, _)): &(&u64, &(&'static str, Bytes))| {
            *of == topic && !found.iter().any(|f| f.position == **position)
        };
        let missed = self.at.range(cursor.min(end)..end).find(missed);
        ensure(missed.is_none(), Property::Retention, || {
            format!("{p} lets a reader of {topic} from {cursor} miss {missed:?}")
        })
    }
}

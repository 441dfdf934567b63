//! Atomicity of a register, judged by the tags of its operations.
//!
//! The order of the tags is one in which every operation takes effect while it lasts, if (Lynch,
//! *Distributed Algorithms*, Lemma 13.16) an operation that begins after another has returned has no
//! lower tag, a write a higher one, and reads return what was written with their tag.

use super::property::{Property, Verdict, ensure};
use crate::kernel::ProcessId;
use crate::register::{Returned, Tag, tag};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// An operation as its caller knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Begun {
    /// Who was asked.
    pub(super) at: ProcessId,
    /// Whether it writes.
    pub(super) writes: bool,
    /// The highest tag that had been returned when it began.
    pub(super) floor: Tag,
}

/// A register, as all who use it together know it.
#[derive(Clone, Debug)]
pub(super) struct Atomicity {
    name: &'static str,
    /// The highest tag that was returned to anybody.
    returned: Tag,
    /// The value of each tag that was returned.
    values: BTreeMap<Tag, Bytes>,
    /// Tags under which writes returned.
    writes: BTreeSet<Tag>,
    /// Values that somebody has begun to write.
    begun: BTreeSet<Bytes>,
}

impl Atomicity {
    pub(super) fn new(name: &'static str) -> Self {
        let returned = Tag::default();
        Self { name, returned, values: BTreeMap::new(), writes: BTreeSet::new(), begun: BTreeSet::new() }
    }

    /// An operation begins: a write of a value, or a read.
    pub(super) fn begin(&mut self, at: ProcessId, value: Option<&Bytes>) -> Begun {
        self.begun.extend(value.cloned());
        Begun { at, writes: value.is_some(), floor: self.returned }
    }

    /// An operation returned.
    pub(super) fn end(&mut self, begun: Begun, returned: &Returned) -> Verdict {
        let Begun { at, writes, floor } = begun;
        let (name, tag) = (self.name, tag(returned));
        let verb = if writes { "writes" } else { "reads" };
        let late = if writes { tag <= floor } else { tag < floor };
        ensure(!late, Property::RegisterAtomicity, || {
            format!(
                "{at} {verb} {name} at {tag}, though an operation at {floor} had returned before it began"
            )
        })?;
        if let Some(cell) = returned {
            ensure(self.begun.contains(&cell.value), Property::RegisterAtomicity, || {
                format!("{at} {verb} {:?} of {name}, which nobody wrote", cell.value)
            })?;
            let value = self.values.entry(tag).or_insert_with(|| cell.value.clone());
            ensure(*value == cell.value, Property::RegisterAtomicity, || {
                format!("{name} has two values at {tag}: {value:?} and {:?}", cell.value)
            })?;
        }
        if writes {
            ensure(self.writes.insert(tag), Property::RegisterAtomicity, || {
                format!("two writes of {name} have the tag {tag}")
            })?;
        }
        self.returned = self.returned.max(tag);
        Ok(())
    }
}

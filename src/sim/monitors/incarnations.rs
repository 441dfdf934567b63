//! Incarnations: nothing happens at a process between its crash and its recovery; its incarnation
//! grows by one at each boot, and is durable before anything leaves.

use super::{Property, Verdict, ensure};
use crate::kernel::{Incarnation, ProcessId};
use crate::sim::facts::Facts;

#[derive(Debug)]
pub(super) struct Incarnations {
    /// The incarnation of each process that is up.
    up: Vec<Option<Incarnation>>,
    /// Those that were durable when the process crashed.
    durable: Vec<Incarnation>,
}

impl Incarnations {
    pub(super) fn new(processes: usize) -> Self {
        Self { up: vec![None; processes], durable: vec![0; processes] }
    }

    pub(super) fn booted(&mut self, p: ProcessId, inc: Incarnation, facts: &Facts) -> Verdict {
        let i = p.index();
        ensure(self.up[i].is_none(), Property::Incarnations, || format!("{p} boots twice"))?;
        ensure(inc == facts.inc + 1, Property::Incarnations, || {
            format!("{p} boots as incarnation {inc}, and the last durable one is {}", facts.inc)
        })?;
        ensure(facts.inc >= self.durable[i], Property::Incarnations, || {
            format!(
                "{p} finds incarnation {} on its disk, and lived as {} before",
                facts.inc, self.durable[i]
            )
        })?;
        self.up[i] = Some(inc);
        Ok(())
    }

    pub(super) fn crashed(&mut self, p: ProcessId) {
        self.up[p.index()] = None;
    }

    /// A disk that lost its memory starts over.
    pub(super) fn wiped(&mut self, p: ProcessId) {
        self.durable[p.index()] = 0;
    }

    pub(super) fn said(&mut self, p: ProcessId, inc: Incarnation) -> Verdict {
        let i = p.index();
        ensure(self.up[i] == Some(inc), Property::Incarnations, || {
            format!("{p} speaks as incarnation {inc} while it is {:?}", self.up[i])
        })?;
        self.durable[i] = self.durable[i].max(inc);
        Ok(())
    }
}

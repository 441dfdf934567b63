//! Consensus by instance: what was proposed, and what was decided. A process that shows a decision
//! shows it in every later state, and so does every other process.

use super::{Property, Verdict, ensure};
use crate::kernel::ProcessId;
use crate::ledger::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A decision that somebody was told.
#[derive(Debug)]
struct Decided {
    value: Bytes,
    /// Who told it first.
    by: ProcessId,
    /// The shortest prefix of the log after which somebody told it.
    end: u64,
}

/// What was proposed and decided so far.
#[derive(Debug, Default)]
pub(in crate::sim) struct Decisions {
    proposed: BTreeMap<String, BTreeSet<Bytes>>,
    decided: BTreeMap<String, Decided>,
}

impl Decisions {
    /// A client proposes.
    pub(in crate::sim) fn proposes(&mut self, instance: &str, value: Bytes) {
        self.proposed.entry(instance.to_owned()).or_default().insert(value);
    }

    /// A process tells a decision, after this prefix of the log.
    pub(in crate::sim) fn decides(
        &mut self,
        p: ProcessId,
        instance: &str,
        value: &Bytes,
        end: u64,
    ) -> Verdict {
        let proposed = self.proposed.get(instance).is_some_and(|values| values.contains(value));
        ensure(proposed, Property::ConsensusValidity, || {
            format!("{p} tells that {instance} decides {value:?}, which nobody proposed")
        })?;
        let new = || Decided { value: value.clone(), by: p, end };
        let known = self.decided.entry(instance.to_owned()).or_insert_with(new);
        known.end = known.end.min(end);
        let property = match known.by == p {
            true => Property::ConsensusIntegrity,
            false => Property::ConsensusAgreement,
        };
        ensure(known.value == *value, property, || {
            format!("{p} tells that {instance} decides {value:?}, and {} told {:?}", known.by, known.value)
        })
    }

    /// A process shows a state.
    pub(in crate::sim) fn shows(&mut self, p: ProcessId, view: &View) -> Verdict {
        for (instance, value) in view.instances().decisions() {
            self.decides(p, instance, value, view.end())?;
        }
        for (instance, known) in self.decided.iter().filter(|(_, known)| known.end <= view.end()) {
            ensure(view.decision(instance).is_some(), Property::ConsensusIntegrity, || {
                format!("{p} shows no decision of {instance}, and {} told {:?}", known.by, known.value)
            })?;
        }
        Ok(())
    }
}

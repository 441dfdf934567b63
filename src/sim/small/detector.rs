//! The leader detector Ω in the small world: at random alone, since it speaks of what is in the end.

use super::elector::{Ask, Elector, Told};
use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{Ballot, Mutant, ProcessId};
use crate::sim::property::{Property, Verdict, ensure};
use std::collections::BTreeSet;

/// Processes that trust one of them, and now and then stand for no reason.
#[derive(Clone, Debug)]
pub(super) struct LeaderDetector;

impl Scenario for LeaderDetector {
    const NAME: &'static str = "detector";
    const PROPERTIES: &'static [Property] = &[Property::LeaderAccuracy, Property::LeaderAgreement];
    const TRIALS: &'static [Trial] = &[
        Trial { mutant: Mutant::CandidacyUnconnected, by: Property::LeaderAccuracy, seeds: 40, within: None },
        Trial { mutant: Mutant::CandidacyOnNack, by: Property::LeaderAgreement, seeds: 100, within: None },
    ];
    const CLOSED: Option<Size> = None;
    const WIDE: Option<Size> = None;
    type Process = Elector;
    type Monitor = Followers;
}

/// Those who want to know whom to follow.
#[derive(Clone, Debug)]
pub(super) struct Followers {
    asked: usize,
    trusted: Vec<Option<Ballot>>,
    /// Who has trusted whom since nothing may change any more; none before that.
    changes: Option<BTreeSet<(ProcessId, Ballot)>>,
}

impl Monitor<Elector> for Followers {
    fn new(processes: usize) -> Self {
        Self { asked: 0, trusted: vec![None; processes], changes: None }
    }

    fn asks(&self, _at: At<'_>, allowed: usize) -> Vec<Ask> {
        if self.asked < allowed { vec![Ask::Stand] } else { Vec::new() }
    }

    fn asked(&mut self, _at: At<'_>, _request: &Ask) {
        self.asked += 1;
    }

    fn indicated(&mut self, at: At<'_>, told: &Told) -> Verdict {
        let Told::Trust(ballot) = told else { return Ok(()) };
        self.trusted[at.process.index()] = *ballot;
        if let Some(changes) = &mut self.changes {
            changes.insert((at.process, ballot.unwrap_or_default()));
        }
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.trusted[process.index()] = None;
    }

    fn settled(&mut self) {
        self.changes = Some(BTreeSet::new());
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        let trusts = |p: ProcessId| self.trusted[p.index()];
        let leads = |p: &ProcessId| trusts(*p).is_some_and(|ballot| ballot.process == *p);
        let mut leaders = up.iter().map(|at| at.process).filter(leads);
        let changes = self.changes.iter().flatten().copied();
        let now = up.iter().filter_map(|at| Some((at.process, trusts(at.process)?)));
        for (p, ballot) in changes.clone().chain(now).filter(|(_, ballot)| *ballot != Ballot::ZERO) {
            ensure(links.hears_majority(ballot.process), Property::LeaderAccuracy, || {
                format!("{p} trusts {}, which hears no majority", ballot.process)
            })?;
        }
        if let Some((p, ballot)) = changes.clone().next() {
            ensure(false, Property::LeaderAgreement, || {
                format!("{p} goes over to trust ballot {ballot}, though faults stopped long ago")
            })?;
        }
        let followed = |leader: ProcessId| {
            up.iter()
                .filter(|at| links.linked(at.process, leader))
                .all(|at| trusts(at.process) == trusts(leader))
        };
        // Beside it there may be an older one, where not everybody hears everybody.
        ensure(leaders.any(followed), Property::LeaderAgreement, || {
            format!("no leader is trusted by all that hear it: {:?}", self.trusted)
        })
    }
}

//! The leader detector Ω in the small world: at random alone, since it speaks of what is in the end.

use super::elector::{Ask, Elector, Told};
use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{Ballot, Mutant, ProcessId};
use crate::sim::property::{Property, Verdict, ensure};

/// Processes that trust one of them, and now and then stand for no reason.
#[derive(Clone, Debug)]
pub(super) struct LeaderDetector;

impl Scenario for LeaderDetector {
    const NAME: &'static str = "detector";
    const PROPERTIES: &'static [Property] = &[Property::LeaderAccuracy, Property::LeaderAgreement];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::CandidacyUnconnected,
            by: Property::LeaderAccuracy,
            seeds: 400,
            within: None,
        },
        Trial { mutant: Mutant::CandidacyOnNack, by: Property::LeaderAgreement, seeds: 100, within: None },
        Trial {
            mutant: Mutant::HappyWithoutMajority,
            by: Property::LeaderAgreement,
            seeds: 100,
            within: None,
        },
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
    /// Whether nothing may change any more.
    settled: bool,
}

impl Monitor<Elector> for Followers {
    fn new(processes: usize) -> Self {
        Self { asked: 0, trusted: vec![None; processes], settled: false }
    }

    fn asks(&self, _at: At<'_>, allowed: usize) -> Vec<Ask> {
        if self.asked < allowed { vec![Ask::Stand] } else { Vec::new() }
    }

    fn asked(&mut self, _at: At<'_>, _request: &Ask) {
        self.asked += 1;
    }

    fn indicated(&mut self, at: At<'_>, told: &Told) -> Verdict {
        let Told::Trust(ballot) = told else { return Ok(()) };
        let before = std::mem::replace(&mut self.trusted[at.process.index()], *ballot);
        ensure(!self.settled, Property::LeaderAgreement, || {
            format!("{} trusts {ballot:?} after {before:?}, though faults stopped long ago", at.process)
        })
    }

    fn crashed(&mut self, process: ProcessId) {
        self.trusted[process.index()] = None;
    }

    fn settled(&mut self) {
        self.settled = true;
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        let trusts = |p: ProcessId| self.trusted[p.index()];
        let leads = |p: &ProcessId| trusts(*p).is_some_and(|ballot| ballot.process == *p);
        let mut leaders = up.iter().map(|at| at.process).filter(leads);
        for p in up.iter().map(|at| at.process) {
            let Some(ballot) = trusts(p) else { continue };
            ensure(links.hears_majority(ballot.process), Property::LeaderAccuracy, || {
                format!("{p} trusts {}, which hears no majority", ballot.process)
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

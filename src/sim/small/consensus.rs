//! Consensus by instance in the small world: each index of the log is one.

use super::elector::{Ask, Elector, Told};
use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{Mutant, ProcessId};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Processes that propose, and now and then stand for leader for no reason.
#[derive(Clone, Debug)]
pub(super) struct Consensus;

impl Scenario for Consensus {
    const NAME: &'static str = "consensus";
    const PROPERTIES: &'static [Property] = &[
        Property::ConsensusTermination,
        Property::ConsensusValidity,
        Property::ConsensusIntegrity,
        Property::ConsensusAgreement,
    ];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::LatePromiseIgnored,
            by: Property::ConsensusTermination,
            seeds: 40,
            within: None,
        },
        Trial { mutant: Mutant::GapFilled, by: Property::ConsensusValidity, seeds: 100, within: None },
        Trial {
            mutant: Mutant::QuorumOfMessages,
            by: Property::ConsensusAgreement,
            seeds: 100,
            within: Some(Size { requests: 4, ticks: 0, ..Size::THREE }),
        },
        Trial {
            mutant: Mutant::StoreAdoptionApart,
            by: Property::ConsensusAgreement,
            seeds: 100,
            within: None,
        },
    ];
    const CLOSED: Option<Size> = Some(Size { requests: 3, ticks: 0, ..Size::TWO });
    const WIDE: Option<Size> = Some(Size { requests: 3, ticks: 0, ..Size::THREE });
    type Process = Elector;
    type Monitor = Proposers;
}

/// Those who propose, and what they are told.
#[derive(Clone, Debug)]
pub(super) struct Proposers {
    asked: usize,
    proposed: BTreeSet<Bytes>,
    /// Per instance what somebody decided, and who was the first.
    decided: Vec<(Bytes, ProcessId)>,
    processes: Vec<Proposer>,
}

/// One process, as those who ask it know it.
#[derive(Clone, Debug, Default)]
struct Proposer {
    /// Proposed in this incarnation, and not decided here.
    waiting: Vec<Bytes>,
    /// Instances that it decided in this incarnation.
    instances: u64,
    /// Everything that it ever decided, in any incarnation, by instance.
    decisions: Vec<Bytes>,
}

impl Monitor<Elector> for Proposers {
    fn new(processes: usize) -> Self {
        let processes = vec![Proposer::default(); processes];
        Self { asked: 0, proposed: BTreeSet::new(), decided: Vec::new(), processes }
    }

    fn asks(&self, _at: At<'_>, allowed: usize) -> Vec<Ask> {
        if self.asked >= allowed {
            return Vec::new();
        }
        vec![Ask::Propose(format!("v{}", self.asked).into()), Ask::Stand]
    }

    fn asked(&mut self, at: At<'_>, request: &Ask) {
        self.asked += 1;
        if let Ask::Propose(value) = request {
            self.proposed.insert(value.clone());
            self.processes[at.process.index()].waiting.push(value.clone());
        }
    }

    fn indicated(&mut self, at: At<'_>, told: &Told) -> Verdict {
        let Told::Decide { instance, value } = told else { return Ok(()) };
        let (p, proposer) = (at.process, &mut self.processes[at.process.index()]);
        ensure(self.proposed.contains(value), Property::ConsensusValidity, || {
            format!("{p} decides {value:?} in instance {instance}, which nobody proposed")
        })?;
        ensure(*instance == proposer.instances, Property::ConsensusIntegrity, || {
            format!("{p} decides instance {instance} after {} others in one life", proposer.instances)
        })?;
        proposer.instances += 1;
        match proposer.decisions.get(*instance as usize) {
            None => proposer.decisions.push(value.clone()),
            Some(before) => ensure(before == value, Property::ConsensusIntegrity, || {
                format!("{p} decides {value:?} in instance {instance}, and had decided {before:?}")
            })?,
        }
        proposer.waiting.retain(|waiting| waiting != value);
        match self.decided.get(*instance as usize) {
            None => self.decided.push((value.clone(), p)),
            Some((before, by)) => ensure(before == value, Property::ConsensusAgreement, || {
                format!("{p} decides {value:?} in instance {instance}, and {by} decided {before:?}")
            })?,
        }
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        let proposer = &mut self.processes[process.index()];
        proposer.waiting.clear();
        proposer.instances = 0;
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        // Where links are missing, some may hear no leader for ever.
        for at in up.iter().filter(|_| links.is_whole()) {
            let (p, proposer) = (at.process, &self.processes[at.process.index()]);
            ensure(proposer.instances == self.decided.len() as u64, Property::ConsensusTermination, || {
                format!("{p} knows of {} decisions, and there are {}", proposer.instances, self.decided.len())
            })?;
            ensure(proposer.waiting.is_empty(), Property::ConsensusTermination, || {
                format!("{:?}, proposed at {p}, never were decided", proposer.waiting)
            })?;
        }
        Ok(())
    }
}

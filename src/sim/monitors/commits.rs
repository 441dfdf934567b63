//! Atomic commit: who voted how, whose time ran out, and what was told of it.

use super::{Property, Verdict, ensure};
use crate::atomic_commit::{Outcome, Status, Vote};
use crate::kernel::ProcessId;
use crate::ledger::View;
use crate::sim::coverage::Coverage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What participants did, and what they were told.
#[derive(Debug, Default)]
pub(in crate::sim) struct Commits {
    /// Who voted yes on which name.
    yes: BTreeSet<(String, String)>,
    no: BTreeSet<(String, String)>,
    acknowledged: BTreeSet<(String, String)>,
    /// Transactions, by the log entry that began them and by name, of which somebody said that their
    /// time ran out.
    late: BTreeSet<(u64, Arc<str>)>,
    /// Their outcomes, and who told them first.
    outcomes: BTreeMap<(Arc<str>, u64), (Outcome, ProcessId)>,
}

impl Commits {
    /// A participant votes.
    pub(in crate::sim) fn votes(&mut self, transaction: &str, participant: &str, vote: &Vote) {
        let votes = match vote {
            Vote::Yes => &mut self.yes,
            Vote::No(_) => &mut self.no,
        };
        votes.insert((transaction.to_owned(), participant.to_owned()));
    }

    /// A participant acknowledges.
    pub(in crate::sim) fn acknowledges(&mut self, transaction: &str, participant: &str) {
        self.acknowledged.insert((transaction.to_owned(), participant.to_owned()));
    }

    /// A leader says that the time of a transaction ran out.
    pub(in crate::sim) fn late(&mut self, transaction: &Arc<str>, begun: u64) {
        self.late.insert((begun, transaction.clone()));
    }

    /// Somebody's time ran out before: one that may be said again.
    pub(in crate::sim) fn late_before(&self, choice: usize) -> Option<&(u64, Arc<str>)> {
        self.late.iter().nth(choice % self.late.len().max(1))
    }

    /// A process tells how a transaction stands.
    pub(in crate::sim) fn tells(
        &mut self,
        p: ProcessId,
        status: &Status,
        coverage: &mut Coverage,
    ) -> Verdict {
        let name = &status.name;
        let did =
            |set: &BTreeSet<(String, String)>, who: &str| set.contains(&(name.to_string(), who.to_owned()));
        for (participant, state) in &status.participants {
            let invented = state.acknowledged && !did(&self.acknowledged, participant);
            ensure(!invented, Property::CommitRedelivery, || {
                format!("{p} takes {name} for acknowledged by {participant}, who did not acknowledge it")
            })?;
        }
        let Some(outcome) = &status.outcome else { return Ok(()) };
        match outcome {
            Outcome::Committed => {
                let missing = status.participants.keys().find(|who| !did(&self.yes, who));
                ensure(missing.is_none(), Property::CommitValidity, || {
                    format!("{p} tells that {name} is committed, and {missing:?} did not vote yes")
                })?;
            }
            Outcome::Aborted { by: Some(by), .. } => {
                ensure(did(&self.no, by), Property::AbortValidity, || {
                    format!("{p} tells that {by} aborted {name}, and it did not vote no")
                })?;
            }
            Outcome::Aborted { by: None, .. } => {
                let late = self.late.contains(&(status.begun, name.clone()));
                ensure(late, Property::AbortValidity, || {
                    format!("{p} tells that the time of {name} ran out, and nobody found that")
                })?;
            }
        }
        let (known, by) = self.outcomes.entry((name.clone(), status.begun)).or_insert_with(|| {
            match outcome {
                Outcome::Committed => coverage.commits += 1,
                Outcome::Aborted { by: Some(_), .. } => coverage.vetoes += 1,
                Outcome::Aborted { by: None, .. } => coverage.timeouts += 1,
            }
            (outcome.clone(), p)
        });
        let property = if *by == p { Property::CommitIntegrity } else { Property::CommitAgreement };
        ensure(known == outcome, property, || {
            format!("{p} tells that {name} is {outcome}, and {by} told that it is {known}")
        })
    }

    /// A process shows a state.
    pub(in crate::sim) fn shows(&mut self, p: ProcessId, view: &View, coverage: &mut Coverage) -> Verdict {
        for (name, transaction) in view.transactions().table() {
            self.tells(p, &transaction.status(name), coverage)?;
            if transaction.outcome().is_none() {
                continue;
            }
            for participant in transaction.unacknowledged() {
                let owed = view.owed(participant).any(|(owed, _)| owed == *name);
                ensure(owed, Property::CommitRedelivery, || {
                    format!("{p} owes {participant} no outcome of {name}, which it did not acknowledge")
                })?;
            }
        }
        Ok(())
    }
}

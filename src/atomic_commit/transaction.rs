//! One transaction.

use super::error::CommitError;
use super::vote::{Outcome, Reason, Vote};
use crate::kernel::{Mutant, Mutants};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A transaction. Invariants: once there is an outcome it stays, and no vote is added; only an
/// outcome is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transaction {
    begun: u64,
    timeout: u64,
    participants: BTreeMap<Arc<str>, Participant>,
    /// With the log entry that brought it.
    outcome: Option<(u64, Outcome)>,
    /// The log entry with the last acknowledgement.
    finished: Option<u64>,
}

/// A participant of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Participant {
    /// Its vote, once it has voted.
    pub vote: Option<Vote>,
    /// Whether it has acknowledged the outcome.
    pub acknowledged: bool,
}

/// A transaction as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// The log entry that began it: no two transactions share one, though they may share a name.
    pub begun: u64,
    /// Milliseconds after which it is aborted, as the leader measures them.
    pub timeout: u64,
    /// Who takes part.
    pub participants: BTreeMap<Arc<str>, Participant>,
    /// Its outcome, once it has one.
    pub outcome: Option<Outcome>,
}

impl Transaction {
    pub(super) fn new(begun: u64, participants: &[String], timeout: u64) -> Self {
        let participants = participants.iter().map(|name| (name.as_str().into(), Participant::default()));
        Self { begun, timeout, participants: participants.collect(), outcome: None, finished: None }
    }

    /// Whether it began like this.
    pub(super) fn is_of(&self, participants: &[String], timeout: u64) -> bool {
        let same = |name: &String| self.participants.contains_key(name.as_str());
        let named: std::collections::BTreeSet<&String> = participants.iter().collect();
        self.timeout == timeout && named.len() == self.participants.len() && participants.iter().all(same)
    }

    pub(super) fn vote(
        &mut self,
        index: u64,
        name: &str,
        participant: &str,
        vote: Vote,
        mutants: Mutants,
    ) -> Result<(), CommitError> {
        let at = self.participant(name, participant)?;
        match &at.vote {
            Some(before) if *before == vote => return Ok(()),
            Some(before) => {
                return Err(CommitError::VotedOtherwise {
                    transaction: name.to_owned(),
                    participant: participant.to_owned(),
                    before: before.clone(),
                });
            }
            None => {}
        }
        if let Some((_, outcome)) = &self.outcome
            && !mutants.on(Mutant::LateVoteFlips)
        {
            return Err(CommitError::AfterOutcome { transaction: name.to_owned(), outcome: outcome.clone() });
        }
        self.participant(name, participant)?.vote = Some(vote.clone());
        let yes = |p: &Participant| p.vote == Some(Vote::Yes);
        let outcome = match vote {
            Vote::No(reason) => Outcome::Aborted { by: Some(participant.to_owned()), reason },
            Vote::Yes if self.participants.values().all(yes) => Outcome::Committed,
            Vote::Yes if mutants.on(Mutant::CommitWithoutAll) && self.has_majority() => Outcome::Committed,
            Vote::Yes => return Ok(()),
        };
        self.outcome = Some((index, outcome));
        Ok(())
    }

    fn has_majority(&self) -> bool {
        2 * self.participants.values().filter(|p| p.vote.is_some()).count() > self.participants.len()
    }

    pub(super) fn time_out(&mut self, index: u64, mutants: Mutants) {
        if self.outcome.is_none() || mutants.on(Mutant::TimeoutAfterOutcome) {
            self.outcome = Some((index, Outcome::Aborted { by: None, reason: Reason::Suspected }));
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        index: u64,
        name: &str,
        participant: &str,
        mutants: Mutants,
    ) -> Result<(), CommitError> {
        let decided = self.outcome.is_some();
        let at = self.participant(name, participant)?;
        if !decided {
            return Err(CommitError::NeverDelivered { transaction: name.to_owned() });
        }
        at.acknowledged = true;
        if mutants.on(Mutant::OneAcknowledgesForAll) {
            self.participants.values_mut().for_each(|p| p.acknowledged = true);
        }
        if self.finished.is_none() && self.participants.values().all(|p| p.acknowledged) {
            self.finished = Some(index);
        }
        Ok(())
    }

    fn participant(&mut self, name: &str, participant: &str) -> Result<&mut Participant, CommitError> {
        self.participants.get_mut(participant).ok_or_else(|| CommitError::NotAParticipant {
            transaction: name.to_owned(),
            participant: participant.to_owned(),
        })
    }

    /// The log entry that began it.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Milliseconds after which it is aborted.
    pub fn timeout(&self) -> u64 {
        self.timeout
    }

    /// Who takes part.
    pub fn participants(&self) -> &BTreeMap<Arc<str>, Participant> {
        &self.participants
    }

    /// Who has not acknowledged the outcome.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Arc<str>> {
        self.participants.iter().filter(|(_, p)| !p.acknowledged).map(|(name, _)| name)
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref().map(|(_, outcome)| outcome)
    }

    /// The log entry that brought the outcome.
    pub fn decided(&self) -> Option<u64> {
        self.outcome.as_ref().map(|(index, _)| *index)
    }

    /// The log entry with the last acknowledgement.
    pub fn finished(&self) -> Option<u64> {
        self.finished
    }

    /// As it stands.
    pub fn status(&self, name: &Arc<str>) -> Status {
        Status {
            name: name.clone(),
            begun: self.begun,
            timeout: self.timeout,
            participants: self.participants.clone(),
            outcome: self.outcome().cloned(),
        }
    }
}

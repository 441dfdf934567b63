//! Logged non-blocking atomic commit.
//!
//! Requests: Begin(transaction, participants, timeout); Vote(transaction, yes, or no with a
//! reason); Acknowledge(transaction). Indication: Outcome(transaction, committed or aborted), to
//! every participant, again and again until it acknowledges.
//!
//! Properties, while a majority of processes is correct:
//! * *termination*: every transaction that has begun gets an outcome: when all have voted, when one
//!   votes no, or when its time runs out;
//! * *abort validity*: it is aborted only if a participant votes no, or its time ran out;
//! * *commit validity*: it is committed only if every participant votes yes;
//! * *integrity*: it has one outcome, for ever;
//! * *uniform agreement*: no two processes tell different outcomes.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Module 6.6 (non-blocking atomic commit), in its fail-recovery form: the consensus of
//! Algorithm 6.5 is the replicated log. Each vote is one entry; **the first entry that is decisive
//! wins**. That the time ran out is itself an entry, an abort: no process takes its own clock for a
//! decision.
//!
//! **Durable first**: the vote, in the log. **On recovery** a participant asks for the outcomes that
//! it has not acknowledged; it filters those that it has seen, by name.
//!
//! A transaction is finished when every participant has acknowledged its outcome; of the finished
//! ones the last are remembered, and then their names are free again.

mod error;
mod timeouts;
mod transaction;
mod vote;

#[cfg(test)]
mod tests;

pub use error::CommitError;
pub use timeouts::Timeouts;
pub use transaction::{Participant, Status, Transaction};
pub use vote::{Outcome, Reason, Vote};

use crate::kernel::{MAX_NAME, MAX_TEXT, Mutant, Mutants, ReplicatedBounds};
use imbl::OrdMap;
use std::sync::Arc;

/// The transactions, as the log has them so far. Cloning is O(1).
///
/// Invariant: `undecided`, `owed` and `finished` follow from `table`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Transactions {
    table: OrdMap<Arc<str>, Arc<Transaction>>,
    /// By the log entry that began them.
    undecided: OrdMap<u64, Arc<str>>,
    /// By participant, and the log entry that decided them: outcomes that it has not acknowledged.
    owed: OrdMap<(Arc<str>, u64), Arc<str>>,
    /// By the log entry of the last acknowledgement.
    finished: OrdMap<u64, Arc<str>>,
}

impl Transactions {
    /// The log delivers Begin, at `index`. Begun again with the same participants and timeout, it
    /// is the same transaction.
    ///
    /// # Errors
    /// No transaction has begun.
    pub fn begin(
        &mut self,
        index: u64,
        name: &str,
        participants: &[String],
        timeout: u64,
        bounds: &ReplicatedBounds,
    ) -> Result<Status, CommitError> {
        if let Some((name, known)) = self.table.get_key_value(name) {
            return match known.is_of(participants, timeout) {
                true => Ok(known.status(name)),
                false => Err(CommitError::BegunOtherwise { transaction: name.to_string() }),
            };
        }
        let names = [name].into_iter().chain(participants.iter().map(String::as_str));
        if let Some(bad) = names.map(str::len).find(|len| *len == 0 || *len > MAX_NAME) {
            return Err(CommitError::Name(bad));
        }
        let transaction = Transaction::new(index, participants, timeout);
        match transaction.participants().len() as u64 {
            0 => return Err(CommitError::NoParticipants),
            count if count > bounds.participants => {
                return Err(CommitError::TooManyParticipants { count, limit: bounds.participants });
            }
            _ => {}
        }
        if (self.table.len() - self.finished.len()) as u64 >= bounds.transactions {
            return Err(CommitError::TooManyTransactions { limit: bounds.transactions });
        }
        let name: Arc<str> = name.into();
        let status = transaction.status(&name);
        self.restore(name, transaction);
        Ok(status)
    }

    /// The log delivers a vote, at `index`. The same vote again changes nothing.
    ///
    /// # Errors
    /// The vote does not count.
    pub fn vote(
        &mut self,
        index: u64,
        name: &str,
        participant: &str,
        vote: Vote,
        mutants: Mutants,
    ) -> Result<Status, CommitError> {
        if let Vote::No(Reason::Other(text)) = &vote
            && text.len() > MAX_TEXT
        {
            return Err(CommitError::Text(text.len()));
        }
        self.change(name, |transaction| transaction.vote(index, name, participant, vote, mutants))
    }

    /// The log delivers that the time of a transaction ran out, at `index`: it is aborted, unless
    /// it is decided. `begun` is the log entry that began it: a transaction of the same name that
    /// began later is another.
    ///
    /// # Errors
    /// There is no such transaction.
    pub fn time_out(
        &mut self,
        index: u64,
        name: &str,
        begun: u64,
        mutants: Mutants,
    ) -> Result<Status, CommitError> {
        self.change(name, |transaction| {
            if transaction.begun() != begun && !mutants.on(Mutant::TimeoutOfAnother) {
                return Err(CommitError::Unknown { transaction: name.to_owned() });
            }
            transaction.time_out(index, mutants);
            Ok(())
        })
    }

    /// The log delivers an acknowledgement, at `index`: the outcome is not told to this participant
    /// again. Acknowledged again, nothing changes.
    ///
    /// # Errors
    /// There is nothing that could be acknowledged.
    pub fn acknowledge(
        &mut self,
        index: u64,
        name: &str,
        participant: &str,
        bounds: &ReplicatedBounds,
        mutants: Mutants,
    ) -> Result<Status, CommitError> {
        let status =
            self.change(name, |transaction| transaction.acknowledge(index, name, participant, mutants))?;
        while self.finished.len() as u64 > bounds.finished {
            let Some((_, oldest)) = self.finished.get_min().cloned() else { break };
            self.forget(&oldest);
        }
        Ok(status)
    }

    /// Changes a transaction, and what follows from it.
    fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Transaction) -> Result<(), CommitError>,
    ) -> Result<Status, CommitError> {
        let Some((name, known)) = self.table.get_key_value(name) else {
            return Err(CommitError::Unknown { transaction: name.to_owned() });
        };
        let (name, before) = (name.clone(), known.clone());
        let mut now = (*before).clone();
        change(&mut now)?;
        if now != *before {
            self.forget(&name);
            self.restore(name.clone(), now.clone());
        }
        Ok(now.status(&name))
    }

    /// Takes a transaction as it is now, or as a checkpoint has it.
    pub fn restore(&mut self, name: Arc<str>, transaction: Transaction) {
        match (transaction.decided(), transaction.finished()) {
            (None, _) => drop(self.undecided.insert(transaction.begun(), name.clone())),
            (Some(decided), None) => {
                for participant in transaction.unacknowledged() {
                    self.owed.insert((participant.clone(), decided), name.clone());
                }
            }
            (Some(_), Some(finished)) => drop(self.finished.insert(finished, name.clone())),
        }
        self.table.insert(name, Arc::new(transaction));
    }

    fn forget(&mut self, name: &Arc<str>) {
        let Some(transaction) = self.table.remove(name) else { return };
        self.undecided.remove(&transaction.begun());
        if let Some(decided) = transaction.decided() {
            for participant in transaction.participants().keys() {
                self.owed.remove(&(participant.clone(), decided));
            }
        }
        if let Some(finished) = transaction.finished() {
            self.finished.remove(&finished);
        }
    }

    /// A transaction as it stands; nothing where it has not begun, or is forgotten.
    pub fn status(&self, name: &str) -> Option<Status> {
        self.table.get_key_value(name).map(|(name, transaction)| transaction.status(name))
    }

    /// Outcomes that a participant has not acknowledged, the oldest first: to be delivered to it
    /// again.
    pub fn owed(&self, participant: &str) -> impl Iterator<Item = (Arc<str>, Outcome)> {
        let participant: Arc<str> = participant.into();
        let owed = self.owed.range((participant.clone(), 0)..=(participant, u64::MAX));
        owed.filter_map(|(_, name)| Some((name.clone(), self.table.get(name)?.outcome()?.clone())))
    }

    /// Transactions without an outcome: their names, the log entries that began them, and after how
    /// many milliseconds their time runs out.
    pub fn undecided(&self) -> impl Iterator<Item = (&Arc<str>, u64, u64)> {
        self.undecided
            .iter()
            .filter_map(|(begun, name)| Some((name, *begun, self.table.get(name)?.timeout())))
    }

    /// Every transaction that is remembered, by name.
    pub fn table(&self) -> &OrdMap<Arc<str>, Arc<Transaction>> {
        &self.table
    }
}

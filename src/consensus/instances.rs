//! Logged uniform consensus, by instance.
//!
//! Request: Propose(instance, value), at any process. Indication: Decide(instance, value), at every
//! process.
//!
//! Properties, while a majority of processes is correct:
//! * *termination*: a proposal of a process that stays up is answered by a decision;
//! * *validity*: what is decided was proposed;
//! * *integrity*: an instance has one decision, for ever, across crashes;
//! * *uniform agreement*: no two processes decide differently.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Module 5.6 (logged uniform consensus), and Exercise 6.1's other direction:
//! consensus from total-order broadcast. Proposals go into the replicated log; **the first one that
//! the log delivers is the decision**. There is no second consensus.
//!
//! **Durable first**: the log entry. **On recovery** the decisions are those of the checkpoint and
//! of the log after it.

use crate::kernel::{MAX_NAME, Mutant, Mutants, ReplicatedBounds};
use bytes::Bytes;
use imbl::OrdMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a proposal was refused. Nothing has changed, and nothing was decided by it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ProposeError {
    /// The instance has no name, or too long a one.
    #[error("the name of an instance must have 1 to {MAX_NAME} bytes, and this one has {0}")]
    Name(usize),
    /// The value is larger than a decision may be.
    #[error("a proposal of {size} bytes, and at most {limit} can be decided: propose a reference to it")]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// The most.
        limit: u64,
    },
    /// There are as many instances as there may be, and this one is new.
    #[error("there are {limit} instances already, and no decision is ever forgotten: raise the bound")]
    TooMany {
        /// The most.
        limit: u64,
    },
    /// The decisions take as much room as they may.
    #[error("the decisions take {limit} bytes already, and none is ever forgotten: raise the bound")]
    Full {
        /// The most.
        limit: u64,
    },
}

/// The instances of consensus that were decided. Cloning is O(1).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Instances {
    decisions: OrdMap<Arc<str>, Bytes>,
    bytes: u64,
}

impl Instances {
    /// The log delivers a proposal: it is the decision, if it is the first of its instance. Returns
    /// the decision.
    ///
    /// # Errors
    /// The instance is new, and there is no room for it.
    pub fn propose(
        &mut self,
        instance: &str,
        value: Bytes,
        bounds: &ReplicatedBounds,
        mutants: Mutants,
    ) -> Result<Bytes, ProposeError> {
        if let Some(decision) = self.decisions.get(instance)
            && !mutants.on(Mutant::LastProposalDecides)
        {
            // It takes no room.
            self.bytes += if mutants.on(Mutant::ProposalTakesRoom) { value.len() as u64 } else { 0 };
            return Ok(decision.clone());
        }
        if instance.is_empty() || instance.len() > MAX_NAME {
            return Err(ProposeError::Name(instance.len()));
        }
        let size = value.len() as u64;
        if size > bounds.decision_bytes {
            return Err(ProposeError::TooLarge { size, limit: bounds.decision_bytes });
        }
        if self.decisions.len() as u64 >= bounds.instances {
            return Err(ProposeError::TooMany { limit: bounds.instances });
        }
        if self.bytes + size > bounds.decisions_bytes {
            return Err(ProposeError::Full { limit: bounds.decisions_bytes });
        }
        let value = if mutants.on(Mutant::DecisionUnproposed) { Bytes::new() } else { value };
        self.restore(instance.into(), value.clone());
        Ok(value)
    }

    /// The decision of an instance, once there is one.
    pub fn decision(&self, instance: &str) -> Option<&Bytes> {
        self.decisions.get(instance)
    }

    /// How many instances are decided.
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// Every decision, by instance.
    pub fn decisions(&self) -> &OrdMap<Arc<str>, Bytes> {
        &self.decisions
    }

    /// Takes a decision as a checkpoint has it.
    pub fn restore(&mut self, instance: Arc<str>, decision: Bytes) {
        self.bytes += decision.len() as u64;
        self.decisions.insert(instance, decision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(instances: &mut Instances, name: &str, value: &'static str) -> Result<Bytes, ProposeError> {
        let bounds = ReplicatedBounds {
            instances: 2,
            decision_bytes: 4,
            decisions_bytes: 6,
            ..ReplicatedBounds::default()
        };
        instances.propose(name, value.into(), &bounds, Mutants::default())
    }

    #[test]
    fn integrity_the_first_proposal_decides_for_ever() {
        let mut instances = Instances::default();
        assert_eq!(instances.decision("a"), None);
        assert_eq!(propose(&mut instances, "a", "1").unwrap(), "1");
        assert_eq!(propose(&mut instances, "a", "2").unwrap(), "1");
        assert_eq!(propose(&mut instances, "b", "2").unwrap(), "2");
        assert_eq!(propose(&mut instances, "a", "much too large").unwrap(), "1", "it is decided already");
    }

    #[test]
    fn uniform_agreement_who_delivers_the_same_log_decides_the_same() {
        let log = [("a", "1"), ("b", "3"), ("a", "2"), ("b", "1")];
        let run = || {
            let mut instances = Instances::default();
            log.iter().for_each(|(name, value)| assert!(propose(&mut instances, name, value).is_ok()));
            instances
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn past_the_bounds_nothing_changes() {
        let mut instances = Instances::default();
        assert_eq!(propose(&mut instances, "", "1"), Err(ProposeError::Name(0)));
        assert_eq!(propose(&mut instances, "a", "12345"), Err(ProposeError::TooLarge { size: 5, limit: 4 }));
        propose(&mut instances, "a", "1234").unwrap();
        assert_eq!(propose(&mut instances, "b", "123"), Err(ProposeError::Full { limit: 6 }));
        propose(&mut instances, "b", "12").unwrap();
        assert_eq!(propose(&mut instances, "c", ""), Err(ProposeError::TooMany { limit: 2 }));
        assert_eq!(instances.len(), 2);
    }
}

//! What processes say to each other about registers.

use super::cells::Cell;
use crate::kernel::{Component, Incarnation, Message, Slot};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names an attempt at an operation, for its asker: nothing of an earlier incarnation counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OperationId {
    /// The incarnation of the asker.
    pub inc: Incarnation,
    /// Counts its operations.
    pub number: u64,
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.inc, self.number)
    }
}

/// Between a process that reads or writes, and the replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RegisterMessage {
    /// What do you hold?
    Query {
        /// The operation.
        id: OperationId,
        /// The register.
        name: String,
        /// Whether the register is to be created where it is unknown.
        create: bool,
    },
    /// This is held, durably.
    State {
        /// The operation.
        id: OperationId,
        /// The cell, if the register was ever written here.
        cell: Option<Cell>,
        /// Whether there is no room for one more register.
        refused: bool,
    },
    /// Take this, unless you hold something newer.
    Impose {
        /// The operation.
        id: OperationId,
        /// The register.
        name: String,
        /// The cell.
        cell: Cell,
    },
    /// It, or something newer, is held durably.
    Imposed {
        /// The operation.
        id: OperationId,
    },
}

impl Message for RegisterMessage {
    const COMPONENT: Component = Component::Register;

    fn kind(&self) -> u8 {
        match self {
            Self::Query { .. } => 1,
            Self::State { .. } => 2,
            Self::Impose { .. } => 3,
            Self::Imposed { .. } => 4,
        }
    }

    fn slot(&self) -> Slot {
        Slot::Window
    }
}

//! The logged cursor: answer A to "did the layer above process it before the crash?"
//!
//! Requests: Ready, the next delivery may come; Advance, it is processed. Indication: Deliver(up to),
//! a hint: the log holds at least so much.
//!
//! Properties:
//! * *durable hint*: the hint never runs ahead of what is durable;
//! * *stable positions*: a position holds the same content in every incarnation;
//! * *contiguous effects*: effects are contiguous, and each happens at most once;
//! * *complete hint*: the first hint after a recovery covers everything that is durable;
//! * *kept for the cursor*: nothing is trimmed that the consumer has not acknowledged; where retention
//!   is bounded, the consumer is told that it fell off, and never skips in silence.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.5 (logged perfect links: Deliver points into a logged variable).
//!
//! **Durable first**: the delivery, before the hint; the cursor, with the effect: in one turn, which
//! is one batch. **On recovery** the consumer goes on at its cursor. Stored apart, a crash between the
//! two stores would lose an effect or have it twice.

use super::deliveries::{Deliveries, Record};
use crate::kernel::{Logged, Stored, Turn, Undecodable, Var};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A position that was asked for is not kept any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
#[error(
    "kvorum: position {position} is not kept any more; the oldest that is kept is {oldest}, and what lay \
     between is lost to this reader"
)]
pub struct FellOff {
    /// What was asked for.
    pub position: u64,
    /// The oldest position that is kept.
    pub oldest: u64,
}

/// Why there is nothing at a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CursorError {
    /// It fell off.
    #[error(transparent)]
    FellOff(#[from] FellOff),
    /// It is ahead of the log: no delivery ever had this position.
    #[error(
        "kvorum: position {position} is ahead of the log, which ends at {end}; no such cursor was given out"
    )]
    Ahead {
        /// The cursor.
        position: u64,
        /// One past the last delivery.
        end: u64,
    },
    /// It belongs to the log of another data directory: of another replica, or this one lost its memory
    /// since.
    #[error(
        "kvorum: the cursor belongs to another log, of another replica or of a disk that was replaced: ask \
         the replica that gave it, or begin at the oldest"
    )]
    OtherLog {
        /// The oldest position that is kept.
        oldest: u64,
    },
}

/// A place in the delivery log of one data directory: the next position to read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cursor {
    /// The data directory ([`crate::kernel::Config::disk`]).
    pub log: u64,
    /// The next position.
    pub position: u64,
}

impl Cursor {
    /// Whether there is something to read here, or will be: in a log that keeps `oldest..end`.
    ///
    /// # Errors
    /// When there never will be.
    pub fn check(self, log: u64, oldest: u64, end: u64) -> Result<(), CursorError> {
        let Cursor { log: mine, position } = self;
        if mine != log {
            Err(CursorError::OtherLog { oldest })
        } else if position < oldest {
            Err(FellOff { position, oldest }.into())
        } else if position > end {
            Err(CursorError::Ahead { position, end })
        } else {
            Ok(())
        }
    }
}

/// A consumer's place in the delivery log, in stable storage.
///
/// A turn in which the consumer takes a delivery looks like this, and either all of it happens or
/// nothing:
///
/// ```
/// # use kvorum::broadcast::{CursorError, Deliveries, LoggedCursor, Record};
/// # use kvorum::kernel::{Logged, Turn};
/// fn consume(
///     cursor: &mut LoggedCursor,
///     deliveries: &Deliveries,
///     count: &mut Logged<u64>,
///     turn: &mut Turn,
/// ) -> Result<(), CursorError> {
///     while let Some(record) = cursor.ready(deliveries)? {
///         if let Record::Delivery(_) = record {
///             count.set(**count + 1, turn); // the effect
///         }
///         cursor.advance(turn);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct LoggedCursor {
    position: Logged<u64>,
}

impl LoggedCursor {
    /// The cursor as it was last durable, or `initial`, for a consumer that never was here.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn recover(var: impl Into<Var>, stored: &Stored, initial: u64) -> Result<Self, Undecodable> {
        Ok(Self { position: Logged::recover(var, stored, initial)? })
    }

    /// The next position: everything below it has had its effect.
    pub fn position(&self) -> u64 {
        *self.position
    }

    /// Ready: the next delivery, if there is one. It comes again until the cursor is advanced.
    ///
    /// # Errors
    /// When there never will be one at this place.
    pub fn ready(&self, deliveries: &Deliveries) -> Result<Option<Record>, CursorError> {
        let (position, oldest, end) = (self.position(), deliveries.first(), deliveries.len());
        Cursor { log: 0, position }.check(0, oldest, end)?;
        Ok(deliveries.record(position))
    }

    /// The delivery is processed, in this turn: the cursor is stored with its effect.
    pub fn advance(&mut self, turn: &mut Turn) {
        self.position.set(*self.position + 1, turn);
    }

    /// Goes on behind what was lost: the consumer knows of it from a [`FellOff`].
    pub fn skip(&mut self, oldest: u64, turn: &mut Turn) {
        if oldest > *self.position {
            self.position.set(oldest, turn);
        }
    }
}

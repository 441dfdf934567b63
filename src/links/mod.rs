//! Links between two processes, each standing on the one before it:
//!
//! | link | what it adds |
//! |---|---|
//! | [`FairLoss`] | a checksum: what is delivered was sent |
//! | [`Stubborn`] | what is sent is sent again, until it is acknowledged |
//! | [`Fifo`] | each message once and in order, while both processes stay up |
//! | [`LoggedPerfect`] | each message once, across the crashes of both |

mod fair_loss;
mod fifo;
mod logged_perfect;
mod message;
mod stubborn;

#[cfg(test)]
pub(crate) mod tests;

pub use fair_loss::FairLoss;
pub use fifo::{Fifo, Heard};
pub use logged_perfect::{Delivered, LoggedPerfect, Mark, Refused};
pub use message::{Channel, LinkMessage};
pub use stubborn::{Full, Packet, Stubborn, Taken};

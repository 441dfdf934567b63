//! Broadcast on top of the log: total order, at most once; and bringing a process that fell behind
//! up to date.

mod best_effort;
mod catch_up;
mod filter;
mod pair;
mod publications;
mod reads;
mod state_machine;
mod total_order;

pub use best_effort::{BestEffort, LoggedBestEffort};
pub use catch_up::{CatchUp, CatchUpMessage, Chunk, Fetch, Installed, Load, SnapshotId, Source};
pub use filter::Filter;
pub use pair::{Either, Pair, PairLoader, Views, for_second};
pub use publications::{Last, Publication, PublicationError, Publications, Publisher, Topic};
pub use reads::Reads;
pub use state_machine::{Piece, StateMachine};
pub use total_order::{Entry, GivenUp, TotalOrder, TotalOrderMessage};

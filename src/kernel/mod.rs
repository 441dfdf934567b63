//! The kernel: what every module of the model stands on.
//!
//! One law, *persist before expose*: no message, reply, read view, delivery or decision leaves a
//! process before the stores that it depends on are durable. It is carried by three types:
//!
//! * [`Logged`] and [`LoggedLog`]: state that cannot change without the change being stored;
//! * [`Turn`]: one reaction of the whole stack, which collects stores and exposures and can let go
//!   of neither;
//! * [`Journal`]: the only place where a turn opens, and the only one that hands out what turns
//!   exposed, once [`Commit::run`] has made their stores durable.

mod bounds;
mod config;
mod credible;
mod digest;
mod disk;
mod frame;
mod hits;
mod journal;
mod logged;
mod memory;
mod mutant;
mod parked;
mod process;
mod protocol;
mod replicated;
mod turn;

pub use bounds::{Bounds, SharedBounds};
pub use config::{Config, Origin, Timing};
pub use credible::{Highest, MAX_COUNT, MAX_LEAP, is_range, may_follow};
pub use digest::Digest;
pub use disk::{Batch, Disk, DiskError, LogId, Row, RowKey, Rows, Store, Stored, StoredLog, Var};
pub use frame::{Component, Frame, FrameError, HEADER, MAX_BODY, Message, Opened, Slot, Stamp};
pub use hits::{Bound, Hits};
pub use journal::{Commit, Exposed, Held, Journal, Release, Synced};
pub use logged::{Logged, LoggedLog, Undecodable};
pub use memory::{Account, Memory, Peak, Peaks, SLOT};
pub use mutant::{Mutant, Mutants};
pub use parked::Parked;
pub use process::{Ballot, Incarnation, ProcessId, ProcessSet, Ticks};
pub use protocol::{Protocol, Upon};
pub use replicated::{BoundChanges, MAX_NAME, MAX_TEXT, ReplicatedBounds};
pub use turn::{Early, Outgoing, Turn};

//! Stable storage on a real disk: sled, the witness, identity, and the boot that judges them.
//!
//! ```text
//! <data-dir>/
//!   LOCK         held while the store is open; the process that holds it
//!   identity     cluster, process, disk id, the configuration of the first boot, where it lies
//!   CURRENT      the live generation
//!   witness      how far the store had got a few milliseconds ago, at most
//!   ballast      freed to boot on a full disk
//!   gen-N/       one sled Db
//!   forming      while the first boot is under way
//! ```
//!
//! What sled 0.34.7 promises, and what it really does, are two things. Its `flush` is no fsync;
//! it panics, hangs, and silently drops what it cannot read. So `store` syncs for it, `load`
//! checks everything that is read back, and `witness` knows when too little is.

mod boot;
mod codec;
mod files;
mod generation;
mod head;
mod identity;
mod load;
mod place;
mod record;
mod refused;
mod rows;
mod sled_disk;
mod space;
mod steps;
mod store;
mod text;
mod verdict;
mod witness;
mod writer;

#[cfg(test)]
mod tests;

pub use boot::{Boot, Options, open, peek};
pub use identity::{Configuration, Identity, Member};
pub use place::{FileId, Place};
pub use refused::Refused;
pub use sled_disk::SledDisk;
pub use space::{Gauge, Space};
pub use steps::{Step, Steps};
pub use verdict::Verdict;

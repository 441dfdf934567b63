//! Histories of client operations, and the checks that they are what one correct store could
//! have answered.
//!
//! A history is what clients saw from outside: for each operation who asked, what, between which
//! two instants, and what came back. [`verify`] decides whether a linearizable store with
//! revisions can have given these answers; [`Recorder`] builds histories; [`Workload`] produces
//! operations that are worth recording.
//!
//! # The file format
//!
//! One JSON object per line (JSON lines, UTF-8), in any order; empty lines are skipped, unknown
//! fields ignored. Written by `scripts/chaos --history FILE`, read by `kvorum verify FILE`.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `client` | integer | who asked; a client may have several operations under way |
//! | `op` | string | `put`, `get`, `delete`, `cas` or `txn` |
//! | `outcome` | string | `ok`: executed, and answered. `fail`: surely not executed, now or later. `unknown`: may have been executed, or may be at any later time, or never |
//! | `start_ns`, `end_ns` | integer | when the client sent the request, and when it had the answer: nanoseconds on one clock that never goes back, from any origin. `end_ns` is required where `outcome` is `ok`, and without meaning where it is `unknown` |
//! | `revision` | integer or null | the header revision of the answer, where there was one |
//! | `replica` | integer or null | the replica that answered, where the client knows (optional) |
//!
//! and by operation:
//!
//! | `op` | fields |
//! |---|---|
//! | `put` | `key`, `value`: strings |
//! | `get` | `key`; `value`: what was read, null where the key was absent; `serializable`: true for a read that may be stale (optional, false) |
//! | `delete` | `key`; `deleted`: whether there was a key to delete (optional) |
//! | `cas` | `key`; `expected`: the value compared with, null for "absent"; `value`: what to write if equal; `succeeded`: true or false, required where `outcome` is `ok` |
//! | `txn` | `reads`, `writes`: arrays of `{"key": …, "value": …}`. All reads see the state before the writes; a write of null deletes; each key is written at most once. Reads of a txn that was not answered carry null |
//!
//! ```text
//! {"client":1,"op":"put","key":"a","value":"c1-1","revision":2,"start_ns":100,"end_ns":250,"outcome":"ok"}
//! {"client":2,"op":"get","key":"a","value":"c1-1","revision":2,"start_ns":260,"end_ns":300,"outcome":"ok"}
//! {"client":1,"op":"cas","key":"a","expected":"c1-1","value":"c1-2","start_ns":270,"outcome":"unknown"}
//! ```
//!
//! # What is assumed
//!
//! Every key that the history names is absent when it begins, and nobody else writes to it. Other
//! keys may be written by anyone. An operation whose answer came at the very instant at which
//! another began counts as concurrent with it.

mod jsonl;
mod operation;
mod partition;
mod recorder;
mod revisions;
mod search;
mod shrink;
mod sightings;
mod verify;
mod workload;
mod zones;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod tests;

pub use jsonl::{MAX_LINE, MAX_OPERATIONS, ReadError, read, write};
pub use operation::{Call, Operation, Outcome, Reply, Write};
pub use recorder::{Full, Handle, Recorder};
pub use verify::{Limits, Property, Report, Undecided, Verdict, Violation, verify};
pub use workload::{Mix, Workload};

//! kvorum: a crash-recovery replicated key-value node that speaks the etcd v3 API.
//!
//! Three ways in:
//!
//! * [`Client`], the SDK: any replica over the network, or one in the same program;
//! * [`Node`], a replica inside a program, alone or in a cluster;
//! * the `kvorum` program.
//!
//! Underneath, the modules of the crash-recovery model, each a plain struct whose methods are its
//! events, composed into one [`stack::Stack`]:
//!
//! ```text
//!  requests ─► total order ─► sequence paxos ─► state machine ─► replies, views
//!                 reads ─►        │   ▲
//!              catching up ◄──────┘   │ leader detector · members
//! ```
//!
//! | abstraction | module |
//! |---|---|
//! | persist before expose | [`kernel::Journal`], [`kernel::Logged`] |
//! | fair-loss, stubborn, FIFO and logged perfect links | [`links::FairLoss`], [`links::Stubborn`], [`links::Fifo`], [`links::LoggedPerfect`] |
//! | best-effort broadcast, lossy and logged | [`broadcast::BestEffort`], [`broadcast::LoggedBestEffort`] |
//! | leader detector Ω | [`consensus::Detector`] |
//! | sequence consensus | [`consensus::SequencePaxos`] |
//! | uniform reliable broadcast | [`broadcast::UniformReliable`] |
//! | FIFO and causal order | [`broadcast::Order`], conditions on its deliveries |
//! | the delivery log, the logged cursor | [`broadcast::Deliveries`], [`broadcast::LoggedCursor`] |
//! | acknowledged redelivery | [`broadcast::Redelivery`], [`broadcast::Subscribers`] in total order |
//! | consensus by instance | [`consensus::Instances`], on the log |
//! | total-order broadcast | [`broadcast::TotalOrder`], the decided log; [`broadcast::Publications`] by topic |
//! | non-blocking atomic commit | [`atomic_commit::Transactions`], on the log |
//! | (N,N) atomic register | [`register::Registers`] |
//! | replicated state machine | [`broadcast::StateMachine`]: [`kv::Machine`] and [`ledger::Ledger`], a [`broadcast::Pair`] |
//! | stable storage | [`kernel::Disk`], [`storage`] |
//!
//! The modules touch no clock, socket or file: the simulator ([`sim`]) runs them under a seeded
//! adversary, as they are. The law, the rules and the reasons are in `ARCHITECTURE.md`.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod client;
pub mod proto;

#[cfg(feature = "node")]
pub mod api;
#[cfg(feature = "node")]
pub mod atomic_commit;
#[cfg(feature = "node")]
pub mod broadcast;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "node")]
pub mod consensus;
#[cfg(feature = "node")]
pub mod history;
#[cfg(feature = "node")]
pub mod kernel;
#[cfg(feature = "node")]
pub mod kv;
#[cfg(feature = "node")]
pub mod ledger;
#[cfg(feature = "node")]
pub mod links;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod register;
#[cfg(feature = "node")]
pub mod sim;
#[cfg(feature = "node")]
pub mod stack;
#[cfg(feature = "node")]
pub mod storage;
#[cfg(feature = "node")]
pub mod transport;

pub use client::Client;
#[cfg(feature = "node")]
pub use node::Node;

#[cfg(all(doctest, feature = "node"))]
#[doc = include_str!("../README.md")]
struct Readme;

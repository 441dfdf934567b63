//! kvorum: a crash-recovery replicated key-value node.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod client;
pub mod proto;

#[cfg(feature = "node")]
pub mod api;
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
pub mod node;
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

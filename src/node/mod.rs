//! A node: a replica with its threads, its ports, and its clients in the same program.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kvorum::Node;
//!
//! let node = Node::open("data").await?;
//! let client = node.client();
//! client.put("greeting", "hello").await?;
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Two threads per node run the replica, beside the tokio runtime on which it was started, which
//! serves its sockets. A node never exits or aborts the program, and installs no logger and no
//! signal handler; when its disk fails, it halts ([`Handle::halted`]), and the program goes on.

mod builder;
mod cluster;
mod core;
pub(crate) mod descriptors;
mod error;
mod handle;
mod inbox;
mod launch;
mod ledger;
mod ports;
mod replica;
mod requests;
mod settings;
mod shared;
mod timeouts;
mod topics;
mod upkeep;

pub use crate::api::{Cluster, Member};
pub use builder::Builder;
pub use error::{Error, ExecuteError, Failed, Halted, Refused};
pub use handle::{Handle, NodeStatus};
pub use replica::{COMMAND_BYTES, Replica};
pub use requests::{REQUEST_BYTES, REQUESTS};
pub use settings::{AutoCompaction, MEMBERS, name as setting};
pub use shared::{CoreCounters, Machine};

use crate::client::Client;
use crate::ledger::Replicated;
use crate::transport::Address;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::Routes;

/// How long a shutdown waits for clients to finish what is under way.
const PARTING: Duration = Duration::from_secs(2);

/// A running node. Dropping it stops it in the background, without waiting and without handing
/// leadership over; [`Node::shutdown`] is the gentle way.
pub struct Node {
    replica: Replica<Replicated>,
    handle: Handle,
    routes: Routes,
    client_addresses: Vec<Address>,
    leave: watch::Sender<bool>,
    services: Vec<JoinHandle<()>>,
    upkeep: Vec<JoinHandle<()>>,
}

impl Node {
    /// Opens a data directory, or makes it: a replica of its own, which listens on no port. What
    /// was settled at the first boot, holds.
    ///
    /// Returns when the replica serves. Needs a tokio runtime, on which the node then runs.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn open(dir: impl AsRef<Path>) -> Result<Node, Error> {
        let node = Self::builder(dir).start().await?;
        if node.handle.cluster().members.len() == 1 {
            node.handle.serving().await?;
        }
        Ok(node)
    }

    /// Settles how a node starts on a data directory: its name, its cluster, its ports.
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder::new(dir.as_ref())
    }

    /// A client in this program: the same as one over the network, without the network.
    pub fn client(&self) -> Client {
        Client::over(self.routes.clone())
    }

    /// The replica, for services and for whoever wants it without the client API.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Everything about the node.
    pub fn status(&self) -> NodeStatus {
        self.handle.status()
    }

    /// Where the node listens for clients, with the ports that it got.
    pub fn client_addresses(&self) -> &[Address] {
        &self.client_addresses
    }

    /// Where the node listens for peers, with the ports that it got.
    pub fn peer_addresses(&self) -> &[Address] {
        self.replica.peer_addresses()
    }

    /// Stops the node: hands leadership over if it leads, lets clients finish what is under way,
    /// and closes the store as one that was left in order. Takes a few seconds at most.
    ///
    /// Cancelled, the node stops all the same.
    ///
    /// # Errors
    /// [`Halted`] if the node had stopped before for another reason.
    pub async fn shutdown(mut self) -> Result<(), Halted> {
        self.handle.hand_over(self.handle.election_timeout() * 2).await;
        self.leave.send_replace(true);
        let services = std::mem::take(&mut self.services);
        let finished = async {
            for service in services {
                let _ = service.await; // one that panicked has finished too
            }
        };
        let _ = timeout(PARTING, finished).await; // a client that does not leave is left
        self.replica.stop().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.services.iter().chain(&self.upkeep).for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.handle.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

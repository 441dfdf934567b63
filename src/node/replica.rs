//! A replica of a state machine: its threads, its disk, its streams to its peers, and no services.
//!
//! [`Builder::replicate`](super::Builder::replicate) starts one of a state machine of one's own; a
//! [`Node`](super::Node) has one of the store. `examples/state_machine.rs` shows all of it.

use super::PARTING;
use super::error::{ExecuteError, Halted, Refused};
use super::requests::Requests;
use super::shared::Machine;
use crate::api::Cluster;
use crate::kernel::Rows;
use crate::stack::Status;
use crate::storage::Verdict;
use crate::transport::Address;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The most bytes of a command.
pub const COMMAND_BYTES: usize = 16 << 20;
// An entry of the log has room for it, with what lies around it: names, numbers, a session.
const _: () = assert!(COMMAND_BYTES + (1 << 10) <= crate::kernel::Bounds::DEFAULT.entry_bytes);

/// A running replica. Dropping it stops it in the background, without waiting and without handing
/// leadership over; [`Replica::shutdown`] is the gentle way.
pub struct Replica<M: Machine> {
    pub(super) requests: Requests<M>,
    pub(super) rows: Arc<dyn Rows>,
    pub(super) cluster: Cluster,
    pub(super) verdict: Verdict,
    pub(super) election: Duration,
    pub(super) peer_addresses: Vec<Address>,
}

impl<M: Machine> Replica<M> {
    /// Executes a command, once, at its place in the log; returns what the state machine answered,
    /// when it is durable at a majority.
    ///
    /// Dropped, the command is withdrawn if it has not been proposed yet; else it is executed all
    /// the same.
    ///
    /// # Errors
    /// [`ExecuteError`] says whether the command was surely not executed.
    pub async fn execute(
        &self,
        command: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<M::Reply, ExecuteError> {
        let command = command.into();
        if command.len() > COMMAND_BYTES {
            return Err(ExecuteError::TooLarge { size: command.len(), limit: COMMAND_BYTES });
        }
        Ok(self.requests.execute(command, deadline).await?)
    }

    /// The state with everything that was acknowledged anywhere before the call: reading it is
    /// linearizable. Cancel safe.
    ///
    /// # Errors
    /// When no leader confirms in time that it leads.
    pub async fn read(&self, deadline: Duration) -> Result<Arc<M::View>, Refused> {
        self.requests.barrier(deadline).await
    }

    /// The state as it was published last, which may be old; nothing while the replica may not
    /// serve.
    pub fn view(&self) -> Option<Arc<M::View>> {
        self.requests.shared.view()
    }

    /// What the replica does in the log protocol, as of its last durable turn.
    pub fn status(&self) -> Status {
        self.requests.shared.status()
    }

    /// What the boot found in the data directory.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Where it listens for peers, with the ports that it got.
    pub fn peer_addresses(&self) -> &[Address] {
        &self.peer_addresses
    }

    /// Waits until the replica serves.
    ///
    /// # Errors
    /// When it halts first.
    pub async fn serving(&self) -> Result<(), Halted> {
        self.requests.serving().await
    }

    /// Waits until the replica stops, and says why.
    pub async fn halted(&self) -> Halted {
        self.requests.halted().await
    }

    /// Stops the replica: hands leadership over if it leads, and closes the store as one that was
    /// left in order. Takes a few seconds at most.
    ///
    /// Cancelled, it stops all the same.
    ///
    /// # Errors
    /// [`Halted`] if it had stopped before for another reason.
    pub async fn shutdown(self) -> Result<(), Halted> {
        self.requests.hand_over(self.election * 2).await;
        self.stop().await
    }

    /// Stops it, and waits until its store is closed.
    pub(super) async fn stop(&self) -> Result<(), Halted> {
        self.requests.stop();
        match self.requests.halted().await {
            Halted::ShutDown => {
                self.requests.shared.journal_ended().await;
                Ok(())
            }
            why @ (Halted::Disk(_) | Halted::LogsDiffer(_) | Halted::Broken(_)) => {
                let _ = timeout(PARTING, self.requests.shared.journal_ended()).await; // a disk may hang
                Err(why)
            }
        }
    }
}

impl<M: Machine> Drop for Replica<M> {
    fn drop(&mut self) {
        self.requests.stop();
    }
}

impl<M: Machine> std::fmt::Debug for Replica<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("member", &self.cluster.me).finish_non_exhaustive()
    }
}

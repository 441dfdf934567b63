//! What the client port asks of a replica.

use super::{Ledger, Topics};
use crate::kernel::{ProcessId, Rows};
use crate::kv::{Command, Reply, View};
use crate::register;
use crate::stack::{Refusal, Status};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A running replica, as the client port sees it. Clones are handles of the same replica.
///
/// Dropping a future that is pending cancels the request: nobody waits for it any more.
pub trait Replica: Registers + Ledger + Topics + Clone + Send + Sync + 'static {
    /// Executes a command through the log.
    ///
    /// # Errors
    /// [`Refused`] when there is no reply; after `patience` at the latest.
    fn execute(
        &self,
        command: Command,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, Refused>> + Send;

    /// A view that holds everything acknowledged before the call: a linearizable read.
    ///
    /// # Errors
    /// [`Refused`] when the leader did not confirm it; after `patience` at the latest.
    fn read_barrier(&self, patience: Duration) -> impl Future<Output = Result<View, Refused>> + Send;

    /// The newest view of this replica; nothing while it serves none.
    fn view(&self) -> Option<View>;

    /// Superseded versions, which are on disk.
    fn rows(&self) -> Arc<dyn Rows>;

    /// What the replica does in the log protocol. Cheap: every reply asks for it.
    fn status(&self) -> Status;

    /// What a person should know: a verdict of the boot that is not good news, why the replica
    /// halted. One line each.
    fn problems(&self) -> Vec<String>;

    /// The cluster, as far as it is known here.
    fn cluster(&self) -> Cluster;
}

/// The registers of a replica.
pub trait Registers {
    /// Reads or writes a register, at a majority and without any leader. Dropped, a write may take
    /// effect all the same.
    ///
    /// # Errors
    /// [`Refused`] when the replica cannot take it; the outcome says what the registers say.
    fn register(
        &self,
        name: &str,
        ask: register::Ask,
        patience: Duration,
    ) -> impl Future<Output = Result<register::Outcome, Refused>> + Send;
}

/// Why a request got no reply.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// The log protocol says so.
    #[error(transparent)]
    Stack(#[from] Refusal),
    /// The replica has halted, or is shutting down. A command that was under way may have been
    /// executed.
    #[error("etcdserver: server stopped")]
    Halted,
}

/// A cluster. Members stand in the order of their [`ProcessId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Names the cluster; never 0.
    pub id: u64,
    /// Which member this replica is.
    pub me: ProcessId,
    /// All members.
    pub members: Vec<Member>,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names the member, the same on every replica; never 0.
    pub id: u64,
    /// As `--initial-cluster` says.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty while unknown here.
    pub client_urls: Vec<String>,
    /// Whether it counts in no majority, as far as is known here.
    pub learner: bool,
}

impl Cluster {
    /// A member by its position.
    pub fn member(&self, process: ProcessId) -> Option<&Member> {
        self.members.get(process.index())
    }

    /// The id of this replica; 0 when the cluster does not list it.
    pub fn my_id(&self) -> u64 {
        self.member(self.me).map_or(0, |m| m.id)
    }
}

//! What the services ask of the ledger: of what stands on the replicated log beside the store.

use super::call::Call;
use super::service::Service;
use super::{Refused, Replica, status};
use crate::ledger::{Command, Reply, Response, View};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// The ledger of a replica.
pub trait Ledger {
    /// Executes a command through the log; one that has one effect however often it is executed, as
    /// often as it takes to get an answer. Dropped, it may have its effect all the same.
    ///
    /// # Errors
    /// [`Refused`] when there is no reply; after `patience` at the latest.
    fn ledger_execute(
        &self,
        command: Command,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, Refused>> + Send;

    /// A view that holds everything acknowledged before the call.
    ///
    /// # Errors
    /// [`Refused`] when the leader did not confirm it; after `patience` at the latest.
    fn ledger_barrier(&self, patience: Duration) -> impl Future<Output = Result<View, Refused>> + Send;

    /// The newest view of this replica; nothing while it serves none.
    fn ledger(&self) -> Option<View>;

    /// Tells when there is a newer view, or none any more.
    fn ledger_changed(&self) -> watch::Receiver<u64>;
}

impl<R: Replica> Service<R> {
    /// Executes a command of the ledger.
    pub(super) async fn ledger(&self, command: Command, call: Call) -> Result<Response, Status> {
        let reply = self.replica().ledger_execute(command, call.patience).await;
        reply.map_err(|why| self.refused(why))?.map_err(status::of_ledger)
    }

    /// What is found in a view that holds everything acknowledged so far. With `wait`, where nothing
    /// is found, what is found in a later one, as long as the call lasts.
    pub(super) async fn find<T>(
        &self,
        wait: bool,
        call: Call,
        find: impl Fn(&View) -> Option<T>,
    ) -> Result<Option<T>, Status> {
        let deadline = Instant::now() + call.patience;
        let mut changed = self.replica().ledger_changed();
        let view = self.replica().ledger_barrier(call.patience).await;
        let mut found = find(&view.map_err(|why| self.refused(why))?);
        while wait && found.is_none() {
            match timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
            let view = self.replica().ledger().ok_or_else(|| self.refused(Refused::Halted))?;
            found = find(&view);
        }
        Ok(found)
    }
}

/// A command was answered as another would be.
pub(super) fn unexpected(response: Response) -> Status {
    tracing::error!(?response, "a command of the ledger was answered as another would be");
    Status::internal("kvorum: the ledger's answer is not one to the request; please report it")
}

//! What all services of the port share.

use super::call::Call;
use super::outflow::{Connection, Outflow, Reserved};
use super::paced::Followed;
use super::{Limits, Refused, Replica, status};
use crate::consensus::Distrust;
use crate::kernel::{ProcessId, Rows};
use crate::kv::{self, Command, Op, View};
use crate::proto::etcdserverpb::ResponseHeader;
use crate::stack::{Refusal, Role};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// The services of one replica. Clones share everything.
#[derive(Clone)]
pub(super) struct Service<R>(Arc<Inner<R>>);

struct Inner<R> {
    replica: R,
    limits: Limits,
    cluster_id: u64,
    member_id: u64,
    /// The ids of all members, in the order of their processes.
    members: Vec<u64>,
    outflow: Arc<Outflow>,
    scans: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
}

impl<R: Replica> Service<R> {
    pub fn new(replica: R, limits: Limits, outflow: Arc<Outflow>) -> Self {
        let cluster = replica.cluster();
        let scans = Arc::new(Semaphore::new(limits.scans));
        Service(Arc::new(Inner {
            replica,
            limits,
            cluster_id: cluster.id,
            member_id: cluster.my_id(),
            members: cluster.members.iter().map(|m| m.id).collect(),
            outflow,
            scans,
            subscriptions: Arc::new(Semaphore::new(limits.subscriptions)),
        }))
    }

    pub fn replica(&self) -> &R {
        &self.0.replica
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub fn member_id(&self) -> u64 {
        self.0.member_id
    }

    /// The id of a process on the client API; 0 if the cluster does not list it.
    pub fn id_of(&self, process: ProcessId) -> u64 {
        self.0.members.get(process.index()).copied().unwrap_or(0)
    }

    /// The terms of a request; an error when they cannot be met.
    pub fn call<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        let call = Call::read(request.metadata(), self.0.limits.patience)?;
        if call.needs_leader && self.0.replica.status().leader.is_none() {
            return Err(status::no_leader());
        }
        Ok(call)
    }

    /// A header for a reply made at `revision`.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        let raft_term = self.0.replica.status().promised.counter;
        ResponseHeader { cluster_id: self.0.cluster_id, member_id: self.0.member_id, revision, raft_term }
    }

    /// Completes a header that has the revision only.
    pub fn fill(&self, header: &mut Option<ResponseHeader>) {
        *header = Some(self.header(header.as_ref().map_or(0, |h| h.revision)));
    }

    /// Checks an operation and executes it through the log.
    pub async fn execute(&self, op: Op, call: Call) -> Result<kv::Response, Status> {
        kv::check(&op, &self.0.limits.request).map_err(status::of_kv)?;
        self.make_room(&op, call).await?;
        let command = Command { session: call.session, op };
        let reply = self.0.replica.execute(command, call.patience).await;
        let response = reply.map_err(|why| self.refused(why))?;
        response.map_err(status::of_kv)
    }

    /// A view that holds everything acknowledged so far, or the newest one there is here.
    pub async fn view(&self, serializable: bool, call: Call) -> Result<View, Status> {
        if serializable {
            return self.0.replica.view().ok_or_else(|| self.refused(Refusal::NoLeader.into()));
        }
        let view = self.0.replica.read_barrier(call.patience).await;
        view.map_err(|why| self.refused(why))
    }

    /// Reads superseded versions, or much: off the async threads, a few at a time.
    pub async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<T, kv::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let permit = self.0.scans.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Status::internal("kvorum: the semaphore of scans is closed"))?;
        let rows = self.0.replica.rows();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&*rows)
        });
        match read.await {
            Ok(result) => result.map_err(status::of_kv),
            Err(e) => {
                tracing::error!(error = %e, "a read ended without a result");
                Err(Status::internal("kvorum: the read ended without a result"))
            }
        }
    }

    /// What is on its way out.
    pub fn outflow(&self) -> &Arc<Outflow> {
        &self.0.outflow
    }

    /// The connection that a request came from.
    pub fn connection<T>(&self, request: &Request<T>) -> Arc<Connection> {
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        connection.unwrap_or_else(|| self.0.outflow.no_connection())
    }

    /// Why there is no reply from the log.
    pub fn refused(&self, why: Refused) -> Status {
        let why = match self.has_diverged() {
            true => Refusal::Corrupt.into(),
            false => why,
        };
        self.hint(status::of_refused(why))
    }

    /// Whether the state of this replica is not that of a majority: it serves nothing.
    pub fn has_diverged(&self) -> bool {
        self.0.replica.status().role == Role::Learner(Distrust::Diverged)
    }

    /// A place for a stream, held as long as that lasts.
    pub fn subscriber(&self) -> Result<OwnedSemaphorePermit, Status> {
        let full = |_| {
            let text =
                "kvorum: this replica serves as many subscriptions as it may; ask another, or end some";
            status::not_executed(Status::resource_exhausted(text))
        };
        self.0.subscriptions.clone().try_acquire_owned().map_err(full)
    }

    /// Tells a client that cannot be served here where the leader is.
    fn hint(&self, mut status: Status) -> Status {
        if status.code() != Code::Unavailable {
            return status;
        }
        let Some(leader) = self.0.replica.status().leader else { return status };
        let cluster = self.0.replica.cluster();
        let url = cluster.member(leader).filter(|_| leader != cluster.me).and_then(|m| m.client_urls.first());
        if let Some(url) = url.and_then(|url| url.parse().ok()) {
            status.metadata_mut().insert("kvorum-leader", url);
        }
        status
    }
}

/// The reply to a call whose number was spent on another kind of request.
pub(super) fn another_kind(_: kv::Response) -> Status {
    Status::failed_precondition("kvorum: the session's call of this number was another kind of request")
}

/// A stream of what is received, for as long as the client follows it.
pub(super) fn follow<T>(receive: mpsc::Receiver<T>) -> Result<Response<ReceiverStream<T>>, Status> {
    let mut response = Response::new(ReceiverStream::new(receive));
    response.extensions_mut().insert(Followed);
    Ok(response)
}

/// A reply, and the room that was reserved for it.
pub(super) fn reply_in<T>(room: Option<Arc<Reserved>>, message: T) -> Result<Response<T>, Status> {
    let mut response = Response::new(message);
    if let Some(room) = room {
        response.extensions_mut().insert(room);
    }
    Ok(response)
}

/// A reply, as tonic wants it.
pub(super) fn reply<T>(message: T) -> Result<Response<T>, Status> {
    Ok(Response::new(message))
}

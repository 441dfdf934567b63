//! The handle: how services and embedders talk to a replica.

use super::core::ticks;
use super::error::{Halted, Refused};
use super::shared::{Answer, Ask, Call, CoreCounters, Item, Permits, Phase, Shared, View};
use crate::api::{self, Cluster, Member};
use crate::broadcast::{Either, TopicRequest};
use crate::kernel::Rows;
use crate::kv::{self, Limits};
use crate::register;
use crate::stack::{Refusal, RequestId, Role, Status};
use crate::storage::Verdict;
use crate::transport::Counters;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Requests of clients in flight at one node, at most.
pub const REQUESTS: usize = 4096;
/// Bytes of those requests, at most.
pub const REQUEST_BYTES: usize = 128 << 20;
/// How much longer than its deadline a request is waited for: the replica counts ticks, and its
/// answer, which tells more than silence does, may be a sync late.
const GRACE: Duration = Duration::from_millis(500);

/// Executes commands and reads on a replica. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Handle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub shared: Arc<Shared>,
    pub rows: Arc<dyn Rows>,
    /// Without the client URLs of others, which they say in their hellos.
    pub cluster: Cluster,
    pub verdict: Verdict,
    pub limits: Limits,
    /// Bytes of keys and values after which puts are refused; 0: never.
    pub quota: u64,
    pub election: Duration,
    pub next: AtomicU64,
    pub requests: Arc<Semaphore>,
    pub bytes: Arc<Semaphore>,
}

/// The state of a node, for people and for services.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// What the replica does in the log protocol, as of its last durable turn.
    pub replica: Status,
    /// What the boot found in the data directory.
    pub verdict: Verdict,
    /// Why the node has stopped, once it has.
    pub halted: Option<Halted>,
    /// The cluster and its members.
    pub cluster: Cluster,
    /// The member that leads, as far as is known here.
    pub leader: Option<Member>,
    /// The current revision; nothing while the replica serves no reads.
    pub revision: Option<i64>,
    /// How much is stored.
    pub size: kv::Size,
    /// The largest [`kv::Size::bytes`] before puts are refused; 0: any.
    pub quota: u64,
    /// Members to which a stream is open.
    pub connected: Vec<String>,
    /// What happened in the core.
    pub core: CoreCounters,
    /// What happened on the streams between replicas.
    pub transport: Counters,
}

impl Handle {
    /// Executes a command through the log, once; returns what the state machine answered, when it
    /// is durable at a majority.
    ///
    /// Dropped, the command is withdrawn if it has not been proposed yet; else it is executed all
    /// the same.
    ///
    /// # Errors
    /// [`Refused`] says whether the command was surely not executed.
    pub async fn execute(&self, command: kv::Command, deadline: Duration) -> Result<kv::Reply, Refused> {
        match self.ask(Ask::Execute(command.encode()), deadline).await? {
            Answer::Reply(Either::First(reply)) => Ok(reply),
            Answer::Reply(Either::Second(_)) | Answer::Readable | Answer::Returned(_) | Answer::Topics(_) => {
                unreachable!("a command of the store was asked for")
            }
        }
    }

    /// Reads or writes a register, at a majority of the replicas and without any leader. A write
    /// that is dropped, or fails with [`register::Failed::Unknown`], may take effect all the same.
    ///
    /// # Errors
    /// [`Refused`] when the node cannot take it; else what the registers say.
    pub async fn register(
        &self,
        name: &str,
        ask: register::Ask,
        deadline: Duration,
    ) -> Result<register::Outcome, Refused> {
        match self.ask(Ask::Register(name.to_owned(), ask), deadline).await? {
            Answer::Returned(outcome) => Ok(outcome),
            Answer::Reply(_) | Answer::Readable | Answer::Topics(_) => {
                unreachable!("a register was asked for")
            }
        }
    }

    /// A view that has everything which was acknowledged anywhere before the call: reading it is
    /// linearizable. Cancel safe.
    ///
    /// # Errors
    /// When no leader confirms in time that it leads.
    pub async fn read_barrier(&self, deadline: Duration) -> Result<kv::View, Refused> {
        Ok(self.barrier(deadline).await?.first.clone())
    }

    /// What is shown once a leader has confirmed that it leads.
    pub(super) async fn barrier(&self, deadline: Duration) -> Result<Arc<View>, Refused> {
        match self.ask(Ask::Read, deadline).await? {
            Answer::Readable => self.inner.shared.view().ok_or_else(|| Refused::Halted(self.why_halted())),
            Answer::Reply(_) | Answer::Returned(_) | Answer::Topics(_) => {
                unreachable!("a read was asked for")
            }
        }
    }

    /// The view published last, for serializable reads; nothing while the replica may not serve.
    pub fn view(&self) -> Option<kv::View> {
        self.inner.shared.view().map(|view| view.first.clone())
    }

    /// Superseded versions, which are on disk. Reading them blocks: not on an async task.
    pub fn rows(&self) -> Arc<dyn Rows> {
        self.inner.rows.clone()
    }

    /// Bounds on requests.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// How long a silent leader is trusted: a request that outlives a change of leader should wait
    /// for a few times as long.
    pub fn election_timeout(&self) -> Duration {
        self.inner.election
    }

    /// The name of this member.
    pub fn name(&self) -> &str {
        self.inner.cluster.member(self.inner.cluster.me).map_or("", |m| &m.name)
    }

    /// The id of the cluster on the client API.
    pub fn cluster_id(&self) -> u64 {
        self.inner.cluster.id
    }

    /// The id of this member on the client API.
    pub fn member_id(&self) -> u64 {
        self.inner.cluster.my_id()
    }

    /// The cluster, with the client URLs that its members have told so far.
    pub fn cluster(&self) -> Cluster {
        let mut cluster = self.inner.cluster.clone();
        if let Some(transport) = self.inner.shared.transport() {
            for (process, peer) in transport.peers() {
                if let (Some(identity), Some(member)) =
                    (peer.identity, cluster.members.get_mut(process.index()))
                {
                    member.client_urls = identity.client_urls;
                }
            }
        }
        if let Role::Learner(_) = self.replica().role
            && let Some(own) = cluster.members.get_mut(cluster.me.index())
        {
            own.learner = true;
        }
        cluster
    }

    /// What the replica does in the log protocol, as of its last durable turn.
    pub fn replica(&self) -> Status {
        self.inner.shared.status()
    }

    /// Everything about the node.
    pub fn status(&self) -> NodeStatus {
        let replica = self.replica();
        let cluster = self.cluster();
        let view = self.view();
        let transport = self.inner.shared.transport();
        let connected = transport.iter().flat_map(|t| t.peers()).filter(|(_, peer)| peer.connected);
        let name = |process| cluster.member(process).map(|m| m.name.clone());
        NodeStatus {
            verdict: self.inner.verdict.clone(),
            halted: self.inner.shared.halted().cloned(),
            leader: replica.leader.and_then(|p| cluster.member(p)).cloned(),
            revision: view.as_ref().map(kv::View::revision),
            size: view.as_ref().map(kv::View::size).unwrap_or_default(),
            quota: self.inner.quota,
            connected: connected.filter_map(|(process, _)| name(process)).collect(),
            core: self.inner.shared.counts.read(),
            transport: transport.as_ref().map(|t| t.counters()).unwrap_or_default(),
            replica,
            cluster,
        }
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.replica().role == Role::Leader
    }

    /// Waits until the replica serves reads.
    ///
    /// # Errors
    /// When it halts first.
    pub async fn serving(&self) -> Result<(), Halted> {
        let mut phase = self.inner.shared.phase();
        match phase.wait_for(|phase| *phase != Phase::Starting).await.as_deref() {
            Ok(Phase::Serving) => Ok(()),
            _ => Err(self.why_halted()),
        }
    }

    /// Waits until the node stops, and says why.
    pub async fn halted(&self) -> Halted {
        let mut phase = self.inner.shared.phase();
        let _ = phase.wait_for(|phase| *phase == Phase::Halted).await; // a sender that is gone has halted
        self.why_halted()
    }

    /// Gives leadership away, if this replica leads; returns when another leads or none can, or
    /// the time is over.
    pub async fn hand_over(&self, deadline: Duration) {
        let (done, is_done) = oneshot::channel();
        if self.inner.shared.inbox.push(Item::HandOver(done)).is_ok() {
            let _ = timeout(deadline, is_done).await; // late is as good as never
        }
    }

    pub(super) fn why_halted(&self) -> Halted {
        self.inner.shared.halted().cloned().unwrap_or(Halted::ShutDown)
    }

    pub(super) async fn ask(&self, ask: Ask, deadline: Duration) -> Result<Answer, Refused> {
        self.ask_as(self.next_request(), ask, deadline).await
    }

    /// The number of a request.
    pub(super) fn next_request(&self) -> RequestId {
        self.inner.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn ask_as(
        &self,
        request: RequestId,
        ask: Ask,
        deadline: Duration,
    ) -> Result<Answer, Refused> {
        let Inner { shared, requests, bytes, .. } = &*self.inner;
        let size = match &ask {
            Ask::Execute(command) => command.len().min(REQUEST_BYTES) as u32,
            Ask::Read | Ask::Register(_, register::Ask::Read) => 0,
            Ask::Register(_, register::Ask::Write(value)) => value.len().min(REQUEST_BYTES) as u32,
            Ask::Topics(TopicRequest::Publish { payload, .. }) => payload.len().min(REQUEST_BYTES) as u32,
            Ask::Topics(
                TopicRequest::Subscribe { .. }
                | TopicRequest::Acknowledge { .. }
                | TopicRequest::Unsubscribe { .. },
            ) => 0,
        };
        let permits =
            requests.clone().try_acquire_owned().ok().zip(bytes.clone().try_acquire_many_owned(size).ok());
        let Some((_request, _bytes)) = permits else {
            shared.counts.overloads(1);
            return Err(Refusal::TooMany.into());
        };
        let (answer, answered) = oneshot::channel();
        let permits = Permits { _request, _bytes };
        let call = Call { request, ask, patience: ticks(deadline), answer, permits };
        if shared.inbox.push(Item::Call(call)).is_err() {
            return Err(Refused::Stopped(self.why_halted()));
        }
        let withdraw = Withdraw { shared, request };
        match timeout(deadline.saturating_add(GRACE), answered).await {
            Ok(answer) => {
                std::mem::forget(withdraw);
                answer.unwrap_or_else(|_| Err(Refused::Halted(self.why_halted())))
            }
            Err(_) => Err(Refusal::TimedOut.into()),
        }
    }
}

/// Withdraws a request that nobody waits for any more.
struct Withdraw<'a> {
    shared: &'a Shared,
    request: RequestId,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let _ = self.shared.inbox.push(Item::Cancel(self.request)); // a stopped core has none
    }
}

impl api::Replica for Handle {
    async fn execute(&self, command: kv::Command, patience: Duration) -> Result<kv::Reply, api::Refused> {
        Ok(Handle::execute(self, command, patience).await?)
    }

    async fn read_barrier(&self, patience: Duration) -> Result<kv::View, api::Refused> {
        Ok(Handle::read_barrier(self, patience).await?)
    }

    fn view(&self) -> Option<kv::View> {
        Handle::view(self)
    }

    fn rows(&self) -> Arc<dyn Rows> {
        Handle::rows(self)
    }

    fn status(&self) -> Status {
        self.replica()
    }

    fn problems(&self) -> Vec<String> {
        let verdict = &self.inner.verdict;
        let damaged = matches!(verdict, Verdict::Damaged { .. }).then(|| verdict.to_string());
        let learner = match self.replica().role {
            Role::Learner(why) => Some(format!("counts in no majority: {why:?}")),
            Role::Forming | Role::Follower | Role::Candidate | Role::Leader => None,
        };
        let halted = self.inner.shared.halted().map(|why| format!("halted: {why}"));
        damaged.into_iter().chain(learner).chain(halted).collect()
    }

    fn cluster(&self) -> Cluster {
        Handle::cluster(self)
    }
}

impl api::Registers for Handle {
    async fn register(
        &self,
        name: &str,
        ask: register::Ask,
        patience: Duration,
    ) -> Result<register::Outcome, api::Refused> {
        Ok(Handle::register(self, name, ask, patience).await?)
    }
}

impl From<Refused> for api::Refused {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Refusal(refusal) => api::Refused::Stack(refusal),
            Refused::Stopped(_) | Refused::Halted(_) => api::Refused::Halted,
        }
    }
}

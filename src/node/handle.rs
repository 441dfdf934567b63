//! The handle: how services and embedders talk to a replica.

use super::error::{Halted, Refused};
use super::requests::Requests;
use super::shared::{Answer, Ask, CoreCounters};
use crate::api::{self, Cluster, Member};
use crate::broadcast::Either;
use crate::consensus::Distrust;
use crate::kernel::Rows;
use crate::kv::{self, Limits};
use crate::ledger::Replicated;
use crate::register;
use crate::stack::{Role, Status};
use crate::storage::Verdict;
use crate::transport::Counters;
use std::sync::Arc;
use std::time::Duration;

/// Executes commands and reads on a replica. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Handle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub requests: Requests<Replicated>,
    pub rows: Arc<dyn Rows>,
    /// Without the client URLs of others, which they say in their hellos.
    pub cluster: Cluster,
    pub verdict: Verdict,
    pub limits: Limits,
    /// Bytes of keys and values after which puts are refused; 0: never.
    pub quota: u64,
    pub election: Duration,
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
        match self.inner.requests.execute(command.encode(), deadline).await? {
            Either::First(reply) => Ok(reply),
            Either::Second(_) => unreachable!("a command of the store was asked for"),
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
        match self.inner.requests.ask(Ask::Register(name.to_owned(), ask), deadline).await? {
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
        Ok(self.inner.requests.barrier(deadline).await?.first.clone())
    }

    /// The view published last, for serializable reads; nothing while the replica may not serve.
    pub fn view(&self) -> Option<kv::View> {
        self.inner.requests.shared.view().map(|view| view.first.clone())
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
        if let Some(transport) = self.inner.requests.shared.transport() {
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
        self.inner.requests.shared.status()
    }

    /// Everything about the node.
    pub fn status(&self) -> NodeStatus {
        let replica = self.replica();
        let cluster = self.cluster();
        let view = self.view();
        let transport = self.inner.requests.shared.transport();
        let connected = transport.iter().flat_map(|t| t.peers()).filter(|(_, peer)| peer.connected);
        let name = |process| cluster.member(process).map(|m| m.name.clone());
        NodeStatus {
            verdict: self.inner.verdict.clone(),
            halted: self.inner.requests.shared.halted().cloned(),
            leader: replica.leader.and_then(|p| cluster.member(p)).cloned(),
            revision: view.as_ref().map(kv::View::revision),
            size: view.as_ref().map(kv::View::size).unwrap_or_default(),
            quota: self.inner.quota,
            connected: connected.filter_map(|(process, _)| name(process)).collect(),
            core: self.inner.requests.shared.counts.read(),
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
        self.inner.requests.serving().await
    }

    /// Waits until the node stops, and says why.
    pub async fn halted(&self) -> Halted {
        self.inner.requests.halted().await
    }

    /// Gives leadership away, if this replica leads; returns when another leads or none can, or
    /// the time is over.
    pub async fn hand_over(&self, deadline: Duration) {
        self.inner.requests.hand_over(deadline).await;
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
            Role::Learner(Distrust::Diverged) => Some(
                "corrupt: its state is not that of a majority, and it serves nothing; stop it, set its data \
                 directory aside, and start it with an empty one: it receives everything again"
                    .to_owned(),
            ),
            Role::Learner(why) => Some(format!("counts in no majority: {why:?}")),
            Role::Forming | Role::Follower | Role::Candidate | Role::Leader => None,
        };
        let halted = self.inner.requests.shared.halted().map(|why| format!("halted: {why}"));
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

//! The Rust SDK: one [`Client`] for a remote cluster and for a node in the same program.
//!
//! ```no_run
//! # async fn example() -> Result<(), kvorum::client::Error> {
//! use kvorum::Client;
//!
//! let client = Client::connect(["127.0.0.1:2379", "127.0.0.1:12379", "127.0.0.1:22379"])?;
//! let revision = client.put("greeting", "hello").await?.header.revision;
//! client.put("greeting", "good bye").await?;
//! let before = client.get("greeting").rev(revision).await?;
//! assert_eq!(before.first().and_then(|kv| kv.text()), Some("hello"));
//! # Ok(())
//! # }
//! ```
//!
//! # What a call does
//!
//! A call goes to one endpoint. If that cannot serve it, the client tries the next one, or the leader
//! if a server names it, with growing, jittered waits, until the [deadline](Client::with_deadline).
//!
//! Writes are executed **exactly once** when the server is kvorum: the first write opens a session,
//! each write carries a number in it, and a repeated number is answered, not executed again. So a
//! write survives lost replies, dead replicas and changes of leader. At most 32 writes are in flight
//! per client; more wait their turn. A server without sessions (etcd) is served too: then a write
//! that went unanswered is not repeated, but fails with [`Fate::Unknown`].
//!
//! # Beside the store
//!
//! [Registers](Client::register) without a leader, [consensus](Client::consensus) by instance,
//! [atomic commit](Client::transaction), and [topics](Client::topic) to publish to with a chosen
//! guarantee. What they promise when a call is repeated or dropped stands at each.
//!
//! # Cancel safety
//!
//! Dropping a call's future abandons the call: a read has no effect, a write has [`Fate::Unknown`]
//! (it is executed once at most). The client stays usable.

mod call;
mod channel;
mod consensus;
mod error;
#[cfg(all(test, feature = "node"))]
mod fake;
mod ops;
mod outcomes;
mod pool;
mod register;
mod reply;
mod rpc;
mod session;
mod stream;
mod subscription;
mod topic;
mod transaction;
mod txn;

use std::{fmt, sync::Arc, time::Duration};

use tonic::{
    body::Body,
    codegen::{Body as HttpBody, Bytes, Service, StdError, http},
};

pub use self::{
    call::Retry,
    consensus::Consensus,
    error::{Error, Fate},
    ops::{Call, Delete, Get, Order, Put, SortBy},
    outcomes::Outcomes,
    register::{Register, Stamp, Written},
    reply::{
        CompactReply, DeleteReply, GetReply, Header, KeyValue, Member, Members, OpReply, PutReply, Status,
        TxnReply,
    },
    subscription::{Cursor, Delivery, Receiver, Start, Subscription},
    topic::{Context, Guarantee, Publish, Published, Topic},
    transaction::{Outcome, Participant, Reason, Transaction, TransactionStatus, Vote},
    txn::{Compare, Op, Operand, Txn},
};
use self::{channel::Channel, pool::Pool, session::Slot, topic::SharedPublisher};
use crate::proto::etcdserverpb::{CompactionRequest, MemberListRequest, StatusRequest};
pub use crate::proto::kvorum::v1::BoundSet;
use crate::proto::kvorum::v1::GetBoundsRequest;

/// A connection to a cluster, or to a node in this program. Cheap to clone; clones share
/// connections and session.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    session: Arc<Slot>,
    publisher: Arc<SharedPublisher>,
    settings: Settings,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    deadline: Duration,
    retry: Retry,
    exactly_once: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), retry: Retry::default(), exactly_once: true }
    }
}

/// Settles how a [`Client`] behaves.
#[derive(Debug, Clone, Default)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    in_order: bool,
    dial: Option<Duration>,
    settings: Settings,
}

impl ClientBuilder {
    /// Adds endpoints: `host:port` or `http://host:port`, client ports of one cluster.
    pub fn endpoints<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Whether to ask the first endpoint first, and the others only when it fails: for one that is
    /// near. Default false: from a random one on, so that many clients spread over the replicas.
    pub fn in_order(mut self, yes: bool) -> Self {
        self.in_order = yes;
        self
    }

    /// How long a call lasts at most, all its attempts together. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long to wait for a connection before trying another endpoint. Default 1 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = Some(timeout);
        self
    }

    /// How to wait between attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// Whether writes use a session. Default true. Without, a write that goes unanswered fails with
    /// [`Fate::Unknown`] at once.
    pub fn exactly_once(mut self, yes: bool) -> Self {
        self.settings.exactly_once = yes;
        self
    }

    /// The client. Connections are made at the first call, which must be in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Endpoint`] if an endpoint cannot be used as written, or there is none.
    pub fn connect(self) -> Result<Client, Error> {
        let pool = Pool::tcp(self.endpoints, self.dial.unwrap_or(Duration::from_secs(1)), self.in_order)?;
        Ok(Client::new(pool, self.settings))
    }
}

impl Client {
    /// A client of the cluster that listens at these endpoints; see [`ClientBuilder::connect`].
    ///
    /// # Errors
    /// [`Error::Endpoint`] if an endpoint cannot be used as written, or there is none.
    pub fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, Error> {
        Self::builder().endpoints(endpoints).connect()
    }

    /// Settles more than endpoints.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client of a gRPC service in this program, such as [`tonic::service::Routes`].
    pub fn over<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<StdError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        Self::new(Pool::local(Channel::local(service)), Settings::default())
    }

    fn new(pool: Pool, settings: Settings) -> Self {
        Self { pool: Arc::new(pool), session: Arc::default(), publisher: Arc::default(), settings }
    }

    /// The same client, with another deadline per call.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// Sets a key. Await the result, or add options to it first.
    pub fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Put<Self> {
        Put::new(self.clone(), key, value)
    }

    /// Reads a key, or a range: see the options of [`Get`].
    pub fn get(&self, key: impl Into<Vec<u8>>) -> Get<Self> {
        Get::new(self.clone(), key)
    }

    /// Deletes a key, or a range: see the options of [`Delete`].
    pub fn delete(&self, key: impl Into<Vec<u8>>) -> Delete<Self> {
        Delete::new(self.clone(), key)
    }

    /// Begins a transaction.
    pub fn txn(&self) -> Txn<Self> {
        Txn::new(self.clone())
    }

    /// The atomic register of this name: 1 to 100 bytes. It comes into being when it is first written.
    pub fn register(&self, name: impl Into<String>) -> Register {
        Register::new(self.clone(), name.into())
    }

    /// The bounds of what is replicated beside the store: of consensus, transactions and
    /// total-order topics.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If no replica answers in time.
    pub async fn bounds(&self) -> Result<BoundSet, Error> {
        self.read(GetBoundsRequest {}).await
    }

    /// Changes the bounds that are set, and leaves the others. Returns all of them. Safe to repeat.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a bound of nothing, or of more than a replica can keep: nothing was
    /// changed. [`Error::Unsettled`] where no answer came in time.
    pub async fn set_bounds(&self, bounds: BoundSet) -> Result<BoundSet, Error> {
        self.settle(bounds).await
    }

    /// An instance of consensus, by its name: 1 to 256 bytes.
    pub fn consensus(&self, instance: impl Into<String>) -> Consensus {
        Consensus::new(self.clone(), instance.into())
    }

    /// Forgets what was superseded before `revision`, which can still be read.
    ///
    /// Cancelled, it may be executed all the same.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` if the revision has been compacted before, or is yet to come.
    pub async fn compact(&self, revision: i64) -> Result<CompactReply, Error> {
        self.compaction(CompactionRequest { revision, physical: false }).await
    }

    /// Like [`compact`](Self::compact), and answers only when the space has been given back.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub async fn compact_physical(&self, revision: i64) -> Result<CompactReply, Error> {
        self.compaction(CompactionRequest { revision, physical: true }).await
    }

    async fn compaction(&self, request: CompactionRequest) -> Result<CompactReply, Error> {
        Ok(self.write(request).await?.into())
    }

    /// The state of the replica that answers: any one of the endpoints.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If none answers in time.
    pub async fn status(&self) -> Result<Status, Error> {
        Ok(self.read(StatusRequest {}).await?.into())
    }

    /// The members of the cluster.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If none answers in time.
    pub async fn members(&self) -> Result<Members, Error> {
        Ok(self.read(MemberListRequest { linearizable: true }).await?.into())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("pool", &self.pool).field("settings", &self.settings).finish()
    }
}

//! Requests: how they reach the core, and how its answers come back.

use super::core::ticks;
use super::error::{Halted, Refused};
use super::shared::{Answer, Ask, Call, Item, Machine, Permits, Phase, Shared};
use crate::broadcast::TopicRequest;
use crate::register;
use crate::stack::{Refusal, RequestId};
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

/// Asks the core of a replica. Cheap to clone; clones share everything.
pub(super) struct Requests<M: Machine> {
    pub shared: Arc<Shared<M>>,
    next: Arc<AtomicU64>,
    in_flight: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl<M: Machine> Clone for Requests<M> {
    fn clone(&self) -> Self {
        let Self { shared, next, in_flight, bytes } = self;
        Self {
            shared: shared.clone(),
            next: next.clone(),
            in_flight: in_flight.clone(),
            bytes: bytes.clone(),
        }
    }
}

impl<M: Machine> Requests<M> {
    /// None is in flight.
    pub fn new(shared: Arc<Shared<M>>) -> Self {
        Self {
            shared,
            next: Arc::new(AtomicU64::new(1)),
            in_flight: Arc::new(Semaphore::new(REQUESTS)),
            bytes: Arc::new(Semaphore::new(REQUEST_BYTES)),
        }
    }

    /// How many more there may be.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.in_flight.available_permits()
    }

    /// The number of a request.
    pub fn next(&self) -> RequestId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn ask(&self, ask: Ask, deadline: Duration) -> Result<Answer<M::Reply>, Refused> {
        self.ask_as(self.next(), ask, deadline).await
    }

    pub async fn ask_as(
        &self,
        request: RequestId,
        ask: Ask,
        deadline: Duration,
    ) -> Result<Answer<M::Reply>, Refused> {
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
        let shared = &self.shared;
        if shared.has_diverged() {
            return Err(Refusal::Corrupt.into());
        }
        let bytes = || self.bytes.clone().try_acquire_many_owned(size).ok();
        let permits = self.in_flight.clone().try_acquire_owned().ok().zip(bytes());
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

    /// A command of the state machine, executed once; its reply.
    pub async fn execute(&self, command: bytes::Bytes, deadline: Duration) -> Result<M::Reply, Refused> {
        match self.ask(Ask::Execute(command), deadline).await? {
            Answer::Reply(reply) => Ok(reply),
            Answer::Readable | Answer::Returned(_) | Answer::Topics(_) => {
                unreachable!("a command was asked for")
            }
        }
    }

    /// What is shown once a leader has confirmed that it leads.
    pub async fn barrier(&self, deadline: Duration) -> Result<Arc<M::View>, Refused> {
        match self.ask(Ask::Read, deadline).await? {
            Answer::Readable => self.shared.view().ok_or_else(|| match self.shared.has_diverged() {
                true => Refusal::Corrupt.into(),
                false => Refused::Halted(self.why_halted()),
            }),
            Answer::Reply(_) | Answer::Returned(_) | Answer::Topics(_) => {
                unreachable!("a read was asked for")
            }
        }
    }

    /// Waits until the replica serves reads.
    pub async fn serving(&self) -> Result<(), Halted> {
        let mut phase = self.shared.phase();
        match phase.wait_for(|phase| *phase != Phase::Starting).await.as_deref() {
            Ok(Phase::Serving) => Ok(()),
            _ => Err(self.why_halted()),
        }
    }

    /// Waits until the replica stops, and says why.
    pub async fn halted(&self) -> Halted {
        let mut phase = self.shared.phase();
        let _ = phase.wait_for(|phase| *phase == Phase::Halted).await; // a sender that is gone has halted
        self.why_halted()
    }

    /// Gives leadership away, if this replica leads; returns when another leads or none can, or
    /// the time is over.
    pub async fn hand_over(&self, deadline: Duration) {
        let (done, is_done) = oneshot::channel();
        if self.shared.inbox.push(Item::HandOver(done)).is_ok() {
            let _ = timeout(deadline, is_done).await; // late is as good as never
        }
    }

    /// Asks the core to stop.
    pub fn stop(&self) {
        let _ = self.shared.inbox.push(Item::Stop); // given back if it has stopped already
    }

    pub fn why_halted(&self) -> Halted {
        self.shared.halted().cloned().unwrap_or(Halted::ShutDown)
    }
}

/// Withdraws a request that nobody waits for any more.
struct Withdraw<'a, M: Machine> {
    shared: &'a Shared<M>,
    request: RequestId,
}

impl<M: Machine> Drop for Withdraw<'_, M> {
    fn drop(&mut self) {
        let _ = self.shared.inbox.push(Item::Cancel(self.request)); // a stopped core has none
    }
}

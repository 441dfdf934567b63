//! One call: attempts, backoff, and what may be repeated.

use std::{error::Error as _, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Code, ConnectError, Request, Status};

use super::{
    Client, Error, Fate,
    rpc::Rpc,
    session::{Number, Opened},
};
use crate::proto::kvorum::v1::{CloseRequest, OpenRequest};

/// How long to wait between the attempts of a call. The first round over the endpoints is not
/// delayed at all.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Upper bound of the wait before the second round; it doubles from round to round.
    pub first: Duration,
    /// Where it stops doubling.
    pub cap: Duration,
    /// Attempts at most, the first included.
    pub attempts: u32,
}

impl Retry {
    /// One attempt only.
    pub const NEVER: Self = Self { first: Duration::ZERO, cap: Duration::ZERO, attempts: 1 };

    /// Somewhere in the upper half of the bound, so that clients who failed together do not return
    /// together.
    fn wait(&self, round: u32) -> Duration {
        let bound = self.first.saturating_mul(1 << round.min(16)).min(self.cap);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

impl Default for Retry {
    /// From 20 ms to 1 s, until the deadline.
    fn default() -> Self {
        Self { first: Duration::from_millis(20), cap: Duration::from_secs(1), attempts: u32::MAX }
    }
}

/// One attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    code: Code,
    message: String,
    endpoint: String,
    /// Client URL of the leader, if the server knows it.
    leader: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An answer that will not change.
    Refused,
    /// Not executed by this attempt; another may do better.
    NotNow,
    /// The session is unknown to the server. Not executed by this attempt.
    Expired,
    /// Executed before, and the reply is gone.
    Done,
    /// No answer, or one that does not say whether the request was executed.
    Lost,
}

impl Failure {
    pub(super) fn new(endpoint: String, status: Status) -> Self {
        let leader = status.metadata().get("kvorum-leader");
        let leader = leader.and_then(|v| v.to_str().ok()).map(str::to_owned);
        let class = Class::of(&status);
        let mut message = status.message().to_owned();
        // A status that a server sent has no source; one made here says little without it.
        let mut source = status.source();
        while let Some(cause) = source {
            message = cause.to_string();
            source = cause.source();
        }
        Self { class, code: status.code(), message, endpoint, leader }
    }

    pub(super) fn silent(endpoint: String, limit: Duration) -> Self {
        let message = format!("no answer within {limit:.1?}");
        Self { class: Class::Lost, code: Code::DeadlineExceeded, message, endpoint, leader: None }
    }

    pub(super) fn refused(self, fate: Fate) -> Error {
        Error::Refused { code: self.code, message: self.message, fate }
    }
}

impl Class {
    fn of(status: &Status) -> Self {
        if status.source().is_some() {
            return if never_connected(status) { Self::NotNow } else { Self::Lost };
        }
        if status.metadata().get("kvorum-fate").is_some_and(|fate| fate == "not-executed") {
            return Self::NotNow;
        }
        match (status.code(), status.message()) {
            (Code::FailedPrecondition, "kvorum: session expired") => Self::Expired,
            (Code::FailedPrecondition, "kvorum: executed before, and the reply is no longer kept") => {
                Self::Done
            }
            (Code::FailedPrecondition, "etcdserver: not leader")
            | (Code::ResourceExhausted, "etcdserver: too many requests")
            | (
                Code::Unavailable,
                "etcdserver: no leader"
                | "there is no address available"
                | "there is no connection available",
            ) => Self::NotNow,
            (
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::DataLoss
                | Code::Unauthenticated,
                _,
            ) => Self::Refused,
            (
                Code::Ok
                | Code::Cancelled
                | Code::Unknown
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::Internal
                | Code::Unavailable,
                _,
            ) => Self::Lost,
        }
    }
}

fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The attempts of one call.
pub(super) struct Attempts<'c> {
    client: &'c Client,
    begun: Instant,
    deadline: Instant,
    failed: u32,
    silent: u32,
}

impl<'c> Attempts<'c> {
    fn new(client: &'c Client) -> Self {
        Self::resumed(client, Instant::now(), 0)
    }

    /// Those of a call that began then, and failed so often.
    pub(super) fn resumed(client: &'c Client, begun: Instant, failed: u32) -> Self {
        Self { client, begun, deadline: begun + client.settings.deadline, failed, silent: 0 }
    }

    /// A silent replica may be paused, or cut off, while the others are well: so an attempt that may
    /// be repeated elsewhere gets only a part of the time, then twice as much, and so on.
    fn limit(&self, repeatable: bool) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if !repeatable || self.client.pool.len() == 1 {
            return left;
        }
        let first = self.client.pool.dial() + Duration::from_secs(1);
        left.min(first.saturating_mul(1 << self.silent.min(16)))
    }

    async fn send<R: Rpc>(
        &mut self,
        request: R,
        repeatable: bool,
        number: Option<&Number>,
    ) -> Result<R::Reply, Result<Failure, Error>> {
        let (endpoint, channel) = self.client.pool.current().map_err(Err)?;
        let limit = self.limit(repeatable);
        let mut request = Request::new(request);
        request.set_timeout(limit);
        if let Some(number) = number {
            number.write_to(request.metadata_mut());
        }
        match timeout(limit, R::send(request, channel)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(Ok(Failure::new(endpoint, status))),
            Err(_) => {
                self.silent += 1;
                self.client.pool.disconnect(&endpoint);
                Err(Ok(Failure::silent(endpoint, limit)))
            }
        }
    }

    /// Chooses where to go next and waits as long as the policy says; an error when the call is over.
    pub(super) async fn pause(&mut self, failure: Failure, fate: Fate) -> Result<(), Error> {
        let Self { client, begun, deadline, .. } = *self;
        tracing::debug!(endpoint = failure.endpoint, reason = failure.message, ?fate, "attempt failed");
        self.failed += 1;
        let led = failure.leader.as_deref().is_some_and(|hint| client.pool.follow(&failure.endpoint, hint));
        if !led {
            client.pool.advance(&failure.endpoint);
        }
        let round = self.failed / client.pool.len() as u32;
        let wait = if round == 0 { Duration::ZERO } else { client.settings.retry.wait(round - 1) };
        if self.failed >= client.settings.retry.attempts || Instant::now() + wait >= deadline {
            let Failure { endpoint, message, .. } = failure;
            let after = begun.elapsed();
            return Err(match fate {
                Fate::NotExecuted => Error::Unavailable { endpoint, message, after },
                Fate::Unknown => Error::Unanswered { endpoint, message, after },
            });
        }
        sleep(wait).await;
        Ok(())
    }

    /// A number in the client's session, within the deadline.
    async fn number(&self) -> Result<Option<Number>, Error> {
        if !self.client.settings.exactly_once {
            return Ok(None);
        }
        let open = async || match self.client.read(OpenRequest {}).await {
            Ok(reply) => Ok(Opened::Session(reply.session)),
            Err(Error::Refused { code: Code::Unimplemented, .. }) => Ok(Opened::Unsupported),
            Err(error) => Err(error),
        };
        match timeout_at(self.deadline, self.client.session.number(open)).await {
            Ok(number) => number,
            Err(_) => Err(Error::Unavailable {
                endpoint: "this client".into(),
                message: "waiting for a session, or for earlier writes to be answered".into(),
                after: self.begun.elapsed(),
            }),
        }
    }
}

impl Client {
    /// A call that may be repeated at will.
    pub(super) async fn read<R: Rpc>(&self, request: R) -> Result<R::Reply, Error> {
        let mut attempts = Attempts::new(self);
        loop {
            let failure = match attempts.send(request.clone(), true, None).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure?,
            };
            match failure.class {
                Class::Refused | Class::Expired | Class::Done => {
                    return Err(failure.refused(Fate::NotExecuted));
                }
                Class::NotNow | Class::Lost => attempts.pause(failure, Fate::NotExecuted).await?,
            }
        }
    }

    /// A call that must not be executed twice: numbered, so that it may be repeated.
    pub(super) async fn write<R: Rpc>(&self, request: R) -> Result<R::Reply, Error> {
        let attempts = Attempts::new(self);
        let number = attempts.number().await?;
        self.execute(request, attempts, number).await
    }

    /// A call that must not be executed twice, of a service that knows no sessions: not repeated
    /// once it may have been executed.
    pub(super) async fn once<R: Rpc>(&self, request: R) -> Result<R::Reply, Error> {
        self.execute(request, Attempts::new(self), None).await
    }

    /// A call that may be repeated at will, since it has one effect however often it is executed.
    /// One that goes unanswered to the end fails with [`Error::Unanswered`].
    pub(super) async fn repeat<R: Rpc>(&self, request: R) -> Result<R::Reply, Error> {
        let mut attempts = Attempts::new(self);
        let mut fate = Fate::NotExecuted;
        loop {
            let failure = match attempts.send(request.clone(), true, None).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure?,
            };
            match failure.class {
                Class::Refused | Class::Expired | Class::Done => return Err(failure.refused(fate)),
                Class::NotNow => {}
                Class::Lost => fate = Fate::Unknown,
            }
            attempts.pause(failure, fate).await?;
        }
    }

    /// [`repeat`](Self::repeat), of a call that the caller may make again as well.
    pub(super) async fn settle<R: Rpc>(&self, request: R) -> Result<R::Reply, Error> {
        self.repeat(request).await.map_err(|error| match error {
            Error::Unanswered { endpoint, message, after } => Error::Unsettled { endpoint, message, after },
            // Looked at before the log is asked: an earlier attempt may have come before it.
            refused @ Error::Refused { code: Code::ResourceExhausted, .. } => refused,
            // Had an earlier attempt been executed, the last one would have been answered alike.
            Error::Refused { code, message, .. } => Error::Refused { code, message, fate: Fate::NotExecuted },
            other => other,
        })
    }

    /// Asks until there is something, or the deadline is there: then nothing. The server waits too.
    pub(super) async fn wait<R: Rpc, T>(
        &self,
        request: R,
        find: impl Fn(R::Reply) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let deadline = Instant::now() + self.settings.deadline;
        let mut left = self.settings.deadline;
        let mut told = false;
        loop {
            match self.clone().with_deadline(left).read(request.clone()).await {
                Ok(reply) => match find(reply)? {
                    Some(found) => return Ok(Some(found)),
                    None => told = true,
                },
                // Nothing there, as of the last answer.
                Err(Error::Unavailable { .. }) if told => return Ok(None),
                Err(error) => return Err(error),
            }
            left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_millis(1) {
                return Ok(None);
            }
        }
    }

    async fn execute<R: Rpc>(
        &self,
        request: R,
        mut attempts: Attempts<'_>,
        mut number: Option<Number>,
    ) -> Result<R::Reply, Error> {
        // What is known of all attempts so far, together.
        let mut fate = Fate::NotExecuted;
        loop {
            let sent = attempts.send(request.clone(), number.is_some(), number.as_ref()).await;
            let failure = match sent {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure?,
            };
            let mut renew = false;
            match (failure.class, &number) {
                (Class::Refused, _) | (Class::Expired, None) => return Err(failure.refused(fate)),
                (Class::Done, _) => return Err(Error::ReplyLost),
                (Class::NotNow, _) => {}
                (Class::Expired, Some(number)) => {
                    self.session.expired(number).await;
                    if fate == Fate::Unknown {
                        return Err(Error::SessionExpired);
                    }
                    renew = true;
                }
                (Class::Lost, Some(_)) => fate = Fate::Unknown,
                (Class::Lost, None) => {
                    self.pool.advance(&failure.endpoint);
                    let Failure { endpoint, message, .. } = failure;
                    return Err(Error::Unanswered { endpoint, message, after: attempts.begun.elapsed() });
                }
            }
            attempts.pause(failure, fate).await?;
            if renew {
                number = attempts.number().await?;
            }
        }
    }

    /// Ends the session, so that the replicas need not remember it. Nothing else is closed: a later
    /// write opens another session. Errors are not worth anyone's time: a session that is not closed
    /// is crowded out by newer ones some day.
    ///
    /// Cancel safe.
    pub async fn close(&self) {
        if let Some(session) = self.session.take().await {
            let _ = self.read(CloseRequest { session }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_are_never_zero() {
        let retry = Retry::default();
        for round in 0..40 {
            let bound = Duration::from_millis(20 << round.min(16)).min(retry.cap);
            let wait = retry.wait(round);
            assert!(wait >= bound / 2 && wait <= bound, "round {round}: {wait:?}");
        }
    }

    #[test]
    fn only_an_answer_that_says_so_counts_as_not_executed() {
        let class = |code, text: &str| Class::of(&Status::new(code, text));
        assert_eq!(class(Code::Unavailable, "etcdserver: no leader"), Class::NotNow);
        assert_eq!(class(Code::Unavailable, "etcdserver: request timed out"), Class::Lost);
        assert_eq!(class(Code::Unavailable, "etcdserver: leader changed"), Class::Lost);
        assert_eq!(class(Code::FailedPrecondition, "etcdserver: not leader"), Class::NotNow);
        assert_eq!(class(Code::FailedPrecondition, "etcdserver: lease already exists"), Class::Refused);
        assert_eq!(class(Code::ResourceExhausted, "etcdserver: too many requests"), Class::NotNow);
        let full = class(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert_eq!(full, Class::Refused);
        let refused = ConnectError("connection refused".into());
        assert_eq!(Class::of(&Status::from_error(Box::new(refused))), Class::NotNow);
        let broken = std::io::Error::other("broken pipe");
        assert_eq!(Class::of(&Status::from_error(Box::new(broken))), Class::Lost);
    }
}

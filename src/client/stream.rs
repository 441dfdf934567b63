//! A server's stream that outlives the server: where it ends, it is asked for again, here or elsewhere.

use std::{fmt, time::Duration};

use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status, Streaming, codegen::BoxFuture};

use super::{
    Client, Error, Fate,
    call::{Attempts, Class, Failure},
    channel::Channel,
};

/// A call that is answered by a stream.
pub(super) trait StreamRpc: Clone + Send + Sync + 'static {
    type Item: Send + 'static;

    fn open(request: Request<Self>, channel: Channel) -> BoxFuture<Response<Streaming<Self::Item>>, Status>;
}

/// What answers a request, whoever answers it.
pub(super) struct Stream<R: StreamRpc> {
    client: Client,
    /// What the next server is asked for: whoever reads moves it on.
    pub(super) request: R,
    /// Who sends, and what.
    open: Option<(String, Streaming<R::Item>)>,
    /// Since when nothing comes, and how many attempts have failed.
    trouble: Option<(Instant, u32)>,
}

impl<R: StreamRpc> Stream<R> {
    pub(super) fn new(client: Client, request: R) -> Self {
        Self { client, request, open: None, trouble: None }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What comes next. While a server is there, it is waited for as long as it takes; without one,
    /// for as long as the client's deadline.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Result<R::Item, Error> {
        loop {
            let failure = match self.take().await? {
                Ok(item) => {
                    self.trouble = None;
                    return Ok(item);
                }
                Err(failure) => failure,
            };
            self.open = None;
            match failure.class {
                Class::Refused | Class::Expired | Class::Done => {
                    self.trouble = None;
                    return Err(failure.refused(Fate::NotExecuted));
                }
                Class::NotNow | Class::Lost => self.pause(failure).await?,
            }
        }
    }

    /// The next item of the server that sends, or of one that is asked to.
    async fn take(&mut self) -> Result<Result<R::Item, Failure>, Error> {
        let (endpoint, stream) = match &mut self.open {
            Some((endpoint, stream)) => (endpoint.clone(), stream),
            None => {
                let (endpoint, channel) = self.client.pool.current()?;
                let patience = self.client.pool.dial() + Duration::from_secs(1);
                let limit = match self.client.pool.len() {
                    1 => self.client.settings.deadline,
                    _ => self.client.settings.deadline.min(patience),
                };
                match timeout(limit, R::open(Request::new(self.request.clone()), channel)).await {
                    Ok(Ok(reply)) => {
                        let (_, stream) = self.open.insert((endpoint.clone(), reply.into_inner()));
                        (endpoint, stream)
                    }
                    Ok(Err(status)) => return Ok(Err(Failure::new(endpoint, status))),
                    Err(_) => {
                        self.client.pool.disconnect(&endpoint);
                        return Ok(Err(Failure::silent(endpoint, limit)));
                    }
                }
            }
        };
        Ok(match stream.message().await {
            Ok(Some(item)) => Ok(item),
            Ok(None) => Err(Failure::new(endpoint, Status::unavailable("the stream ended"))),
            Err(status) => Err(Failure::new(endpoint, status)),
        })
    }

    async fn pause(&mut self, failure: Failure) -> Result<(), Error> {
        let (begun, failed) = self.trouble.unwrap_or((Instant::now(), 0));
        self.trouble = Some((begun, failed + 1));
        let mut attempts = Attempts::resumed(&self.client, begun, failed);
        let paused = attempts.pause(failure, Fate::NotExecuted).await;
        if paused.is_err() {
            self.trouble = None;
        }
        paused
    }
}

impl<R: StreamRpc + fmt::Debug> fmt::Debug for Stream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.open.as_ref().map(|(endpoint, _)| endpoint);
        f.debug_struct("Stream").field("request", &self.request).field("from", &from).finish()
    }
}

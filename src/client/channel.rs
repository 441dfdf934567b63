//! One way to reach a replica: over TCP, or by a call in the same process.

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{
    body::Body,
    codegen::{Body as HttpBody, BoxFuture, Bytes, Service, StdError, http},
    transport,
};

use super::Error;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(super) enum Channel {
    Tcp(transport::Channel),
    Local(Arc<dyn Fn(Request) -> BoxFuture<Response, StdError> + Send + Sync>),
}

impl Channel {
    /// Connects at the first call, and again after the connection broke. Needs a tokio runtime.
    pub(super) fn tcp(uri: &str, dial: Duration) -> Result<Self, Error> {
        let endpoint = transport::Endpoint::from_shared(uri.to_owned())
            .map_err(|e| Error::Endpoint { endpoint: uri.to_owned(), reason: e.to_string() })?;
        let channel = endpoint
            .connect_timeout(dial)
            .tcp_nodelay(true)
            // Not more often than etcd servers put up with.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(3))
            .connect_lazy();
        Ok(Self::Tcp(channel))
    }

    pub(super) fn local<S, B>(service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<StdError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        Self::Local(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(Body::new))
            })
        }))
    }
}

impl Service<Request> for Channel {
    type Response = Response;
    type Error = StdError;
    type Future = BoxFuture<Response, StdError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match self {
            Self::Tcp(channel) => channel.poll_ready(cx).map_err(Into::into),
            // Readiness belongs to the clone that takes the call.
            Self::Local(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self {
            Self::Tcp(channel) => {
                let response = channel.call(request);
                Box::pin(async { response.await.map_err(Into::into) })
            }
            Self::Local(call) => call(request),
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Local(_) => "Local",
        })
    }
}

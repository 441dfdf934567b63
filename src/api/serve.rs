//! The port: gRPC and plain HTTP, HTTP/2 and HTTP/1.1, all on one listener.

use super::Limits;
use super::authority::Lenient;
use super::outflow::Connection;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tonic::codegen::Service;
use tonic::service::Routes;

/// A connection has to begin within so long, and to answer a ping.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a connection is asked whether the client is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes that a connection of HTTP/1.1 buffers each way: what is asked there, and answered, is short.
const PLAIN: usize = 16 << 10;
/// What the listener waits when the system is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How often the same trouble is worth a line of the log.
const SELDOM: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection; no HTTP connection begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// Serves `routes` on `listener` until `shutdown` ends; then takes no more connections, lets the
/// requests under way finish, and closes what is left after [`Limits::drain`].
///
/// Never fails: a connection that cannot be served is closed, and the log says why.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let router = routes.prepare().into_axum_router();
    let server =
        Server { builder: builder(&limits), router, limits, tls: Seldom::default(), slow: Seldom::default() };
    let server = Arc::new(server);
    let room = Arc::new(Semaphore::new(limits.connections));
    let (close, closing) = watch::channel(());
    let mut tasks = tokio::task::JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let (full, exhausted) = (Seldom::default(), Seldom::default());
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if exhausted.now() {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                sleep(EXHAUSTED).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            if full.now() {
                tracing::warn!(%peer, limit = limits.connections, "too many connections: closes new ones");
            }
            continue;
        };
        let (server, closing) = (server.clone(), closing.clone());
        tasks.spawn(async move {
            server.connection(stream, peer, closing).await;
            drop(permit);
        });
    }
    drop(listener);
    close.send_replace(());
    if timeout(limits.drain, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = tasks.len(), "closed connections that did not end in time");
    }
    tasks.shutdown().await;
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: axum::Router,
    limits: Limits,
    /// When to say that TLS is not served.
    tls: Seldom,
    /// When to say that a client does not read.
    slow: Seldom,
}

/// Requests that say which connection they came from.
#[derive(Clone)]
struct Known {
    router: axum::Router,
    connection: Arc<Connection>,
}

impl<B> Service<Request<B>> for Known
where
    axum::Router: Service<Request<B>>,
{
    type Response = <axum::Router as Service<Request<B>>>::Response;
    type Error = <axum::Router as Service<Request<B>>>::Error;
    type Future = <axum::Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.router.call(request)
    }
}

/// What every connection of a client that tries again and again could say is said now and then.
#[derive(Default)]
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn now(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= SELDOM);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_buf_size(PLAIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(HANDSHAKE)
        .max_concurrent_streams(limits.streams);
    builder
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, mut closing: watch::Receiver<()>) {
        let first = tokio::select! {
            first = first_byte(&stream) => first,
            _ = closing.changed() => return,
        };
        match first {
            None => return,
            Some(TLS_HANDSHAKE) => {
                if self.tls.now() {
                    tracing::warn!(%peer, "TLS is not served yet: closed the connection; use http:// endpoints");
                }
                return;
            }
            Some(_) => {}
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let replies = Connection::new(&self.limits);
        let service =
            TowerToHyperService::new(Known { router: self.router.clone(), connection: replies.clone() });
        let connection = self.builder.serve_connection(TokioIo::new(Lenient::new(stream)), service);
        let mut connection = std::pin::pin!(connection);
        let ended = async {
            tokio::select! {
                result = &mut connection => result,
                _ = closing.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let result = tokio::select! {
            result = ended => result,
            () = replies.stalled() => {
                if self.slow.now() {
                    tracing::warn!(%peer, "closed a connection whose client does not read what it asked for");
                }
                return;
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error, "a connection broke");
        }
    }
}

/// What a connection begins with; nothing if it does not.
async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    match timeout(HANDSHAKE, stream.peek(&mut first)).await {
        Ok(Ok(1)) => Some(first[0]),
        _ => None,
    }
}

//! The ports of a node: bound before anything is written, served until it stops.

use super::error::Error;
use crate::transport::Address;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Connections of clients at any time, on one port.
const CONNECTIONS: usize = 8192;
/// A client that lets pings go unanswered for so long is gone.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// Binds addresses. A port that a killed process has just left is free at once (SO_REUSEADDR, which
/// the standard library sets), and one that somebody listens on never is.
pub(super) fn bind(
    addresses: &[Address],
    purpose: &'static str,
) -> Result<Vec<(Address, TcpListener)>, Error> {
    let bind = |address: &Address| {
        let listener = (address.host(), address.port())
            .to_socket_addrs()
            .and_then(|found| {
                let found: Vec<SocketAddr> = found.collect();
                TcpListener::bind(&found[..])
            })
            .map_err(|source| Error::Listen { address: address.to_string(), purpose, source })?;
        let port = listener
            .local_addr()
            .map_err(|source| Error::System { doing: "tell which port is bound", source })?
            .port();
        Ok((Address::new(address.host(), port), listener))
    };
    addresses.iter().map(bind).collect()
}

/// Where others reach what listens here: the same, unless that is no address to connect to.
pub(super) fn reachable(listening: &[(Address, TcpListener)]) -> Vec<Address> {
    let reachable = |(address, _): &(Address, TcpListener)| match address.is_unspecified() {
        true => Address::new("localhost", address.port()),
        false => address.clone(),
    };
    listening.iter().map(reachable).collect()
}

/// Serves the client port: gRPC, and HTTP/1.1 beside it, until told to leave; then finishes what
/// is under way.
pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    mut leave: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let full = connections.len() >= CONNECTIONS;
        tokio::select! {
            () = told_to(&mut leave) => break,
            _ = connections.join_next(), if full => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((socket, from)) => {
                    let _ = socket.set_nodelay(true); // slower without, and no less right
                    connections.spawn(connection(socket, from, router.clone(), leave.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: nothing to do but wait for some to come back.
                    tracing::warn!(%error, "cannot accept a client's connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    socket: tokio::net::TcpStream,
    from: SocketAddr,
    router: axum::Router,
    mut leave: watch::Receiver<bool>,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_concurrent_streams(4096);
    server.http1().timer(TokioTimer::new());
    let connection =
        server.serve_connection_with_upgrades(TokioIo::new(socket), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to(&mut leave) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a client's connection broke");
    }
}

async fn told_to(leave: &mut watch::Receiver<bool>) {
    let _ = leave.wait_for(|leave| *leave).await; // a node that is gone has told so, too
}

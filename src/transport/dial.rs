//! The dialer of one peer: opens the stream, and opens it again.

use super::queue::{Frames, Queue};
use super::*;
use crate::proto::peer::{Envelope, envelope::Body, peer_client::PeerClient};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

/// Between two attempts, at first and at most; doubled each time, and jittered so that replicas
/// which lost each other do not come back in step.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Why no stream is open.
enum Broken {
    /// Nobody listens there.
    ConnectionRefused,
    /// One side refused the other's hello.
    Refused(String),
    /// Anything else.
    Other(String),
}

/// An open stream: what comes back on it, and the way to let frames into it.
struct Open {
    replies: Streaming<Envelope>,
    gate: oneshot::Sender<Frames>,
}

pub(super) async fn run(shared: Arc<Shared>, peer: Peer, queue: Arc<Queue>) {
    let known = &shared.known[&peer.process];
    let mut backoff = BACKOFF.0;
    let mut was_open = false;
    let mut reported_dead = false;
    for address in peer.addresses.iter().cycle() {
        match open(&shared, &peer, address).await {
            Ok(stream) => {
                if was_open {
                    shared.counts.reconnects.add(1);
                }
                (was_open, reported_dead, backoff) = (true, false, BACKOFF.0);
                info!(peer = %peer.name, %address, "stream to peer opened");
                let why = hold(&shared, &peer, &queue, stream).await;
                info!(peer = %peer.name, %address, why, "stream to peer broke");
                // Tried again almost at once: whether that is refused tells whether the peer is dead.
            }
            Err(Broken::ConnectionRefused) => {
                debug!(peer = %peer.name, %address, "peer is not listening");
                if was_open && !reported_dead {
                    reported_dead = true;
                    (shared.heard)(Heard::Refused(peer.process));
                }
            }
            Err(Broken::Refused(reason)) => {
                shared.counts.refused.add(1);
                if known.refused(&reason) {
                    warn!(peer = %peer.name, %address, "this replica and a peer do not belong together: {reason}");
                }
                backoff = BACKOFF.1;
            }
            Err(Broken::Other(why)) => debug!(peer = %peer.name, %address, why, "cannot reach peer"),
        }
        let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        backoff = (backoff * 2).min(BACKOFF.1);
        tokio::select! {
            () = sleep(pause) => {}
            () = known.up.notified() => {}
        }
    }
}

/// Connects, and exchanges hellos.
async fn open(shared: &Arc<Shared>, peer: &Peer, address: &Address) -> Result<Open, Broken> {
    let other = |e: &(dyn Error + 'static)| Broken::Other(chain(e));
    let channel = Endpoint::from_shared(address.to_string())
        .map_err(|e| other(&e))?
        .connect_timeout(HELLO_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .connect()
        .await
        .map_err(|e| if is_refused(&e) { Broken::ConnectionRefused } else { other(&e) })?;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);

    let (gate, gated) = oneshot::channel();
    let outflow = Outflow {
        shared: shared.clone(),
        hello: Some(shared.group.me.hello()),
        frames: Gated::Closed(gated),
    };
    let greeting = timeout(HELLO_TIMEOUT, async {
        let mut replies = client.stream(outflow).await?.into_inner();
        let first = replies.message().await?;
        Ok::<_, tonic::Status>((replies, first))
    });
    let (replies, first) = match greeting.await {
        Err(_) => return Err(Broken::Other("no hello in time".into())),
        Ok(Err(status)) => return Err(Broken::Other(status.to_string())),
        Ok(Ok(greeting)) => greeting,
    };
    let identity = match first.and_then(|e| e.body) {
        Some(Body::Hello(hello)) => shared.group.check(hello).map_err(Broken::Refused)?,
        Some(Body::Refused(refused)) => return Err(Broken::Refused(refused.reason)),
        Some(Body::Frame(_)) | None => return Err(Broken::Other("not a hello".into())),
    };
    if identity.process != peer.process {
        return Err(Broken::Refused(format!(
            "{:?} dialed {:?} at {address} and met {:?}; check --initial-cluster",
            shared.group.me.name, peer.name, identity.name
        )));
    }
    shared.known[&peer.process].greeted(identity);
    Ok(Open { replies, gate })
}

/// Lets frames out until the stream breaks; returns why it did.
async fn hold(shared: &Shared, peer: &Peer, queue: &Arc<Queue>, stream: Open) -> String {
    let Open { mut replies, gate } = stream;
    if gate.send(queue.open()).is_err() {
        return "the connection closed".into();
    }
    let connected = &shared.known[&peer.process].connected;
    connected.store(true, Ordering::Relaxed);
    (shared.heard)(Heard::Connected(peer.process));
    let why = loop {
        match replies.message().await {
            Ok(Some(_)) => {} // nothing is said there after the hello, yet
            Ok(None) => break "the peer ended it".to_owned(),
            Err(status) => break chain(&status),
        }
    };
    connected.store(false, Ordering::Relaxed);
    why
}

/// What goes out: the hello, and frames once the peer has said its own.
struct Outflow {
    shared: Arc<Shared>,
    hello: Option<Envelope>,
    frames: Gated,
}

enum Gated {
    Closed(oneshot::Receiver<Frames>),
    Open(Frames),
    Over,
}

impl Stream for Outflow {
    type Item = Envelope;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(hello));
        }
        loop {
            match &mut self.frames {
                Gated::Closed(gate) => {
                    let opened = ready!(Pin::new(gate).poll(cx));
                    self.frames = opened.map_or(Gated::Over, Gated::Open);
                }
                Gated::Open(frames) => {
                    let frame = ready!(Pin::new(frames).poll_next(cx));
                    let Some(frame) = frame else {
                        self.frames = Gated::Over;
                        continue;
                    };
                    self.shared.counts.frames_out.add(1);
                    self.shared.counts.bytes_out.add(frame.bytes().len() as u64);
                    return Poll::Ready(Some(Envelope { body: Some(Body::Frame(frame.bytes().clone())) }));
                }
                Gated::Over => return Poll::Ready(None),
            }
        }
    }
}

/// An error and its causes, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'e (dyn Error + 'static)| (*e).source())
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// An error with its causes: the outermost alone is often just "transport error".
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

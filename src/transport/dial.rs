//! The dialer of one peer: opens the stream, and opens it again.

use super::live::{self, Live, envelope};
use super::queue::{Frames, Queue};
use super::*;
use crate::proto::peer::{Envelope, envelope::Body, peer_client::PeerClient};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

/// Between two attempts, at first and at most; doubled each time, and jittered so that replicas
/// which lost each other do not come back in step.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long a peer is waited for that has not called back yet: it does as soon as it hears of us.
const CALL_BACK: Duration = Duration::from_secs(1);

/// Why no stream is open.
enum Broken {
    /// Nobody listens there.
    ConnectionRefused,
    /// One side refused the other's hello: what the own log says of it.
    Refused(String),
    /// Anything else.
    Other(String),
}

/// An open stream: who is there, what comes back on it, and the way to let frames into it.
struct Open {
    identity: Identity,
    live: Live,
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
                let live = stream.live.clone();
                let why = hold(&shared, &peer, &queue, stream).await;
                known.over(&live);
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
                    warn!(%address, "this replica and a peer do not belong together: {reason}");
                }
                backoff = BACKOFF.1;
            }
            Err(Broken::Other(why)) => debug!(peer = %peer.name, %address, why, "cannot reach peer"),
        }
        let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        backoff = (backoff * 2).min(BACKOFF.1);
        // Whoever calls makes us call back, and not at any rate.
        sleep(pause.min(BACKOFF.0)).await;
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

    let known = &shared.known[&peer.process];
    let (gate, gated) = oneshot::channel();
    let (words, said) = live::words();
    let outflow = Outflow {
        shared: shared.clone(),
        hello: Some(shared.group.me.hello(known.number)),
        words: said,
        frames: Gated::Closed(gated),
    };
    let greeting = timeout(HELLO_TIMEOUT, async {
        let mut replies = client.stream(outflow).await?.into_inner();
        let first = replies.message().await?;
        Ok::<_, tonic::Status>((replies, first))
    });
    let (replies, first) = match greeting.await {
        Err(_) => return Err(Broken::Other("no hello in time".into())),
        Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
            let why = format!("{:?} speaks another peer protocol; upgrade the older of both", peer.name);
            return Err(Broken::Refused(why));
        }
        Ok(Err(status)) => return Err(Broken::Other(status.to_string())),
        Ok(Ok(greeting)) => greeting,
    };
    let group = &shared.group;
    let identity = match first.and_then(|e| e.body) {
        Some(Body::Hello(hello)) => group.check(hello).map_err(|m| Broken::Refused(m.why))?,
        Some(Body::Refused(refused)) => {
            let said: String = refused.reason.chars().take(REASON).collect();
            return Err(Broken::Refused(format!("{:?} refuses: {said}; {}", peer.name, group.own())));
        }
        Some(_) | None => return Err(Broken::Other("not a hello".into())),
    };
    if identity.process != peer.process {
        return Err(Broken::Refused(group.met(peer, &identity).why));
    }
    if known.has_twin_of(identity.life).await {
        return Err(Broken::Refused(group.twin(&peer.name).why));
    }
    let live = Live::new(identity.life, words);
    Ok(Open { identity, live, replies, gate })
}

/// Characters of another's reason that are worth a line in the log.
const REASON: usize = 300;

/// Proves who this is, and lets frames out until the stream breaks; returns why it did.
async fn hold(shared: &Shared, peer: &Peer, queue: &Arc<Queue>, stream: Open) -> String {
    let Open { identity, live, mut replies, gate } = stream;
    let known = &shared.known[&peer.process];
    let mut told = known.told.subscribe();
    // A peer that has been told of us by nobody cannot believe us: it would drop what we say first.
    let _ = timeout(CALL_BACK, told.wait_for(|told| *told != [0; 2])).await;
    prove(&live, *told.borrow_and_update());
    if gate.send(queue.open()).is_err() {
        return "the connection closed".into();
    }
    known.opened(&live, &identity);
    (shared.heard)(Heard::Connected(peer.process));
    loop {
        tokio::select! {
            said = replies.message() => match said {
                Ok(Some(Envelope { body: Some(word) })) => live.upon(&word),
                Ok(Some(Envelope { body: None })) => {}
                Ok(None) => return "the peer ended it".to_owned(),
                Err(status) => return chain(&status),
            },
            Ok(()) = told.changed() => prove(&live, *told.borrow_and_update()),
            () = live.ended() => return "another process took its name".to_owned(),
        }
    }
}

/// Names what was told here, wherever that came from: only what the peer itself told is right.
fn prove(live: &Live, told: [u64; 2]) {
    for number in told.into_iter().filter(|number| *number != 0) {
        live.say(Body::Proof(number));
    }
}

/// What goes out: the hello; then, once the peer has said its own, words, and frames behind them.
struct Outflow {
    shared: Arc<Shared>,
    hello: Option<Envelope>,
    words: mpsc::Receiver<Body>,
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
        if let Poll::Ready(Some(word)) = self.words.poll_recv(cx) {
            return Poll::Ready(Some(envelope(word)));
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

//! The peer port: accepts streams, checks hellos and frames.
//!
//! Of those who have said nothing yet, or were refused, the youngest have a place: a member says hello
//! at once, and is not kept out by those who do not. A member has a place of its own.

use super::hello::{Mismatch, refusal};
use super::live::{self, Live, envelope};
use super::*;
use crate::proto::peer::{
    Envelope, Hello,
    envelope::Body,
    peer_server::{self, PeerServer},
};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

/// Connections of nobody that is known, at any time.
const WAITING: usize = 32;
/// Bytes of frames of one stream that were heard and not handled yet.
const ROOM: usize = 32 << 20;
/// How long a connection whose stream is over may take to close.
const CLOSING: Duration = Duration::from_secs(1);

/// The connections that are no member's, or not yet, oldest first.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<(u64, AbortHandle)>>);

impl Waiting {
    /// A connection came: the oldest goes, if there are too many.
    fn add(&self, id: u64, spawn: impl FnOnce() -> AbortHandle) {
        // Held meanwhile: the connection must not be a member's before it waits.
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((id, spawn()));
        if waiting.len() > WAITING
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.abort();
        }
    }

    /// A connection is a member's, or over.
    fn remove(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != id);
    }
}

pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let waiting = Arc::new(Waiting::default());
    for id in 0_u64.. {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, from)) => {
                let (shared, among) = (shared.clone(), waiting.clone());
                let served = async move {
                    if let Err(why) = serve(&shared, socket, || among.remove(id)).await {
                        shared.counts.garbage.add(1);
                        if shared.seldom.now() {
                            warn!(%from, why, "dropped a connection to the peer port that is no peer's");
                        }
                    }
                    among.remove(id);
                };
                waiting.add(id, || connections.spawn(served));
            }
            Err(error) => {
                // Out of descriptors, most likely: nothing to do but wait for some to come back.
                warn!(%error, "cannot accept a connection on the peer port");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody has said hello.
    Silent,
    /// Somebody has.
    Greeted,
    /// A member is heard.
    Proved,
    /// Nothing more is heard on it.
    Over,
}

/// Serves one connection to its end; `is_member` is called once it is one's. An error means that it was
/// no peer.
async fn serve(shared: &Arc<Shared>, socket: TcpStream, is_member: impl Fn()) -> Result<(), String> {
    let _ = socket.set_nodelay(true); // slower without, and no less right
    let (stage, mut at) = watch::channel(Stage::Silent);
    let acceptor = Acceptor { shared: shared.clone(), stage: Arc::new(stage) };
    let service = PeerServer::new(acceptor)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let router = tonic::service::Routes::new(service).into_axum_router();
    let mut server = auto::Builder::new(TokioExecutor::new()).http2_only();
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .max_concurrent_streams(1);
    let connection = server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        hello = timeout(HELLO_TIMEOUT, at.wait_for(|stage| *stage != Stage::Silent)) => match hello {
            Ok(_) => None,
            Err(_) => return Err("no hello in time".into()),
        },
    };
    if let Some(ended) = ended {
        return match ended {
            Ok(()) if *at.borrow() == Stage::Silent => Err("closed without a hello".into()),
            Ok(()) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
    }
    // Said hello: whatever ends it now is the network, or its stream.
    let mut ended = None;
    while ended.is_none() {
        let moved = tokio::select! {
            why = &mut connection => {
                ended = Some(why);
                break;
            }
            moved = at.changed() => moved.is_ok(),
        };
        let stage = *at.borrow_and_update();
        match stage {
            Stage::Proved if moved => is_member(),
            Stage::Silent | Stage::Greeted if moved => {}
            Stage::Over | Stage::Silent | Stage::Greeted | Stage::Proved => {
                connection.as_mut().graceful_shutdown();
                ended = timeout(CLOSING, &mut connection).await.ok().or(Some(Ok(())));
            }
        }
    }
    if let Some(Err(error)) = ended {
        debug!(%error, "a peer's connection broke");
    }
    Ok(())
}

/// The gRPC service of one connection.
#[derive(Clone)]
struct Acceptor {
    shared: Arc<Shared>,
    stage: Arc<watch::Sender<Stage>>,
}

type Replies = Pin<Box<dyn Stream<Item = Result<Envelope, Status>> + Send>>;

#[tonic::async_trait]
impl peer_server::Peer for Acceptor {
    type StreamStream = Replies;

    async fn stream(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Replies>, Status> {
        let mut envelopes = request.into_inner();
        let hello = match timeout(HELLO_TIMEOUT, envelopes.message()).await {
            Ok(Ok(Some(Envelope { body: Some(Body::Hello(hello)) }))) => hello,
            _ => return Err(Status::invalid_argument("a stream begins with a hello")),
        };
        let _ = self.stage.send_replace(Stage::Greeted);
        let call = hello.call;
        let identity = match self.check(hello).await {
            Ok(identity) => identity,
            Err(refused) => {
                // Said, and then closed.
                let stage = self.stage.clone();
                let over = tokio_stream::once(()).filter_map(move |()| {
                    stage.send_replace(Stage::Over);
                    None
                });
                let last = tokio_stream::once(Ok(refused)).chain(over);
                return Ok(Response::new(Box::pin(last)));
            }
        };
        let (words, said) = live::words();
        let live = Live::new(identity.life, words);
        self.shared.known[&identity.process].hailed(&live, call);
        let hello = self.shared.group.me.hello(0);
        let reader = Reader { shared: self.shared.clone(), identity, call, live, stage: self.stage.clone() };
        tokio::spawn(reader.run(envelopes));
        let said = ReceiverStream::new(said).map(|word| Ok(envelope(word)));
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(hello)).chain(said))))
    }
}

impl Acceptor {
    /// Who said this hello; else what to answer.
    async fn check(&self, hello: Hello) -> Result<Identity, Envelope> {
        let name = hello.name.clone();
        let identity = match self.shared.group.check(hello) {
            Ok(identity) => identity,
            Err(mismatch) => return Err(self.refuse(&name, mismatch)),
        };
        if self.shared.known[&identity.process].has_twin_of(identity.life).await {
            return Err(self.refuse(&name, self.shared.group.twin(&name)));
        }
        Ok(identity)
    }

    fn refuse(&self, name: &str, mismatch: Mismatch) -> Envelope {
        let Mismatch { told, why } = mismatch;
        self.shared.counts.refused.add(1);
        let peer = self.shared.group.peers.iter().find(|p| p.name == name);
        // A stranger that knocks again and again is named now and then, a member once.
        let news = match peer {
            Some(peer) => self.shared.known[&peer.process].refused(&why),
            None => self.shared.seldom.now(),
        };
        if news {
            warn!("this replica and a peer do not belong together: {why}");
        }
        refusal(told)
    }
}

/// Reads the frames of one accepted stream.
struct Reader {
    shared: Arc<Shared>,
    identity: Identity,
    /// What the dialer wants to be named.
    call: u64,
    live: Live,
    stage: Arc<watch::Sender<Stage>>,
}

impl Reader {
    async fn run(self, mut envelopes: Streaming<Envelope>) {
        tokio::select! {
            () = self.read(&mut envelopes) => {}
            () = self.live.ended() => {}
        }
        self.shared.known[&self.identity.process].over(&self.live);
        let _ = self.stage.send_replace(Stage::Over);
    }

    async fn read(&self, envelopes: &mut Streaming<Envelope>) {
        let known = &self.shared.known[&self.identity.process];
        let room = Arc::new(Semaphore::new(ROOM));
        let mut proved = false;
        while let Ok(Some(envelope)) = envelopes.message().await {
            match envelope.body {
                Some(Body::Frame(bytes)) if proved => self.frame(bytes, &room).await,
                Some(Body::Frame(_)) => self.unproven(),
                Some(Body::Proof(number)) if !proved && number == known.number => {
                    proved = true;
                    let Identity { name, incarnation, .. } = &self.identity;
                    info!(peer = %name, incarnation, "stream from peer accepted");
                    known.proved(&self.live, &self.identity, self.call);
                    let _ = self.stage.send_replace(Stage::Proved);
                }
                Some(word) => self.live.upon(&word),
                None => {}
            }
        }
    }

    fn unproven(&self) {
        self.shared.counts.frames_unproven.add(1);
        if self.shared.seldom.now() {
            warn!(
                peer = %self.identity.name,
                "dropped a frame of somebody of this name who is not at its address in --initial-cluster, or was not \
                 reached there yet"
            );
        }
    }

    async fn frame(&self, bytes: Bytes, room: &Arc<Semaphore>) {
        let counts = &self.shared.counts;
        let size = bytes.len();
        let frame = match Opened::check(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                counts.frames_corrupt.add(1);
                if self.shared.seldom.now() {
                    warn!(peer = %self.identity.name, %error, "dropped a frame");
                }
                return;
            }
        };
        counts.frames_in.add(1);
        counts.bytes_in.add(size as u64);
        let share = size.min(ROOM) as u32;
        // Never closed, so this only waits for the core to catch up.
        if let Ok(permit) = room.clone().acquire_many_owned(share).await {
            let from = self.identity.process;
            (self.shared.heard)(Heard::Frame { from, frame, room: Room { _permit: permit } });
        }
    }
}

//! The peer port: accepts streams, checks hellos and frames.

use super::hello::refusal;
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
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

/// Connections on the peer port at any time: two per peer would do.
const CONNECTIONS: usize = 256;
/// Bytes of frames of one stream that were heard and not handled yet.
const ROOM: usize = 32 << 20;

pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((socket, from)) => {
                let shared = shared.clone();
                connections.spawn(async move {
                    if let Err(why) = serve(&shared, socket).await {
                        shared.counts.garbage.add(1);
                        if shared.seldom.now() {
                            warn!(%from, why, "dropped a connection to the peer port that is no peer's");
                        }
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: nothing to do but wait for some to come back.
                warn!(%error, "cannot accept a connection on the peer port");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection to its end. An error means that it was no peer.
async fn serve(shared: &Arc<Shared>, socket: TcpStream) -> Result<(), String> {
    let _ = socket.set_nodelay(true); // slower without, and no less right
    let (greeted, mut is_greeted) = watch::channel(false);
    let acceptor = Acceptor { shared: shared.clone(), greeted: Arc::new(greeted) };
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
        .max_concurrent_streams(4);
    let connection = server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = {
        let waits_for_hello = is_greeted.wait_for(|greeted| *greeted);
        tokio::select! {
            ended = &mut connection => Some(ended),
            hello = timeout(HELLO_TIMEOUT, waits_for_hello) => match hello {
                Ok(_) => None,
                Err(_) => return Err("no hello in time".into()),
            }
        }
    };
    match ended {
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(())) if *is_greeted.borrow() => Ok(()),
        Some(Ok(())) => Err("closed without a hello".into()),
        None => {
            // Said hello: whatever ends it now is the network, and the dialer's to repair.
            if let Err(error) = connection.await {
                debug!(%error, "a peer's connection broke");
            }
            Ok(())
        }
    }
}

/// The gRPC service of one connection.
#[derive(Clone)]
struct Acceptor {
    shared: Arc<Shared>,
    /// Set once a peer, also one that does not belong here, has said hello.
    greeted: Arc<watch::Sender<bool>>,
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
        let _ = self.greeted.send_replace(true);
        let identity = match self.shared.group.check(hello.clone()) {
            Ok(identity) => identity,
            Err(reason) => {
                self.refuse(&hello, &reason);
                return Ok(Response::new(Box::pin(tokio_stream::once(Ok(refusal(&reason))))));
            }
        };
        let from = identity.process;
        info!(peer = %identity.name, incarnation = identity.incarnation, "stream from peer accepted");
        let known = &self.shared.known[&from];
        known.greeted(identity);
        known.up.notify_one();
        let generation = {
            let mut inner = known.lock();
            inner.accepted += 1;
            inner.accepted
        };
        // The replies end when the reader does; when the connection drops the replies, the reader
        // finds nobody left to tell, and its source gone.
        let (open, is_open) = watch::channel(());
        let reader = Reader { shared: self.shared.clone(), from, generation };
        tokio::spawn(async move {
            tokio::select! {
                () = reader.run(envelopes) => {}
                () = open.closed() => {}
            }
        });
        let hello = self.shared.group.me.hello();
        let replies = tokio_stream::once(Ok(hello))
            .chain(WatchStream::from_changes(is_open).map(|()| Ok(Envelope { body: None })));
        Ok(Response::new(Box::pin(replies)))
    }
}

impl Acceptor {
    fn refuse(&self, hello: &Hello, reason: &str) {
        self.shared.counts.refused.add(1);
        let peer = self.shared.group.peers.iter().find(|p| p.name == hello.name);
        // A stranger that knocks again and again is named now and then, a member once.
        let news = match peer {
            Some(peer) => self.shared.known[&peer.process].refused(reason),
            None => self.shared.seldom.now(),
        };
        if news {
            warn!(peer = %hello.name, "this replica and a peer do not belong together: {reason}");
        }
    }
}

/// Reads the frames of one accepted stream.
struct Reader {
    shared: Arc<Shared>,
    from: ProcessId,
    generation: u64,
}

impl Reader {
    async fn run(self, mut envelopes: Streaming<Envelope>) {
        let room = Arc::new(Semaphore::new(ROOM));
        while let Ok(Some(envelope)) = envelopes.message().await {
            if self.shared.known[&self.from].lock().accepted != self.generation {
                return;
            }
            match envelope.body {
                Some(Body::Frame(bytes)) => self.frame(bytes, &room).await,
                Some(Body::Hello(_) | Body::Refused(_)) | None => {}
            }
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
                    warn!(peer = %self.from, %error, "dropped a frame");
                }
                return;
            }
        };
        counts.frames_in.add(1);
        counts.bytes_in.add(size as u64);
        let share = size.min(ROOM) as u32;
        // Never closed, so this only waits for the core to catch up.
        if let Ok(permit) = room.clone().acquire_many_owned(share).await {
            (self.shared.heard)(Heard::Frame { from: self.from, frame, room: Room { _permit: permit } });
        }
    }
}

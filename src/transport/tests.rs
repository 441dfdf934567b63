//! Transports that talk over real sockets.

use super::*;
use crate::kernel::{Component, Journal, Message, Mutants, Slot};
use crate::proto::peer::peer_client::PeerClient;
use crate::proto::peer::peer_server::{Peer as PeerService, PeerServer};
use crate::proto::peer::{Envelope, envelope::Body};
use serde::{Deserialize, Serialize};
use std::net::TcpListener as Socket;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Note(u64, Vec<u8>);

impl Message for Note {
    const COMPONENT: Component = Component::Consensus;
    fn kind(&self) -> u8 {
        1
    }
    fn slot(&self) -> Slot {
        Slot::Window
    }
}

/// Frames leave only by way of a journal, in tests too.
fn exposed(to: ProcessId, note: &Note) -> Exposed<Outgoing> {
    let mut journal = Journal::<()>::new(Mutants::default());
    journal.turn(|turn, _| turn.send(to, note)).1.frames.remove(0)
}

fn identity(process: u8, incarnation: u64) -> Identity {
    Identity {
        cluster: 1,
        configuration: 2,
        process: ProcessId(process),
        name: format!("n{process}"),
        incarnation,
        disk: 4,
        life: 100 * u64::from(process) + incarnation,
        client_urls: vec![format!("http://127.0.0.1:{process}")],
    }
}

fn socket() -> (Socket, u16) {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

struct Node {
    transport: Transport,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Node {
    fn start(me: Identity, socket: Socket, peer: u8, port: u16) -> Node {
        let (tell, heard) = mpsc::unbounded_channel();
        let peer = Peer {
            process: ProcessId(peer),
            name: format!("n{peer}"),
            addresses: vec![Address::new("127.0.0.1", port)],
        };
        let listener: Listener = Arc::new(move |event| drop(tell.send(event)));
        let transport = Transport::start(me, vec![socket], vec![peer], Bounds::default(), listener).unwrap();
        Node { transport, heard }
    }

    async fn hears(&mut self) -> Heard {
        timeout(Duration::from_secs(10), self.heard.recv()).await.expect("silence").expect("open")
    }

    async fn hears_note(&mut self) -> Note {
        loop {
            if let Heard::Frame { frame, .. } = self.hears().await {
                return frame.message().unwrap();
            }
        }
    }

    async fn until(&self, what: impl Fn(Counters) -> bool) {
        let all = async {
            while !what(self.transport.counters()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), all).await.expect("counters never came to that");
    }
}

fn pair() -> (Node, Node) {
    let ((a, at_a), (b, at_b)) = (socket(), socket());
    (Node::start(identity(0, 1), a, 1, at_b), Node::start(identity(1, 1), b, 0, at_a))
}

#[tokio::test]
async fn frames_arrive_in_order_and_whole() {
    let (mut a, mut b) = pair();
    assert!(matches!(a.hears().await, Heard::Connected(ProcessId(1))));
    for n in 0..1000 {
        a.transport.send(exposed(ProcessId(1), &Note(n, vec![7; (n as usize * 37) % 5000])));
    }
    for n in 0..1000 {
        assert_eq!(b.hears_note().await, Note(n, vec![7; (n as usize * 37) % 5000]));
    }
    assert_eq!(a.transport.counters().frames_out, 1000);
    assert_eq!(b.transport.counters().frames_in, 1000);
    let peers = b.transport.peers();
    assert_eq!(peers[&ProcessId(0)].identity.as_ref().unwrap(), &identity(0, 1));
}

#[tokio::test]
async fn a_frame_of_the_largest_size_arrives() {
    let (mut a, mut b) = pair();
    assert!(matches!(a.hears().await, Heard::Connected(_)));
    let note = Note(1, vec![9; MAX_BODY - 64]);
    a.transport.send(exposed(ProcessId(1), &note));
    assert!(b.hears_note().await == note);
}

#[tokio::test]
async fn a_peer_that_dies_is_reported_and_found_again_when_it_comes_back() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let b = Node::start(identity(1, 1), socket_b, 0, at_a);
    assert!(matches!(a.hears().await, Heard::Connected(ProcessId(1))));
    drop(b);
    assert!(matches!(a.hears().await, Heard::Refused(ProcessId(1))));
    let again = Socket::bind(("127.0.0.1", at_b)).unwrap();
    let mut b = Node::start(identity(1, 2), again, 0, at_a);
    assert!(matches!(a.hears().await, Heard::Connected(ProcessId(1))));
    assert_eq!(a.transport.counters().reconnects, 1);
    a.transport.send(exposed(ProcessId(1), &Note(5, vec![])));
    assert_eq!(b.hears_note().await, Note(5, vec![]));
    let peers = a.transport.peers();
    assert_eq!(peers[&ProcessId(1)].identity.as_ref().unwrap().incarnation, 2);
}

#[tokio::test]
async fn a_peer_of_another_configuration_is_refused_on_both_sides() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let other = Identity { configuration: 9, ..identity(1, 1) };
    let mut b = Node::start(other, socket_b, 0, at_a);
    a.until(|c| c.refused >= 2).await;
    b.until(|c| c.refused >= 2).await;
    a.transport.send(exposed(ProcessId(1), &Note(1, vec![])));
    assert!(a.heard.try_recv().is_err() && b.heard.try_recv().is_err());
}

#[tokio::test]
async fn garbage_on_the_peer_port_is_dropped_and_counted() {
    let ((socket_a, at_a), (_keep, at_b)) = (socket(), socket());
    let a = Node::start(identity(0, 1), socket_a, 1, at_b);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxx"] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", at_a)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
    a.until(|c| c.garbage == 3).await;
}

/// A peer that is no replica: it says what it is told to.
struct Raw {
    /// What it was told to name, at its own address.
    call: Arc<Mutex<u64>>,
    port: u16,
}

#[tonic::async_trait]
impl PeerService for Raw {
    type StreamStream = tokio_stream::Pending<Result<Envelope, tonic::Status>>;

    async fn stream(
        &self,
        request: tonic::Request<tonic::Streaming<Envelope>>,
    ) -> Result<tonic::Response<Self::StreamStream>, tonic::Status> {
        if let Ok(Some(Envelope { body: Some(Body::Hello(hello)) })) = request.into_inner().message().await {
            *self.call.lock().unwrap() = hello.call;
        }
        Ok(tonic::Response::new(tokio_stream::pending()))
    }
}

impl Raw {
    /// One that is at its address.
    async fn at(socket: Socket) -> Raw {
        let port = socket.local_addr().unwrap().port();
        socket.set_nonblocking(true).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(TcpListener::from_std(socket).unwrap());
        let call = Arc::<Mutex<u64>>::default();
        let server = PeerServer::new(Raw { call: call.clone(), port });
        tokio::spawn(tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming));
        Raw { call, port }
    }

    /// What it was told, once it was.
    async fn told(&self) -> u64 {
        let told = async {
            while *self.call.lock().unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), told).await.expect("nobody called back");
        *self.call.lock().unwrap()
    }
}

/// A stream to a replica, on which anything can be said.
struct Line {
    say: mpsc::UnboundedSender<Envelope>,
    replies: tonic::Streaming<Envelope>,
    _client: PeerClient<tonic::transport::Channel>,
}

impl Line {
    async fn open(port: u16, hello: Envelope) -> Line {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let mut client = PeerClient::new(endpoint.connect().await.unwrap());
        let (say, said) = mpsc::unbounded_channel();
        say.send(hello).unwrap();
        let said = tokio_stream::wrappers::UnboundedReceiverStream::new(said);
        let replies = client.stream(said).await.unwrap().into_inner();
        Line { say, replies, _client: client }
    }

    fn say(&self, word: Body) {
        self.say.send(Envelope { body: Some(word) }).unwrap();
    }

    async fn hears(&mut self) -> Option<Body> {
        self.replies.message().await.ok().flatten().and_then(|envelope| envelope.body)
    }
}

fn note(n: u64) -> Body {
    Body::Frame(exposed(ProcessId(0), &Note(n, vec![1, 2, 3])).into_inner().frame.bytes().clone())
}

#[tokio::test]
async fn a_corrupt_frame_is_dropped_and_the_next_one_heard() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let b = Raw::at(socket_b).await;
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let Body::Frame(good) = note(1) else { unreachable!() };
    let mut bad = good.to_vec();
    bad[14] ^= 1;
    let line = Line::open(at_a, identity(1, 1).hello(1)).await;
    line.say(Body::Proof(b.told().await));
    line.say(Body::Frame(bad.into()));
    line.say(Body::Frame(good));
    assert_eq!(a.hears_note().await, Note(1, vec![1, 2, 3]));
    let counters = a.transport.counters();
    assert_eq!((counters.frames_corrupt, counters.frames_in), (1, 1));
}

/// It knows the name of a member, the cluster and the configuration, and is not where the member is.
#[tokio::test]
async fn a_stranger_is_not_heard_under_a_members_name() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let line = Line::open(at_a, identity(1, 7).hello(1)).await;
    for n in 0..5 {
        line.say(Body::Proof(n));
        line.say(note(n));
    }
    a.until(|c| c.frames_unproven == 5).await;
    // The member itself is, also while the stranger is there.
    let b = Node::start(identity(1, 1), socket_b, 0, at_a);
    a.until(|c| c.frames_unproven == 5).await;
    for n in 100.. {
        b.transport.send(exposed(ProcessId(0), &Note(n, vec![])));
        if let Ok(Some(Heard::Frame { frame, .. })) = timeout(Duration::from_millis(50), a.heard.recv()).await
        {
            assert!(frame.message::<Note>().unwrap().0 >= 100);
            break;
        }
        assert!(n < 300, "the member is not heard");
    }
    assert_eq!(a.transport.peers()[&ProcessId(1)].identity.as_ref().unwrap().life, 101);
}

#[tokio::test]
async fn a_refusal_tells_a_stranger_nothing() {
    let ((socket_a, at_a), (_keep, at_b)) = (socket(), socket());
    let a = Node::start(identity(0, 1), socket_a, 1, at_b);
    for wrong in [
        Identity { cluster: 9, ..identity(1, 1) },
        Identity { configuration: 9, ..identity(1, 1) },
        Identity { name: "n7".into(), ..identity(1, 1) },
    ] {
        let mut line = Line::open(at_a, wrong.hello(1)).await;
        let Some(Body::Refused(refused)) = line.hears().await else { panic!("not refused") };
        assert!(!refused.reason.contains(|c: char| c.is_ascii_digit()), "{}", refused.reason);
        assert!(timeout(Duration::from_secs(3), line.hears()).await.expect("it stays open").is_none());
    }
    assert_eq!(a.transport.counters().refused, 3);
}

#[tokio::test]
async fn those_who_say_nothing_or_are_refused_keep_no_member_out() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let mut silent = Vec::new();
    let mut refused = Vec::new();
    for n in 0..150 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", at_a)).await.unwrap());
        if n % 2 == 0 {
            refused.push(Line::open(at_a, Identity { configuration: 9, ..identity(1, 1) }.hello(1)).await);
        }
    }
    let b = Node::start(identity(1, 1), socket_b, 0, at_a);
    assert!(matches!(a.hears().await, Heard::Connected(ProcessId(1))));
    for n in 0.. {
        b.transport.send(exposed(ProcessId(0), &Note(n, vec![])));
        if let Ok(Some(Heard::Frame { .. })) = timeout(Duration::from_millis(50), a.heard.recv()).await {
            break;
        }
        assert!(n < 100, "the member is kept out");
    }
}

/// A second process of a name, while the first one lives.
#[tokio::test]
async fn a_twin_is_refused_and_the_first_one_stays() {
    let ((socket_a, at_a), (socket_b, at_b), (elsewhere, _)) = (socket(), socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let mut b = Node::start(identity(1, 1), socket_b, 0, at_a);
    assert!(matches!(b.hears().await, Heard::Connected(_)));
    assert!(matches!(a.hears().await, Heard::Connected(_)));
    b.transport.send(exposed(ProcessId(0), &Note(1, vec![])));
    assert_eq!(a.hears_note().await.0, 1);
    let twin = Node::start(identity(1, 2), elsewhere, 0, at_a);
    twin.until(|c| c.refused >= 2).await;
    assert!(a.transport.counters().refused >= 2);
    assert!(!twin.transport.peers()[&ProcessId(0)].connected);
    b.transport.send(exposed(ProcessId(0), &Note(2, vec![])));
    assert_eq!(a.hears_note().await.0, 2);
    assert_eq!(a.transport.peers()[&ProcessId(1)].identity.as_ref().unwrap().incarnation, 1);
}

/// Its machine lost power: no end of the old stream is ever heard.
#[tokio::test]
async fn a_restart_takes_the_place_of_a_stream_that_answers_nothing() {
    let ((socket_a, at_a), (socket_b, at_b)) = (socket(), socket());
    let old = Raw::at(socket_b.try_clone().unwrap()).await;
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let line = Line::open(at_a, identity(1, 1).hello(1)).await;
    line.say(Body::Proof(old.told().await));
    line.say(note(1));
    assert_eq!(a.hears_note().await.0, 1);
    // The one that comes back is at the same address; the line stays open, and answers no ping.
    let start = std::time::Instant::now();
    let mut again = Line::open(at_a, identity(1, 2).hello(1)).await;
    assert!(matches!(again.hears().await, Some(Body::Hello(_))), "a restart is refused");
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    again.say(Body::Proof(old.told().await));
    again.say(note(2));
    assert_eq!(a.hears_note().await.0, 2);
    assert_eq!(old.port, at_b);
}

#[tokio::test]
async fn a_sender_waits_for_the_room_that_its_frames_take_up() {
    let (mut a, mut b) = pair();
    assert!(matches!(a.hears().await, Heard::Connected(_)));
    // Frames of 8 MiB against a room of 32 MiB: three fit.
    let send = |n| a.transport.send(exposed(ProcessId(1), &Note(n, vec![0; 8 << 20])));
    let mut kept = Vec::new();
    for n in 0..3 {
        send(n);
    }
    while kept.len() < 3 {
        if let frame @ Heard::Frame { .. } = b.hears().await {
            kept.push(frame);
        }
    }
    send(3);
    let more = timeout(Duration::from_millis(300), b.heard.recv()).await;
    assert!(more.is_err(), "a fourth frame came through, though no room was given back");
    kept.clear();
    assert_eq!(b.hears_note().await.0, 3);
}

//! Transports that talk over real sockets.

use super::*;
use crate::kernel::{Component, Journal, Message, Mutants, Slot};
use serde::{Deserialize, Serialize};
use std::net::TcpListener as Socket;
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

#[tokio::test]
async fn a_corrupt_frame_is_dropped_and_the_next_one_heard() {
    use crate::proto::peer::{Envelope, envelope::Body, peer_client::PeerClient};
    let ((socket_a, at_a), (_keep, at_b)) = (socket(), socket());
    let mut a = Node::start(identity(0, 1), socket_a, 1, at_b);
    let good = exposed(ProcessId(0), &Note(1, vec![1, 2, 3])).into_inner().frame.bytes().clone();
    let mut bad = good.to_vec();
    bad[14] ^= 1;
    let frame = |bytes| Envelope { body: Some(Body::Frame(bytes)) };
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{at_a}")).unwrap();
    let mut client = PeerClient::new(endpoint.connect().await.unwrap());
    let sent = [identity(1, 1).hello(), frame(bad.into()), frame(good)];
    let _replies = client.stream(tokio_stream::iter(sent)).await.unwrap();
    assert_eq!(a.hears_note().await, Note(1, vec![1, 2, 3]));
    let counters = a.transport.counters();
    assert_eq!((counters.frames_corrupt, counters.frames_in), (1, 1));
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

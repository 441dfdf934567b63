//! The peer port of real processes: strangers, a member that lies, and connections of nobody.

#[path = "support/cluster.rs"]
mod cluster;

use bytes::Bytes;
use cluster::{Cluster, PATIENCE};
use kvorum::broadcast::BroadcastMessage;
use kvorum::consensus::{Accept, Distrust, Life, Membership, Paxos};
use kvorum::kernel::{Ballot, Frame, Message, ProcessId};
use kvorum::proto::peer::peer_client::PeerClient;
use kvorum::proto::peer::peer_server::{Peer, PeerServer};
use kvorum::proto::peer::{Envelope, Hello, envelope::Body};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Who is at a member's address, and no replica: it hears what the others say there.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<BTreeMap<u32, Hello>>>);

#[tonic::async_trait]
impl Peer for Ear {
    type StreamStream = tokio_stream::Pending<Result<Envelope, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        if let Ok(Some(Envelope { body: Some(Body::Hello(hello)) })) = request.into_inner().message().await {
            self.0.lock().unwrap().insert(hello.process, hello);
        }
        Ok(Response::new(tokio_stream::pending()))
    }
}

impl Ear {
    fn hears(&self, process: u32) -> Option<Hello> {
        self.0.lock().unwrap().get(&process).cloned()
    }
}

/// A stream to a replica, on which anything can be said.
struct Line {
    say: mpsc::UnboundedSender<Envelope>,
    replies: Streaming<Envelope>,
    _client: PeerClient<Channel>,
}

impl Line {
    async fn open(port: &str, hello: Hello) -> Line {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let mut client = PeerClient::new(endpoint.connect().await.unwrap());
        let (say, said) = mpsc::unbounded_channel();
        say.send(Envelope { body: Some(Body::Hello(hello)) }).unwrap();
        let replies = client.stream(UnboundedReceiverStream::new(said)).await.unwrap().into_inner();
        Line { say, replies, _client: client }
    }

    fn say(&self, word: Body) {
        self.say.send(Envelope { body: Some(word) }).unwrap();
    }

    fn lie(&self, message: &impl Message) {
        self.say(Body::Frame(Frame::seal(message).bytes().clone()));
    }

    async fn hears(&mut self) -> Option<Body> {
        self.replies.message().await.ok().flatten().and_then(|envelope| envelope.body)
    }
}

impl Cluster {
    fn peer_port(&self, n: usize) -> String {
        let url = self.peers.split(',').nth(n).unwrap();
        url.rsplit_once(':').unwrap().1.to_owned()
    }

    fn descriptors(&self, n: usize) -> usize {
        let pid = self.running[n].as_ref().unwrap().0.id();
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    fn assert_runs(&mut self, n: usize) {
        let ended = self.running[n].as_mut().unwrap().0.try_wait().unwrap();
        assert!(ended.is_none(), "n{n} ended with {ended:?}; {}", self.logs());
    }
}

/// All that a member could say to break another.
fn lies(line: &Line, process: u8) {
    let n = Ballot { counter: u64::MAX, process: ProcessId(process), ..Ballot::ZERO };
    line.lie(&Paxos::Prepare {
        n,
        acc: n,
        len: u64::MAX,
        decided: u64::MAX,
        hash: 7,
        acked: u64::MAX,
        boot: 7,
        held: None,
    });
    line.lie(&Paxos::Prepare {
        n,
        acc: Ballot::ZERO,
        len: 0,
        decided: 0,
        hash: 0,
        acked: 0,
        boot: 0,
        held: None,
    });
    line.lie(&Paxos::Nack { prom: n });
    line.lie(&Accept { n, from: u64::MAX, entries: vec![Bytes::new(); 2], decided: u64::MAX });
    let set = vec![1, 2, 3];
    line.lie(&Membership::Hello {
        configuration: 0,
        disk: 1,
        inc: u64::MAX,
        boot: 1,
        life: Life { inc: u64::MAX, number: 1, mark: u64::MAX },
        set,
        ask: true,
        ack: Some(1),
    });
    line.lie(&Membership::Amnesia { life: 1, reason: Distrust::OtherDisk });
    line.lie(&BroadcastMessage::Have {
        counts: true,
        rows: vec![vec![Default::default(); 3]; 3],
        delivered: vec![u64::MAX; 3],
        gone: vec![Default::default(); 3],
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_a_member_that_lies_halt_nobody_and_keep_nobody_out() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|n| cluster.start(n));
    cluster.client().put("x", "1").await.unwrap();
    for n in 0..3 {
        cluster.serves(n).await;
    }
    cluster.kill(2);
    let ports = [0, 1, 2].map(|n| cluster.peer_port(n));
    let ear = Ear::default();
    let socket = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", ports[2])).await.unwrap();
    let service = PeerServer::new(ear.clone());
    let at_n2 = tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(socket)),
    );
    let start = Instant::now();
    let told = loop {
        if let (Some(a), Some(b)) = (ear.hears(0), ear.hears(1)) {
            break [a, b];
        }
        assert!(start.elapsed() < PATIENCE, "n2 is not dialed; {}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let hello = |process: u32, life| Hello {
        process,
        name: format!("n{process}"),
        life,
        call: 1,
        incarnation: 99,
        ..told[0].clone()
    };

    // A stranger that knows everything but is nowhere: as n1, which is there, it is refused at once.
    let mut stranger = Line::open(&ports[0], hello(1, 77)).await;
    match stranger.hears().await {
        Some(Body::Refused(refused)) => assert!(!refused.reason.contains(|c: char| c.is_ascii_digit())),
        other => panic!("a second n1 is told {other:?}"),
    }
    // As n2, which is not there, it may talk.
    let stranger = Line::open(&ports[0], hello(2, 78)).await;
    lies(&stranger, 2);
    // And n2 itself lies.
    for n in [0, 1] {
        let member = Line::open(&ports[n], hello(2, 79)).await;
        member.say(Body::Proof(told[n].call));
        lies(&member, 2);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut refused = Vec::new();
    for _ in 0..300 {
        let mut line = Line::open(&ports[0], Hello { configuration: 1, ..hello(2, 80) }).await;
        assert!(matches!(line.hears().await, Some(Body::Refused(_))));
        refused.push(line);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.descriptors(0) < 150, "{} are open", cluster.descriptors(0));
    cluster.client().put("y", "1").await.unwrap();
    for n in [0, 1] {
        cluster.assert_runs(n);
        let status = cluster.only(n).status().await.unwrap();
        assert!(!status.learner, "n{n} distrusts itself; {}", cluster.logs());
    }

    at_n2.abort();
    let _ = at_n2.await;
    cluster.start(2);
    cluster.serves(2).await;
    for n in [0, 1] {
        cluster.kill(n);
        cluster.client().with_deadline(Duration::from_secs(1)).put("z", "1").await.ok();
        cluster.start(n);
        cluster.serves(n).await;
        cluster.client().put("z", "2").await.unwrap();
    }
    drop(refused);
}

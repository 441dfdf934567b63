//! What the client commands send and print, against `cli_output.txt`; and that etcdctl, where it is
//! installed, sends and prints the same. The commands that etcdctl does not have stand in
//! `cli_services.txt`.
#![cfg(feature = "cli")]

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use kvorum::proto::{
    etcdserverpb::{self as pb, cluster_server, kv_server, maintenance_server, response_op},
    kvorum::v1::{
        self as own, atomic_commit_server, bounds_server, broadcast_server, consensus_server, reason::Kind,
        register_server, subscribe_reply::What,
    },
    mvccpb::KeyValue,
};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// Answers every call with the same, and remembers what it was asked.
#[derive(Clone, Default)]
struct Canned {
    asked: Arc<Mutex<Vec<String>>>,
}

fn header() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: 0xcdf818194e3a8c32,
        member_id: 0x8e9e05c52164694d,
        revision: 42,
        raft_term: 3,
    })
}

fn inner() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision: 42, ..Default::default() })
}

fn plain() -> KeyValue {
    KeyValue {
        key: "greeting".into(),
        create_revision: 2,
        mod_revision: 41,
        version: 7,
        value: "hello <world> & \"you\"".into(),
        lease: 0x1f,
    }
}

fn binary() -> KeyValue {
    let value = b"\x00\x01\xff line\n\xc3\xa9\xe2\x80\x8b\x7f\\".as_slice().into();
    KeyValue {
        key: b"bin\xfe".as_slice().into(),
        create_revision: 3,
        mod_revision: 3,
        version: 1,
        value,
        lease: 0,
    }
}

impl Canned {
    fn asked<T: std::fmt::Debug>(&self, request: &Request<T>) {
        self.asked.lock().unwrap().push(format!("{:?}", request.get_ref()));
    }

    fn range(&self, header: Option<pb::ResponseHeader>) -> pb::RangeResponse {
        pb::RangeResponse { header, kvs: vec![plain(), binary()], more: true, count: 9 }
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Canned {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Reply<pb::RangeResponse> {
        self.asked(&request);
        Ok(Response::new(if request.get_ref().key == "missing" {
            pb::RangeResponse { header: header(), ..Default::default() }
        } else {
            self.range(header())
        }))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Reply<pb::PutResponse> {
        self.asked(&request);
        let prev_kv = request.get_ref().prev_kv.then(plain);
        Ok(Response::new(pb::PutResponse { header: header(), prev_kv }))
    }

    async fn delete_range(&self, request: Request<pb::DeleteRangeRequest>) -> Reply<pb::DeleteRangeResponse> {
        self.asked(&request);
        let prev_kvs = if request.get_ref().prev_kv { vec![plain(), binary()] } else { vec![] };
        Ok(Response::new(pb::DeleteRangeResponse { header: header(), deleted: 2, prev_kvs }))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Reply<pb::TxnResponse> {
        self.asked(&request);
        let op = |response| pb::ResponseOp { response: Some(response) };
        let responses = vec![
            op(response_op::Response::ResponsePut(pb::PutResponse {
                header: inner(),
                prev_kv: Some(plain()),
            })),
            op(response_op::Response::ResponseRange(self.range(inner()))),
            op(response_op::Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header: inner(),
                deleted: 1,
                prev_kvs: vec![],
            })),
        ];
        let succeeded = !request.get_ref().compare.is_empty();
        Ok(Response::new(pb::TxnResponse { header: header(), succeeded, responses }))
    }

    async fn compact(&self, request: Request<pb::CompactionRequest>) -> Reply<pb::CompactionResponse> {
        self.asked(&request);
        Ok(Response::new(pb::CompactionResponse { header: header() }))
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Canned {
    async fn member_list(&self, _: Request<pb::MemberListRequest>) -> Reply<pb::MemberListResponse> {
        let member = |id, name: &str, ports: [u16; 2], is_learner| pb::Member {
            id,
            name: name.into(),
            peer_ur_ls: vec![format!("http://10.0.0.1:{}", ports[1])],
            client_ur_ls: ports.map(|port| format!("http://10.0.0.1:{port}")).to_vec(),
            is_learner,
        };
        let mut unstarted = member(3, "", [1, 2], false);
        unstarted.client_ur_ls.clear();
        let members = vec![
            member(0x8e9e05c52164694d, "n1", [2379, 2380], false),
            member(2, "n2", [12379, 12380], true),
            unstarted,
        ];
        Ok(Response::new(pb::MemberListResponse { header: header(), members }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Reply<pb::MemberAddResponse> {
        Err(Status::unimplemented(""))
    }

    async fn member_remove(&self, _: Request<pb::MemberRemoveRequest>) -> Reply<pb::MemberRemoveResponse> {
        Err(Status::unimplemented(""))
    }

    async fn member_update(&self, _: Request<pb::MemberUpdateRequest>) -> Reply<pb::MemberUpdateResponse> {
        Err(Status::unimplemented(""))
    }

    async fn member_promote(&self, _: Request<pb::MemberPromoteRequest>) -> Reply<pb::MemberPromoteResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Canned {
    type SnapshotStream = tokio_stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn status(&self, _: Request<pb::StatusRequest>) -> Reply<pb::StatusResponse> {
        Ok(Response::new(pb::StatusResponse {
            header: header(),
            version: "3.6.0".into(),
            db_size: 1_536_000,
            leader: 0x8e9e05c52164694d,
            raft_index: 100,
            raft_term: 3,
            raft_applied_index: 99,
            errors: vec!["NOSPACE".into(), "disk".into()],
            db_size_in_use: 20_480,
            is_learner: true,
            ..Default::default()
        }))
    }

    async fn alarm(&self, _: Request<pb::AlarmRequest>) -> Reply<pb::AlarmResponse> {
        Err(Status::unimplemented(""))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Reply<pb::DefragmentResponse> {
        Err(Status::unimplemented(""))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Reply<pb::HashResponse> {
        Err(Status::unimplemented(""))
    }

    async fn hash_kv(&self, _: Request<pb::HashKvRequest>) -> Reply<pb::HashKvResponse> {
        Err(Status::unimplemented(""))
    }

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Reply<Self::SnapshotStream> {
        Err(Status::unimplemented(""))
    }

    async fn move_leader(&self, _: Request<pb::MoveLeaderRequest>) -> Reply<pb::MoveLeaderResponse> {
        Err(Status::unimplemented(""))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Reply<pb::DowngradeResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl register_server::Register for Canned {
    async fn read(&self, request: Request<own::ReadRequest>) -> Reply<own::ReadReply> {
        self.asked(&request);
        Ok(Response::new(match request.get_ref().name.as_str() {
            "missing" => own::ReadReply::default(),
            _ => own::ReadReply { value: Some(plain().value), stamp: stamp() },
        }))
    }

    async fn write(&self, request: Request<own::WriteRequest>) -> Reply<own::WriteReply> {
        self.asked(&request);
        if request.get_ref().name == "lost" {
            let text =
                "kvorum: no majority of the replicas answered in time; the write may still take effect";
            return Err(Status::unavailable(text));
        }
        Ok(Response::new(own::WriteReply { stamp: stamp() }))
    }
}

#[tonic::async_trait]
impl consensus_server::Consensus for Canned {
    async fn propose(&self, request: Request<own::ProposeRequest>) -> Reply<own::ProposeReply> {
        self.asked(&request);
        Ok(Response::new(own::ProposeReply { decision: "another's".into() }))
    }

    async fn decision(&self, request: Request<own::DecisionRequest>) -> Reply<own::DecisionReply> {
        self.asked(&request);
        let decision = (request.get_ref().instance != "open").then(|| "another's".into());
        Ok(Response::new(own::DecisionReply { decision }))
    }
}

fn transaction(outcome: bool) -> own::Transaction {
    let reason = || Some(own::Reason { kind: Kind::Integrity.into(), text: String::new() });
    let participant =
        |name: &str, vote, acknowledged| own::Participant { name: name.into(), vote, acknowledged };
    own::Transaction {
        name: "transfer/7".into(),
        begun: 42,
        timeout_millis: 30_000,
        participants: vec![
            participant("bank-a", Some(own::Vote { yes: true, reason: None }), false),
            participant("bank-b", outcome.then(|| own::Vote { yes: false, reason: reason() }), outcome),
            participant("bank-c", None, false),
        ],
        outcome: outcome.then(|| own::Outcome { committed: false, by: "bank-b".into(), reason: reason() }),
    }
}

#[tonic::async_trait]
impl atomic_commit_server::AtomicCommit for Canned {
    async fn begin(&self, request: Request<own::BeginRequest>) -> Reply<own::Transaction> {
        self.asked(&request);
        Ok(Response::new(transaction(false)))
    }

    async fn vote(&self, request: Request<own::VoteRequest>) -> Reply<own::Transaction> {
        self.asked(&request);
        Ok(Response::new(transaction(true)))
    }

    async fn look(&self, request: Request<own::LookRequest>) -> Reply<own::Transaction> {
        self.asked(&request);
        Ok(Response::new(transaction(request.get_ref().transaction != "open")))
    }

    type OutcomesStream = tokio_stream::Empty<Result<own::Transaction, Status>>;

    async fn outcomes(&self, _: Request<own::OutcomesRequest>) -> Reply<Self::OutcomesStream> {
        Err(Status::unimplemented(""))
    }

    async fn unacknowledged(
        &self,
        request: Request<own::OutcomesRequest>,
    ) -> Reply<own::UnacknowledgedReply> {
        self.asked(&request);
        let mut committed = transaction(true);
        committed.outcome = Some(own::Outcome { committed: true, ..Default::default() });
        committed.participants.truncate(1);
        Ok(Response::new(own::UnacknowledgedReply { transactions: vec![transaction(true), committed] }))
    }

    async fn acknowledge(
        &self,
        request: Request<own::AcknowledgeOutcomeRequest>,
    ) -> Reply<own::AcknowledgeOutcomeReply> {
        self.asked(&request);
        Ok(Response::new(own::AcknowledgeOutcomeReply {}))
    }
}

impl Canned {
    fn deliveries(&self) -> Reply<Deliveries> {
        let delivery = |payload: &'static str, position| own::SubscribeReply {
            what: Some(What::Delivery(own::Delivery {
                payload: payload.into(),
                position,
                context: b"\x00\xff".as_slice().into(),
                origin: 0x8e9e05c52164694d,
                sequence: 0,
            })),
            cursor: b"\x02c".as_slice().into(),
        };
        Ok(Response::new(tokio_stream::iter(vec![Ok(delivery("hello", 41)), Ok(delivery("again", 42))])))
    }
}

type Deliveries = tokio_stream::Iter<std::vec::IntoIter<Result<own::SubscribeReply, Status>>>;

#[tonic::async_trait]
impl broadcast_server::Broadcast for Canned {
    type SubscribeStream = Deliveries;
    type ReceiveStream = Deliveries;

    async fn publish(&self, request: Request<own::PublishRequest>) -> Reply<own::PublishReply> {
        self.asked(&request);
        Ok(Response::new(match request.get_ref().publisher {
            Some(_) => own::PublishReply { position: 42, ..Default::default() },
            None => {
                let (context, origin) = (b"\x01\xfe".as_slice().into(), 0x8e9e05c52164694d);
                own::PublishReply { context, position: 0, origin, sequence: 3 }
            }
        }))
    }

    async fn open_publisher(&self, _: Request<own::OpenPublisherRequest>) -> Reply<own::OpenPublisherReply> {
        Ok(Response::new(own::OpenPublisherReply { publisher: 7 }))
    }

    async fn subscribe(&self, request: Request<own::SubscribeRequest>) -> Reply<Deliveries> {
        self.asked(&request);
        self.deliveries()
    }

    async fn receive(&self, request: Request<own::ReceiveRequest>) -> Reply<Deliveries> {
        self.asked(&request);
        self.deliveries()
    }

    async fn acknowledge(&self, request: Request<own::AcknowledgeRequest>) -> Reply<own::AcknowledgeReply> {
        self.asked(&request);
        Ok(Response::new(own::AcknowledgeReply {}))
    }

    async fn unsubscribe(&self, request: Request<own::UnsubscribeRequest>) -> Reply<own::UnsubscribeReply> {
        self.asked(&request);
        Ok(Response::new(own::UnsubscribeReply {}))
    }
}

#[tonic::async_trait]
impl bounds_server::Bounds for Canned {
    async fn get_bounds(&self, request: Request<own::GetBoundsRequest>) -> Reply<own::BoundSet> {
        self.asked(&request);
        Ok(Response::new(own::BoundSet { topics: Some(256), topic_entries: Some(5), ..Default::default() }))
    }

    async fn set_bounds(&self, request: Request<own::BoundSet>) -> Reply<own::BoundSet> {
        self.asked(&request);
        Ok(Response::new(request.into_inner()))
    }
}

fn stamp() -> Option<own::Stamp> {
    Some(own::Stamp { number: 7, writer: 0x8e9e05c52164694d })
}

/// Serves until the test ends.
fn serve(canned: Canned) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(kv_server::KvServer::new(canned.clone()))
        .add_service(cluster_server::ClusterServer::new(canned.clone()))
        .add_service(maintenance_server::MaintenanceServer::new(canned.clone()))
        .add_service(register_server::RegisterServer::new(canned.clone()))
        .add_service(bounds_server::BoundsServer::new(canned.clone()))
        .add_service(consensus_server::ConsensusServer::new(canned.clone()))
        .add_service(atomic_commit_server::AtomicCommitServer::new(canned.clone()))
        .add_service(broadcast_server::BroadcastServer::new(canned))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    runtime.spawn(server);
    (runtime, address)
}

const TXN: &str = concat!(
    "ver(\"a\") = \"1\"\n",
    "create(\"b\") > \"2\"\n",
    "mod(\"c d\") < \"3\"\n",
    "val(\"e\\x00\") != \"x\\ty\"\n",
    "\n",
    "put key1 \"over \\\"wrote\\\"\" --prev-kv --lease=ff\n",
    "get --prefix \"a b\" --limit=3 --sort-by=modify --order=descend\n",
    "del --from-key z\n",
    "\n",
    "get k --consistency=s --keys-only\n",
    "\n",
);

/// Arguments, separated by `|`, and standard input.
const CASES: &[(&str, &str)] = &[
    ("put|greeting|hello", ""),
    ("put|greeting", "from\nstdin\n"),
    ("put|--prev-kv|--lease=1f|greeting|hello", ""),
    ("put|--ignore-value|greeting", ""),
    ("put|--ignore-lease|greeting|", ""),
    ("put|--prev-kv|greeting|--|-1", ""),
    ("put|--prev-kv|greeting|hello|--hex", ""),
    ("put|--prev-kv|greeting|hello|-w|json", ""),
    ("put|--prev-kv|greeting|hello|-w|fields", ""),
    ("get|greeting", ""),
    ("get|greeting|--print-value-only", ""),
    ("get|greeting|--hex", ""),
    ("get|greeting|--rev=5|--consistency=s", ""),
    ("get|missing", ""),
    ("get|missing|-w|json", ""),
    ("get|missing|-w|fields", ""),
    ("get|greeting|-w|json", ""),
    ("get|greeting|--write-out=fields", ""),
    ("get|a|m|--limit=2|--keys-only", ""),
    ("get|a|--prefix|--sort-by=VALUE|--order=DESCEND", ""),
    ("get|a|--from-key|--sort-by=create|--order=ascend", ""),
    ("get||--prefix", ""),
    ("get||--from-key", ""),
    ("del|greeting", ""),
    ("del|a|m|--prev-kv", ""),
    ("del|a|--prefix|-w|json", ""),
    ("del|a|--from-key|--prev-kv|-w|fields", ""),
    ("del||--prefix", ""),
    ("txn", TXN),
    ("txn|-w|json", TXN),
    ("txn|-w|fields", TXN),
    ("txn|--hex", "\n\n\n"),
    ("compaction|41", ""),
    ("compaction|41|--physical", ""),
    ("endpoint|status", ""),
    ("endpoint|status|-w|json", ""),
    ("endpoint|status|-w|fields", ""),
    ("endpoint|status|-w|table", ""),
    ("member|list", ""),
    ("member|list|-w|json", ""),
    ("member|list|-w|fields", ""),
    ("member|list|-w|table", ""),
];

/// Those that etcdctl does not have.
const SERVICES: &[(&str, &str)] = &[
    ("register|write|mode|maintenance", ""),
    ("register|write|mode|", ""),
    ("register|write|mode", "from\nstdin\n"),
    ("register|write|mode|--|-1", ""),
    ("register|write|mode|on|-w|json", ""),
    ("register|read|mode", ""),
    ("register|read|mode|--hex", ""),
    ("register|read|mode|-w|json", ""),
    ("register|read|missing", ""),
    ("register|read|missing|-w|json", ""),
    ("propose|coordinator/7|a", ""),
    ("propose|coordinator/7|-w|json", "a"),
    ("decision|coordinator/7", ""),
    ("decision|coordinator/7|--wait|-w|json", ""),
    ("commit|begin|transfer/7|bank-a|bank-b|bank-c", ""),
    ("commit|begin|transfer/7|bank-a|--timeout|500ms|-w|json", ""),
    ("commit|vote|transfer/7|bank-a|yes", ""),
    ("commit|vote|transfer/7|bank-b|no|--reason|integrity|-w|json", ""),
    ("commit|vote|transfer/7|bank-b|no|--reason|out of paper", ""),
    ("commit|status|transfer/7", ""),
    ("commit|outcome|transfer/7|--wait", ""),
    ("commit|outcome|transfer/7|-w|json", ""),
    ("commit|outcomes|bank-a", ""),
    ("commit|acknowledge|transfer/7|bank-a", ""),
    ("commit|acknowledge|transfer/7|bank-a|-w|json", ""),
    ("publish|news|hello", ""),
    ("publish|news|hello|-w|json", ""),
    ("publish|chat|-g|causal|--after|01fe|-w|json", "an answer"),
    ("subscribe|news|--count|2|--from|oldest", ""),
    ("subscribe|news|--count|2|--from|0263|--print-cursor", ""),
    ("subscribe|chat|-g|causal|--count|1|-w|json", ""),
    ("subscribe|jobs|-g|reliable|--as|printer|--count|2", ""),
    ("subscribe|jobs|--as|printer|--forget", ""),
    ("bounds|--topic-entries|5", ""),
    ("bounds|-w|json", ""),
];

fn run(program: &str, address: SocketAddr, arguments: &str, input: &str) -> Output {
    let mut child = Command::new(program)
        .arg(format!("--endpoints={address}"))
        .args(arguments.split('|'))
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What was asked and printed, with bytes that are no text as `<ff>`.
fn transcript(
    program: &str,
    address: SocketAddr,
    canned: &Canned,
    (arguments, input): (&str, &str),
) -> String {
    canned.asked.lock().unwrap().clear();
    let output = run(program, address, arguments, input);
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    let mut text = format!("$ {arguments}\n");
    for request in canned.asked.lock().unwrap().iter() {
        text += &format!("> {request}\n");
    }
    for chunk in output.stdout.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' {
                text += &format!("<{:02x}>", c as u32);
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("<{byte:02x}>")));
    }
    text.replace(&address.to_string(), "127.0.0.1:PORT#")
}

#[test]
fn commands_send_and_print_what_etcdctl_does() {
    let canned = Canned::default();
    let (_runtime, address) = serve(canned.clone());
    let all = |program: &str| -> String {
        CASES.iter().map(|case| transcript(program, address, &canned, *case) + "\n").collect()
    };
    let expected = include_str!("cli_output.txt");
    let ours = all(env!("CARGO_BIN_EXE_kvorum"));
    assert!(ours == expected, "{}", difference(expected, &ours));
    if Command::new("etcdctl").arg("version").output().is_ok_and(|output| output.status.success()) {
        let theirs = all("etcdctl");
        assert!(theirs == expected, "{}", difference(expected, &theirs));
    } else {
        println!("skipped: etcdctl is not installed");
    }
}

#[test]
fn commands_of_the_abstractions_send_and_print_as_written() {
    let canned = Canned::default();
    let (_runtime, address) = serve(canned.clone());
    let kvorum = env!("CARGO_BIN_EXE_kvorum");
    let ours: String =
        SERVICES.iter().map(|case| transcript(kvorum, address, &canned, *case) + "\n").collect();
    let expected = include_str!("cli_services.txt");
    assert!(ours == expected, "{}", difference(expected, &ours));
}

fn difference(expected: &str, actual: &str) -> String {
    let mut case = "";
    for (expected, actual) in expected.lines().zip(actual.lines()) {
        if expected != actual {
            return format!("at {case}\nexpected {expected}\nactually {actual}");
        }
        if expected.starts_with("$ ") {
            case = expected;
        }
    }
    format!("{} lines expected, {} actually", expected.lines().count(), actual.lines().count())
}

#[test]
fn errors_go_to_standard_error_with_the_documented_exit_codes() {
    let (_runtime, address) = serve(Canned::default());
    let kvorum = env!("CARGO_BIN_EXE_kvorum");
    for (arguments, code, text) in [
        ("get|k|-w|table", 2, "table is not an output format"),
        ("get|k|--prefix|--from-key", 2, "cannot be used with"),
        ("put|k", 2, "put needs a value"),
        ("txn", 2, "the input ends among the compares"),
        ("get|k|--endpoints=https://127.0.0.1:1", 2, "TLS"),
        ("get|k|--endpoints=127.0.0.1", 2, "no port"),
        ("get|k|--endpoints=127.0.0.1:1|--command-timeout=100ms", 1, "refused"),
        ("put|k|v|--endpoints=127.0.0.1:1|--command-timeout=100ms", 1, "nothing was executed"),
        ("endpoint|health|--endpoints=127.0.0.1:1", 1, "unhealthy cluster"),
        ("register|read|x|-w|fields", 2, "use simple or json"),
        ("register|write|x", 2, "register write needs a value"),
        ("propose|i", 2, "propose needs a value"),
        ("decision|open", 4, "no decision yet"),
        ("commit|outcome|open", 4, "no outcome yet"),
        ("commit|vote|t|a|yes|--reason|disk", 2, "--reason is for a no"),
        ("commit|begin|t", 2, "<PARTICIPANTS>"),
        ("subscribe|t|--from|xyz", 2, "neither oldest, nor now, nor a cursor"),
        ("subscribe|t|--as|s|--from|00", 2, "the cursor is kept for the subscriber"),
        ("publish|t|m|--after|00", 2, "--after is for causal order"),
        ("sim|--module|register|--steps|9", 2, "cannot be used with"),
        ("subscribe|t|--forget", 2, "--as <SUBSCRIBER>"),
        ("bounds|--topics|some", 2, "invalid digit"),
        ("publish|t|m|-w|table", 2, "use simple or json"),
        ("register|write|lost|v", 3, "may or may not have been executed"),
        ("nonsense", 2, "unrecognized subcommand"),
    ] {
        let output = run(kvorum, address, arguments, "");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {complaint}");
        assert!(complaint.to_lowercase().contains(&text.to_lowercase()), "{arguments}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
    let counted = run(kvorum, address, "get|k|--count-only", "");
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "9\n");
    let health = run(kvorum, address, "endpoint|health", "");
    let text = String::from_utf8_lossy(&health.stdout).into_owned();
    assert!(
        text.starts_with(&format!("{address} is healthy: successfully committed proposal: took = ")),
        "{text}"
    );
}

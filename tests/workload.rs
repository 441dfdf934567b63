//! `kvorum workload` against a store in the test's own process, which can be made to fail and to lie:
//! what it records is what it was told.
#![cfg(feature = "cli")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use kvorum::proto::{
    etcdserverpb::{self as pb, compare::TargetUnion, kv_server, request_op, response_op},
    mvccpb::KeyValue,
};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// A store that several replicas share.
#[derive(Default)]
struct Store {
    revision: i64,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What reads are answered from, where they lie.
    old: BTreeMap<Vec<u8>, Vec<u8>>,
    requests: u64,
}

/// What the replicas do wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Refuse some requests, and lose the replies to others: nothing that a client may not expect.
    Flaky,
    /// Answer linearizable reads with what was true a hundred requests ago.
    Stale,
}

#[derive(Clone)]
struct Replica {
    member: u64,
    wrong: Wrong,
    store: Arc<Mutex<Store>>,
}

impl Store {
    fn put(&mut self, put: &pb::PutRequest) {
        self.revision += 1;
        self.values.insert(put.key.to_vec(), put.value.to_vec());
    }

    fn holds(&self, compare: &pb::Compare) -> bool {
        let value = self.values.get(&compare.key[..]);
        match &compare.target_union {
            Some(TargetUnion::Value(expected)) => value.is_some_and(|value| value == expected),
            Some(TargetUnion::Version(0)) => value.is_none(),
            other => panic!("a workload does not compare {other:?}"),
        }
    }
}

impl Replica {
    /// Executes a request, unless it is refused; then the answer may be lost.
    fn answer<T>(
        &self,
        execute: impl FnOnce(&mut Store, Option<pb::ResponseHeader>) -> T,
        header: impl FnOnce(&mut T) -> &mut Option<pb::ResponseHeader>,
    ) -> Reply<T> {
        let mut store = self.store.lock().unwrap();
        store.requests += 1;
        if store.requests.is_multiple_of(100) {
            store.old = store.values.clone();
        }
        let flaky = self.wrong == Wrong::Flaky;
        if flaky && store.requests.is_multiple_of(17) {
            return Err(Status::unavailable("etcdserver: no leader"));
        }
        let mut reply = execute(&mut store, None);
        *header(&mut reply) = Some(pb::ResponseHeader {
            revision: store.revision + 1,
            member_id: self.member,
            ..Default::default()
        });
        if flaky && store.requests.is_multiple_of(53) {
            return Err(Status::unavailable("etcdserver: request timed out"));
        }
        Ok(Response::new(reply))
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Replica {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Reply<pb::RangeResponse> {
        let request = request.into_inner();
        let execute = |store: &mut Store, header| {
            let lie = self.wrong == Wrong::Stale && !request.serializable;
            let values = if lie { &store.old } else { &store.values };
            let found = |(key, value): (&Vec<u8>, &Vec<u8>)| KeyValue {
                key: key.clone().into(),
                value: value.clone().into(),
                ..Default::default()
            };
            let kvs: Vec<KeyValue> = match request.range_end.is_empty() {
                true => values.get_key_value(&request.key[..]).map(found).into_iter().collect(),
                false => values.range(request.key.to_vec()..request.range_end.to_vec()).map(found).collect(),
            };
            pb::RangeResponse { header, count: kvs.len() as i64, kvs, more: false }
        };
        self.answer(execute, |reply| &mut reply.header)
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Reply<pb::PutResponse> {
        let execute = |store: &mut Store, header| {
            store.put(request.get_ref());
            pb::PutResponse { header, prev_kv: None }
        };
        self.answer(execute, |reply| &mut reply.header)
    }

    async fn delete_range(&self, request: Request<pb::DeleteRangeRequest>) -> Reply<pb::DeleteRangeResponse> {
        let execute = |store: &mut Store, header| {
            let deleted = i64::from(store.values.remove(&request.get_ref().key[..]).is_some());
            store.revision += deleted;
            pb::DeleteRangeResponse { header, deleted, prev_kvs: vec![] }
        };
        self.answer(execute, |reply| &mut reply.header)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Reply<pb::TxnResponse> {
        let request = request.into_inner();
        let execute = |store: &mut Store, header| {
            let succeeded = request.compare.iter().all(|compare| store.holds(compare));
            let mut responses = Vec::new();
            for op in request.success.iter().filter(|_| succeeded) {
                let Some(request_op::Request::RequestPut(put)) = &op.request else {
                    panic!("a workload's transactions put: {op:?}")
                };
                store.put(put);
                let reply = response_op::Response::ResponsePut(pb::PutResponse::default());
                responses.push(pb::ResponseOp { response: Some(reply) });
            }
            pb::TxnResponse { header, succeeded, responses }
        };
        self.answer(execute, |reply| &mut reply.header)
    }

    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Reply<pb::CompactionResponse> {
        Err(Status::unimplemented("not in these tests"))
    }
}

/// Three endpoints, until the test ends.
struct Cluster {
    runtime: tokio::runtime::Runtime,
    endpoints: Vec<String>,
    store: Arc<Mutex<Store>>,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn new(wrong: Wrong) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = Arc::new(Mutex::new(Store::default()));
        let mut cluster = Self { runtime, endpoints: vec![], store, dir: tempfile::tempdir().unwrap() };
        for member in 1..=3 {
            let replica = Replica { member, wrong, store: cluster.store.clone() };
            let address = cluster.serve(replica);
            cluster.endpoints.push(address.to_string());
        }
        cluster
    }

    fn serve(&self, replica: Replica) -> SocketAddr {
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(kv_server::KvServer::new(replica))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        self.runtime.spawn(server);
        address
    }

    fn history(&self) -> PathBuf {
        self.dir.path().join("history.jsonl")
    }

    fn start(&self, flags: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kvorum"))
            .arg("workload")
            .arg(format!("--endpoints={}", self.endpoints.join(",")))
            .arg("--history")
            .arg(self.history())
            .args(flags.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, flags: &str) -> Output {
        self.start(flags).wait_with_output().unwrap()
    }
}

fn verify(history: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kvorum")).arg("verify").arg(history).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_right_store_that_loses_requests_and_replies_passes() {
    let cluster = Cluster::new(Wrong::Flaky);
    let output = cluster.run("--seconds=2 --clients=6 --rate=500 --seed=7");
    let (summary, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("seed 7"), "{progress}");
    assert_eq!(summary.lines().count(), 1, "{summary}");
    assert!(!summary.contains(" 0 of unknown fate") && !summary.contains(" 0 ok"), "{summary}");
    assert!(summary.contains("writes acknowledged, longest pause between them "), "{summary}");

    let (code, report) = verify(&cluster.history());
    assert_eq!(code, Some(0), "{report}");
    let operations: u64 = report.split(' ').next().unwrap().parse().unwrap();
    assert!(summary.starts_with(&format!("{operations} operations")), "{summary}{report}");
    // It is paced, and reads every key back from every endpoint, as a client for each.
    assert!((200..=1100).contains(&operations), "{report}");
    assert!(report.contains("of 9 clients on 5 keys"), "{report}");
    let recorded = std::fs::read_to_string(cluster.history()).unwrap();
    for what in [r#""op":"cas""#, r#""op":"delete""#, r#""serializable":true"#, r#""replica":3"#] {
        assert!(recorded.contains(what), "no {what}");
    }
}

#[test]
fn a_store_that_answers_with_old_values_is_found_out() {
    let cluster = Cluster::new(Wrong::Stale);
    assert!(cluster.run("--seconds=1 --clients=4 --rate=1000 --seed=7").status.success());
    let (code, report) = verify(&cluster.history());
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("violation of"), "{report}");
}

#[test]
fn interrupted_it_ends_cleanly_and_its_history_is_whole() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let cluster = Cluster::new(Wrong::Nothing);
        let mut child = cluster.start("--seconds=600 --rate=1000");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut String::new()).unwrap();
        while cluster.store.lock().unwrap().requests < 300 {
            std::thread::yield_now();
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let mut complaint = String::new();
        stderr.read_to_string(&mut complaint).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{complaint}");
        assert!(text(&output.stdout).contains(" 0 failed, 0 of unknown fate"), "{}", text(&output.stdout));
        let (code, report) = verify(&cluster.history());
        assert_eq!(code, Some(0), "{report}");
    }
}

#[test]
fn keys_that_exist_are_refused_since_a_history_begins_without() {
    let cluster = Cluster::new(Wrong::Nothing);
    assert!(cluster.run("--seconds=1 --rate=100 --prefix=a/").status.success());
    let recorded = std::fs::read_to_string(cluster.history()).unwrap();
    let output = cluster.run("--seconds=1 --prefix=a/");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(cluster.history()).unwrap(), recorded, "what was there is kept");
    assert!(text(&output.stderr).contains("choose another --prefix"), "{}", text(&output.stderr));
}

#[test]
fn without_a_cluster_it_fails_and_says_why() {
    let mut cluster = Cluster::new(Wrong::Nothing);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cluster.endpoints = vec![closed.to_string()];
    let output = cluster.run("--seconds=600 --command-timeout=100ms");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).to_lowercase().contains("refused"), "{}", text(&output.stderr));
}

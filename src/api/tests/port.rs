//! The port itself: both versions of HTTP, bounds, and its end.

use super::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

pub(super) struct Port {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

pub(super) async fn open(fake: &Fake, limits: Limits) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let routes = routes(fake.clone(), limits);
    let done = tokio::spawn(serve(listener, routes, limits, async {
        let _ = stopped.await;
    }));
    Port { address, stop, done }
}

pub(super) async fn connect(port: &Port) -> KvClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", port.address)).unwrap();
    KvClient::new(endpoint.connect().await.unwrap())
}

/// One request over HTTP/1.1: the head and the body of the reply.
async fn http1(port: &Port, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn grpc_and_plain_http_share_the_port() {
    let fake = Fake::default();
    let port = open(&fake, Limits::default()).await;
    connect(&port).await.put(put("a", "1")).await.unwrap();
    let (head, body) = http1(&port, "/health").await;
    assert_eq!((head.as_str(), body.as_str()), ("HTTP/1.1 200 OK", r#"{"health":"true","reason":""}"#));
    let (_, body) = http1(&port, "/version").await;
    assert!(body.starts_with(r#"{"etcdserver":"3.6.0","etcdcluster":"3.6.0","#), "{body}");
    let (head, body) = http1(&port, "/nothing").await;
    assert_eq!((head.as_str(), body.as_str()), ("HTTP/1.1 404 Not Found", "404 page not found\n"));
}

#[tokio::test]
async fn health_over_http_gives_the_reason() {
    let fake = Fake::default();
    let port = open(&fake, Limits::default()).await;
    fake.state().diverged = true;
    let (head, body) = http1(&port, "/health?serializable=true").await;
    assert_eq!(head, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, r#"{"health":"false","reason":"ALARM CORRUPT"}"#);
    fake.state().diverged = false;
    fake.state().leader = None;
    let (head, body) = http1(&port, "/health").await;
    assert_eq!(head, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, r#"{"health":"false","reason":"RAFT NO LEADER"}"#);
    let (head, _) = http1(&port, "/health?serializable=true").await;
    assert_eq!(head, "HTTP/1.1 200 OK");
    let alarm = crate::proto::etcdserverpb::AlarmRequest { action: 1, member_id: 100, alarm: 1 };
    let index = fake.state().machine.applied();
    fake.state().machine.apply(index, &crate::kv::Op::Alarm(alarm).into()).unwrap();
    let (_, body) = http1(&port, "/health?serializable=true").await;
    assert_eq!(body, r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
    let (head, _) = http1(&port, "/health?serializable=true&exclude=NOSPACE").await;
    assert_eq!(head, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_message_over_the_limit_gets_etcds_words_over_the_network_too() {
    let fake = Fake::default();
    let port = open(&fake, Limits::default()).await;
    let mut kv = connect(&port).await;
    for size in [3 << 19, 3 << 20] {
        let large = kv.put(put("a", &"v".repeat(size))).await;
        refused(large, Code::InvalidArgument, "etcdserver: request is too large");
    }
    kv.put(put("a", "1")).await.unwrap();
}

/// The kinds of the frames that answer a `GET /version` over HTTP/2.
async fn http2(port: &Port, authority: &[u8]) -> Vec<u8> {
    let path = b"/version";
    let fields = [&[0x82, 0x86, 0x41, authority.len() as u8][..], authority, &[0x44, 8], path].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1];
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let request = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers, &fields].concat();
    stream.write_all(&request).await.unwrap();
    let mut kinds = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.unwrap();
        let [a, b, c, kind, _, _, _, _, on_stream] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if on_stream == 1 {
            kinds.push(kind);
            if payload.starts_with(b"{") || kind == 3 {
                return kinds;
            }
        }
    }
}

#[tokio::test]
async fn an_authority_that_is_none_is_no_reason_to_refuse_a_request() {
    let port = open(&Fake::default(), Limits::default()).await;
    const HEADERS_AND_DATA: [u8; 2] = [1, 0];
    for authority in ["127.0.0.1:2379", "http://127.0.0.1:2379", "#initially=[http://a:1;http://b:2]"] {
        assert_eq!(http2(&port, authority.as_bytes()).await, HEADERS_AND_DATA, "{authority}");
    }
}

#[tokio::test]
async fn tls_is_refused_by_closing_the_connection() {
    let port = open(&Fake::default(), Limits::default()).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 3]).await.unwrap();
    let mut reply = Vec::new();
    // Closed with our bytes unread: a reset is as good as an end.
    let _ = stream.read_to_end(&mut reply).await;
    assert_eq!(reply, b"");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_room_is_given_back() {
    let port = open(&Fake::default(), Limits { connections: 1, ..Limits::default() }).await;
    let first = connect(&port).await;
    let mut second = TcpStream::connect(port.address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    drop(first);
    loop {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let _ = stream.write_all(b"GET /version HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        if reply.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_request() {
    let fake = Fake::with([Fault::Hang]);
    let port = open(&fake, Limits::default()).await;
    hanging_put(&fake, &port).await.abort();
    while fake.state().pending > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn at_its_end_the_port_lets_requests_finish_and_takes_no_more() {
    let fake = Fake::with([Fault::Slow(Duration::from_millis(100))]);
    let port = open(&fake, Limits { drain: Duration::from_secs(60), ..Limits::default() }).await;
    let call = hanging_put(&fake, &port).await;
    port.stop.send(()).unwrap();
    port.done.await.unwrap();
    call.await.unwrap().unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn the_end_is_bounded() {
    let fake = Fake::with([Fault::Hang]);
    let port = open(&fake, Limits { drain: Duration::from_millis(100), ..Limits::default() }).await;
    let call = hanging_put(&fake, &port).await;
    port.stop.send(()).unwrap();
    port.done.await.unwrap();
    call.await.unwrap().unwrap_err();
    assert_eq!(fake.state().pending, 0);
}

async fn hanging_put(fake: &Fake, port: &Port) -> JoinHandle<Result<(), Status>> {
    let mut kv = connect(port).await;
    let call = tokio::spawn(async move { kv.put(put("a", "1")).await.map(drop) });
    while fake.state().pending == 0 {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let fake = Fake::default();
    let port = open(&fake, Limits { drain: Duration::from_secs(60), ..Limits::default() }).await;
    let mut kv = connect(&port).await;
    kv.put(put("a", "1")).await.unwrap();
    let silent = TcpStream::connect(port.address).await.unwrap();
    port.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), port.done).await.unwrap().unwrap();
    drop((kv, silent));
}

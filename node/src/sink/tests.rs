//! Sinks against servers with prepared answers, on the loopback.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use super::dial::Dial;
use super::otlp_grpc::GrpcSink;
use super::otlp_http::HttpSink;
use super::outgoing::Outgoing;
use super::stub::{Reply, Stub};
use super::{Answer, Sink};
use crate::certs::{self, Role};
use crate::config::{self, Compression, Endpoint, Environment, ExportKind, ExportTarget, TlsFiles};
use crate::machine::Machine;
use crate::tls::{Protocols, ServerTls};

const BOTH: [ExportKind; 2] = [ExportKind::Grpc, ExportKind::Http];

async fn stub<const N: usize>(kind: ExportKind, replies: [Reply; N]) -> Stub {
    match kind {
        ExportKind::Grpc => Stub::grpc(replies).await,
        ExportKind::Http => Stub::http(replies).await,
    }
}

fn target(kind: ExportKind, stub: &Stub) -> ExportTarget {
    let endpoint = Endpoint::at(kind, false, &stub.address.to_string()).expect("an address");
    ExportTarget::new(kind, endpoint)
}

fn outgoing() -> Outgoing {
    Outgoing {
        payload: Bytes::from(vec![b'x'; 5_000]),
        entry: "1/0/1:1,3".to_owned(),
    }
}

async fn send(target: &ExportTarget) -> Answer {
    Sink::new(target).expect("a sink").send(&outgoing()).await
}

fn why(answer: Answer) -> String {
    match answer {
        Answer::Retry { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_payload_arrives_whole_however_it_is_compressed() {
    for kind in BOTH {
        for (compression, name) in [
            (Compression::None, None),
            (Compression::Gzip, Some("gzip")),
            (Compression::Zstd, Some("zstd")),
        ] {
            let stub = stub(kind, [Reply::Ok, Reply::InPart]).await;
            let target = ExportTarget {
                compression,
                ..target(kind, &stub)
            };
            assert_eq!(send(&target).await, Answer::Accepted, "{kind:?} {compression:?}");
            assert_eq!(stub.taken(), [outgoing().payload]);
            let header = match kind {
                ExportKind::Grpc => "grpc-encoding",
                ExportKind::Http => "content-encoding",
            };
            let seen = &stub.seen()[0];
            assert_eq!(seen.headers.get(header).map(|v| v.to_str().expect("text")), name);
            assert_eq!(seen.entry, "1/0/1:1,3");
            let in_part = Answer::AcceptedInPart {
                rejected: 2,
                why: String::new(),
            };
            assert_eq!(send(&target).await, in_part, "{kind:?} {compression:?}");
        }
    }
}

#[tokio::test]
async fn a_grpc_sink_that_says_ok_and_nothing_else_took_it() {
    let stub = stub(ExportKind::Grpc, [Reply::Grpc(tonic::Code::Ok)]).await;
    assert_eq!(send(&target(ExportKind::Grpc, &stub)).await, Answer::Accepted);
}

#[tokio::test]
async fn headers_and_path_are_the_operators_and_nothing_shows_a_secret() {
    for (kind, path) in [("otlp_grpc", ""), ("otlp_http", "/otlp/logs")] {
        let stub = if path.is_empty() {
            Stub::grpc([]).await
        } else {
            Stub::http([]).await
        };
        let text = format!(
            "export: [{{name: a, {kind}: {{endpoint: 'http://{}{path}', headers: {{Api-Key: k3y, x-two: a b}}}}}}]",
            stub.address
        );
        let machine = Machine {
            cores: 1,
            memory: 1 << 30,
        };
        let config = config::load_text(&text, &Environment::default(), &machine).expect("good");
        let mut sink = Sink::new(&config.export[0].target).expect("a sink");
        assert_eq!(sink.send(&outgoing()).await, Answer::Accepted);
        let seen = &stub.seen()[0];
        assert_eq!(
            (&seen.headers["api-key"], &seen.headers["x-two"]),
            (&"k3y".parse().expect("a value"), &"a b".parse().expect("a value"))
        );
        assert!(
            seen.headers["user-agent"]
                .to_str()
                .expect("text")
                .starts_with("gophership/")
        );
        assert!(path.is_empty() || seen.path == path, "{}", seen.path);
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_made_again_when_it_broke() {
    for kind in BOTH {
        let stub = stub(kind, [Reply::Ok, Reply::Ok, Reply::Silence]).await;
        let target = ExportTarget {
            // Long enough for the answers that come, on a busy machine, too.
            timeout: Duration::from_secs(3),
            ..target(kind, &stub)
        };
        let mut sink = Sink::new(&target).expect("a sink");
        for _ in 0..2 {
            assert_eq!(sink.send(&outgoing()).await, Answer::Accepted);
        }
        assert!(why(sink.send(&outgoing()).await).contains("no answer within 3s"));
        assert_eq!(sink.send(&outgoing()).await, Answer::Accepted);
        let connections: Vec<usize> = stub.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, [1, 1, 1, 2], "{kind:?}");
    }
}

#[tokio::test]
async fn a_sink_that_drips_its_answer_has_no_more_time_than_one_that_is_silent() {
    for kind in BOTH {
        for reply in [Reply::Silence, Reply::Drip] {
            let stub = stub(kind, [reply]).await;
            let target = ExportTarget {
                timeout: Duration::from_millis(300),
                ..target(kind, &stub)
            };
            assert!(why(send(&target).await).contains("no answer within 300ms"), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let stub = Stub::grpc([Reply::Long(1 << 20)]).await;
    let why = why(send(&target(ExportKind::Grpc, &stub)).await);
    assert!(why.contains("longer than 65543 bytes"), "its status comes last: {why}");
    let stub = Stub::http([Reply::Long(1 << 20)]).await;
    let mut sink = Sink::new(&target(ExportKind::Http, &stub)).expect("a sink");
    for connection in 1..=2 {
        assert_eq!(sink.send(&outgoing()).await, Answer::Accepted, "its status came first");
        assert_eq!(stub.seen().last().expect("a request").connection, connection);
    }
}

#[tokio::test]
async fn a_sink_that_is_away_or_refuses_is_told_by_its_answer() {
    let stub = Stub::grpc([Reply::Grpc(Code::ResourceExhausted), Reply::Grpc(Code::Unauthenticated)]).await;
    let mut sink = Sink::new(&target(ExportKind::Grpc, &stub)).expect("a sink");
    assert!(matches!(sink.send(&outgoing()).await, Answer::Exhausted(_)));
    assert!(matches!(sink.send(&outgoing()).await, Answer::Operator(_)));
    let stub = Stub::http([Reply::Http(413, None), Reply::Http(404, None)]).await;
    let mut sink = Sink::new(&target(ExportKind::Http, &stub)).expect("a sink");
    assert!(matches!(sink.send(&outgoing()).await, Answer::TooLarge(_)));
    assert!(matches!(sink.send(&outgoing()).await, Answer::Operator(_)));
    for kind in BOTH {
        let endpoint = Endpoint::at(kind, false, "127.0.0.1:1").expect("an address");
        assert!(why(send(&ExportTarget::new(kind, endpoint)).await).contains("refused"));
    }
}

/// A server over TLS that wants a client's certificate, and a target that trusts it.
async fn with_tls(kind: ExportKind, folder: &Path) -> (Stub, ExportTarget) {
    certs::issue(folder, "server", Role::Node, &["logs.example".to_owned()], true).expect("a server");
    certs::issue(folder, "client", Role::Client, &[], true).expect("a client");
    let files = TlsFiles {
        cert: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: Some(folder.join("ca.pem")),
    };
    let grpc = kind == ExportKind::Grpc;
    let protocols = if grpc { Protocols::Http2 } else { Protocols::Http };
    let stub = Stub::tls(grpc, ServerTls::open(&files, protocols).expect("opened").current()).await;
    let mut target = target(kind, &stub);
    target.endpoint.https = true;
    target.tls.ca = Some(folder.join("ca.pem"));
    target.tls.cert = Some(folder.join("client.pem"));
    target.tls.key = Some(folder.join("client.key"));
    target.tls.server_name = Some("logs.example".to_owned());
    (stub, target)
}

#[tokio::test]
async fn tls_checks_both_sides_and_the_name() {
    for kind in BOTH {
        let folder = tempfile::tempdir().expect("a folder");
        let (stub, good) = with_tls(kind, folder.path()).await;
        assert_eq!(send(&good).await, Answer::Accepted, "{kind:?}");
        assert_eq!(stub.taken(), [outgoing().payload]);
        let mut other_name = good.clone();
        other_name.tls.server_name = Some("other.example".to_owned());
        assert!(why(send(&other_name).await).contains("not valid for name"));
        let stranger = tempfile::tempdir().expect("a folder");
        certs::issue(stranger.path(), "x", Role::Node, &[], true).expect("another authority");
        let mut other_ca = good.clone();
        other_ca.tls.ca = Some(stranger.path().join("ca.pem"));
        assert!(why(send(&other_ca).await).contains("invalid peer certificate"));
        let mut nameless = good.clone();
        (nameless.tls.cert, nameless.tls.key) = (None, None);
        assert!(matches!(send(&nameless).await, Answer::Retry { .. }));
        let mut plaintext = good.clone();
        plaintext.endpoint.https = false;
        assert!(matches!(send(&plaintext).await, Answer::Retry { .. }));
        assert_eq!(stub.seen().len(), 1, "nothing else came through");
        let mut gone = good.clone();
        gone.tls.ca = Some(folder.path().join("gone.pem"));
        assert!(
            Sink::new(&gone)
                .err()
                .expect("refused")
                .to_string()
                .contains("gone.pem")
        );
    }
}

/// A proxy that connects every request to `to`, and returns the head of the first.
async fn proxy(to: std::net::SocketAddr) -> (std::net::SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("a head"));
        }
        let mut server = TcpStream::connect(to).await.expect("a server");
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("answered");
        // The copy ends when either side does.
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        String::from_utf8(head).expect("text")
    });
    (address, serving)
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_sees_no_more_than_the_name() {
    for kind in BOTH {
        let folder = tempfile::tempdir().expect("a folder");
        let (stub, mut target) = with_tls(kind, folder.path()).await;
        target.endpoint.host = "logs.example".to_owned();
        let (address, serving) = proxy(stub.address).await;
        let proxies = Matcher::builder().all(format!("http://user:pass@{address}")).build();
        let dial = Dial::with_proxies(&target, &proxies).expect("a way");
        let answer = match kind {
            ExportKind::Grpc => GrpcSink::over(dial, &target).expect("a sink").send(&outgoing()).await,
            ExportKind::Http => HttpSink::over(dial, &target).send(&outgoing()).await,
        };
        assert_eq!(answer, Answer::Accepted, "{kind:?}");
        let head = serving.await.expect("served");
        let line = format!("CONNECT logs.example:{} HTTP/1.1\r\n", stub.address.port());
        assert!(head.starts_with(&line), "{head}");
        assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_a_loopback_endpoint() {
    let stub = Stub::http([]).await;
    let target = target(ExportKind::Http, &stub);
    // A port on which nothing listens.
    let proxies = Matcher::builder().all("http://127.0.0.1:1").build();
    let dial = Dial::with_proxies(&target, &proxies).expect("a way");
    assert_eq!(HttpSink::over(dial, &target).send(&outgoing()).await, Answer::Accepted);
}

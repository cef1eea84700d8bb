//! OTLP/HTTP.

use std::time::Duration;

use prost::Message;

use gophership::config::Origins;
use gophership::ingester::Refusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, Http1, Http2, frames, http1, post, unfinished};
use crate::harness::{Server, Settings};
use crate::payloads::{gzip, logs, zstd};
use crate::run;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn assert_acknowledged(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/x-protobuf")),
        "{answer:?}"
    );
    assert!(
        answer.body.is_empty(),
        "an empty response, so that partial_success is unset"
    );
}

#[test]
fn an_acknowledged_payload_is_in_the_vault_byte_for_byte() {
    let server = Server::start(Settings::default());
    let (small, large) = (logs(1, 10), logs(1500, 500));
    run(async {
        assert_acknowledged(&post(server.http, &[PROTOBUF], small.clone()).await);
        assert_acknowledged(&post(server.http, &[PROTOBUF], large.clone()).await);
        assert_acknowledged(&post(server.http, &[PROTOBUF, ("content-encoding", "gzip")], gzip(&large)).await);
        assert_acknowledged(&post(server.http, &[PROTOBUF, ("content-encoding", "zstd")], zstd(&large)).await);
        let charset = ("content-type", "application/x-protobuf; charset=utf-8");
        assert_acknowledged(&post(server.http, &[charset, ("content-encoding", "identity")], small.clone()).await);
    });
    assert_eq!(
        server.payloads(),
        [&small, &large, &large, &large, &small].map(Vec::clone)
    );
    server.stop();
}

#[test]
fn a_body_may_come_in_chunks_and_by_http_2() {
    let server = Server::start(Settings::default());
    let payload = logs(300, 300);
    let pieces = |size| frames(payload.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>());
    run(async {
        for size in [100, 9000, 200_000] {
            assert_acknowledged(&http1(server.http, "POST", "/v1/logs", &[PROTOBUF], pieces(size)).await);
            let mut request = ::http::Request::post("http://localhost/v1/logs")
                .body(pieces(size))
                .unwrap();
            request
                .headers_mut()
                .insert("content-type", "application/x-protobuf".parse().unwrap());
            assert_acknowledged(&Http2::connect(server.http).await.send(request).await.unwrap());
        }
    });
    assert_eq!(server.payloads(), vec![payload; 6]);
    server.stop();
}

#[test]
fn json_becomes_otlp() {
    let server = Server::start(Settings::default());
    let json =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"hi"}}]}]}]}"#;
    run(async {
        for (body, encoding) in [(json.as_bytes().to_vec(), "identity"), (gzip(json.as_bytes()), "gzip")] {
            let answer = post(server.http, &[JSON, ("content-encoding", encoding)], body).await;
            assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    });
    let mut wanted = Vec::new();
    gophership_proto::otlp::json::to_protobuf(json.as_bytes(), 1 << 20, &mut wanted).unwrap();
    let stored = server.stored();
    assert_eq!((stored[0].0.record_count, stored[0].0.min_event_ns), (1, 5));
    assert_eq!(server.payloads(), vec![wanted; 2]);
    server.stop();
}

/// google.rpc.Status, declared independently of the code.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[test]
fn each_bad_request_gets_its_answer_and_touches_nothing() {
    let server = Server::start(Settings::default());
    let one = logs(1, 20);
    let gz = ("content-encoding", "gzip");
    let over = vec![0; (1 << 20) + 1];
    run(async {
        let at = server.http;
        let rows = [
            (
                "malformed",
                400,
                3,
                post(at, &[PROTOBUF], one[..one.len() - 1].to_vec()).await,
            ),
            ("not gzip", 400, 3, post(at, &[PROTOBUF, gz], one.clone()).await),
            (
                "a bomb",
                413,
                8,
                post(at, &[PROTOBUF, gz], gzip(&vec![0; 9 << 20])).await,
            ),
            ("too large", 413, 8, post(at, &[PROTOBUF], over.clone()).await),
            (
                "too large in chunks",
                413,
                8,
                http1(at, "POST", "/v1/logs", &[PROTOBUF], frames([over])).await,
            ),
            (
                "brotli",
                415,
                12,
                post(at, &[PROTOBUF, ("content-encoding", "br")], one.clone()).await,
            ),
        ];
        for (name, status, code, answer) in rows {
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (status, None),
                "{name}: {answer:?}"
            );
            assert_eq!(answer.header("content-type"), Some("application/x-protobuf"), "{name}");
            assert_eq!(Status::decode(&answer.body[..]).unwrap().code, code, "{name}");
        }
        let answer = post(at, &[JSON], b"{\"resourceLogs\":\n[".to_vec()).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, json["code"].as_i64()), (400, Some(3)));
        assert!(json["message"].as_str().unwrap().contains("line 2"), "{json}");
        for (path, method, status, say) in [
            ("/v1/traces", "POST", 404, "logs only"),
            ("/v1/metrics", "POST", 404, "logs only"),
            ("/", "GET", 404, "/v1/logs"),
            ("/v1/logs", "GET", 405, "POST"),
            ("/v1/logs", "POST", 415, "application/x-protobuf"),
        ] {
            let answer = http1(at, method, path, &[], frames([])).await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert!(
                String::from_utf8_lossy(&answer.body).contains(say),
                "{method} {path}: {answer:?}"
            );
        }
        assert_eq!(server.payloads().len(), 0);
        assert_acknowledged(&post(at, &[PROTOBUF], one.clone()).await);
    });
    assert_eq!(server.payloads(), [one]);
    server.stop();
}

#[test]
fn a_body_that_is_not_complete_in_time_is_refused() {
    let mut settings = Settings::default();
    settings.limits.read_timeout = Duration::from_millis(100);
    let server = Server::start(settings);
    run(async {
        let answer = http1(server.http, "POST", "/v1/logs", &[PROTOBUF], unfinished(vec![1, 2])).await;
        assert_eq!(answer.status, 408);
        let told = [PROTOBUF, ("content-length", "1000")];
        let answer = http1(server.http, "POST", "/v1/logs", &told, unfinished(vec![1, 2])).await;
        assert_eq!(answer.status, 408);
    });
    server.stop();
}

#[test]
fn no_bytes_are_an_empty_request_however_they_are_said_to_be_compressed() {
    let server = Server::start(Settings::default());
    run(async {
        for content_type in [PROTOBUF, JSON] {
            for encoding in ["identity", "gzip", "zstd"] {
                let answer = post(server.http, &[content_type, ("content-encoding", encoding)], vec![]).await;
                assert_eq!(answer.status, 200, "{content_type:?} {encoding}: {answer:?}");
            }
        }
    });
    assert_eq!(server.counted()[0].empty, 6);
    server.stop();
}

#[test]
fn content_codings_are_known_in_any_case() {
    let server = Server::start(Settings::default());
    let payload = logs(3, 30);
    run(async {
        for (encoding, body) in [
            ("GZIP", gzip(&payload)),
            ("Zstd", zstd(&payload)),
            ("Identity", payload.clone()),
        ] {
            assert_acknowledged(&post(server.http, &[PROTOBUF, ("content-encoding", encoding)], body).await);
        }
    });
    assert_eq!(server.payloads(), vec![payload; 3]);
    server.stop();
}

#[test]
fn json_that_is_refused_says_which_field_and_why() {
    let server = Server::start(Settings::default());
    let record = |fields: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#);
    run(async {
        for (json, says) in [
            (
                record(r#""flags":-1"#),
                "flags: the number is out of range (line 1, column ",
            ),
            (
                record(r#""traceId":"xyz""#),
                "traceId: must be a string of hexadecimal digits",
            ),
            (
                r#"{"resourceSpans":[{}]}"#.to_owned(),
                "no log records, but names that are not",
            ),
        ] {
            let answer = post(server.http, &[JSON], json.into_bytes()).await;
            let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer.status, 400);
            assert!(told["message"].as_str().unwrap().contains(says), "{told}");
        }
    });
    server.stop();
}

#[test]
fn json_that_is_not_unicode_is_stored_and_counted() {
    let server = Server::start(Settings::default());
    let json =
        br#"{"resource_logs":[{"scope_logs":[{"log_records":[{"body":{"string_value":"cut \ud83d"}},{"new":1}]}]}]}"#;
    run(async {
        assert_eq!(post(server.http, &[JSON], json.to_vec()).await.status, 200);
    });
    let counted = &server.counted()[0];
    assert_eq!(
        (counted.records, counted.json_not_unicode, counted.json_unknown_fields),
        (2, 1, 1)
    );
    let payload = server.payloads().remove(0);
    assert!(payload.windows(7).any(|part| part == "cut \u{fffd}".as_bytes()));
    server.stop();
}

fn refused(server: &Server, refusal: Refusal) -> u64 {
    server.counted()[0].refused[refusal.index()]
}

/// The server's answer to these bytes, until it closes.
async fn raw(at: std::net::SocketAddr, sent: &[u8]) -> String {
    let mut socket = TcpStream::connect(at).await.unwrap();
    socket.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn what_the_library_refuses_is_counted_too() {
    let server = Server::start(Settings::default());
    run(async {
        let long = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
            "a".repeat(64 << 10)
        );
        let answer = raw(server.http, long.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        let answer = raw(server.http, b"NONSENSE\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    });
    assert_eq!(refused(&server, Refusal::HeadTooLarge), 1);
    assert_eq!(refused(&server, Refusal::BadHead), 1);
    server.stop();
}

#[test]
fn pages_of_an_allowed_origin_may_send_logs_and_others_may_not() {
    const ORIGIN: &str = "https://app.example.com";
    let mut settings = Settings::default();
    settings.limits.origins = Origins::parse(ORIGIN).unwrap();
    let server = Server::start(settings);
    let at = server.http;
    let preflight = |origin: &'static str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-key"),
        ];
        async move { http1(at, "OPTIONS", "/v1/logs", &headers, frames([])).await }
    };
    run(async {
        let answer = preflight(ORIGIN).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("content-type,x-key")
        );
        let answer = preflight("https://other.example").await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (403, None)
        );
        // The answers themselves, good and bad, may be read by that page and by no other.
        for (origin, body, status, seen) in [
            (ORIGIN, &b"{}"[..], 200, Some(ORIGIN)),
            (ORIGIN, b"{", 400, Some(ORIGIN)),
            ("https://other.example", b"{}", 200, None),
        ] {
            let answer = post(server.http, &[JSON, ("origin", origin)], body.to_vec()).await;
            assert_eq!(
                (answer.status, answer.header("access-control-allow-origin")),
                (status, seen)
            );
        }
        let answer = http1(server.http, "OPTIONS", "/v1/logs", &[], frames([])).await;
        assert_eq!(answer.status, 405, "no browser asks");
    });
    assert_eq!(refused(&server, Refusal::Origin), 1);
    server.stop();
}

/// A client that writes all of a large body before it reads, as many do.
async fn write_then_read(at: std::net::SocketAddr, head: &str, body: usize) -> String {
    let mut socket = TcpStream::connect(at).await.unwrap();
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{head}content-length: {body}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![0; 64 << 10];
    let mut left = body;
    while left > 0 {
        let now = left.min(piece.len());
        socket.write_all(&piece[..now]).await.expect("the node still reads");
        left -= now;
    }
    let mut answer = Vec::new();
    socket
        .read_to_end(&mut answer)
        .await
        .expect("the answer, and then the end");
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_client_that_writes_all_of_it_first_sees_a_refusal_made_before_the_body_was_read() {
    let server = Server::start(Settings::default());
    run(async {
        for (head, status) in [
            ("content-type: application/x-protobuf\r\n", 413),
            ("content-type: text/plain\r\n", 415),
            ("content-type: application/x-protobuf\r\ncontent-encoding: br\r\n", 415),
        ] {
            let answer = write_then_read(server.http, head, 12 << 20).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer:?}");
        }
    });
    server.until(|server| server.connections() == [0]);
    server.stop();
}

#[test]
fn an_old_connection_of_http1_is_told_in_its_last_answer() {
    let mut settings = Settings::default();
    // Longer than a first answer takes on a busy machine.
    settings.limits.max_connection_age = Duration::from_secs(3);
    let server = Server::start(settings);
    run(async {
        let mut connection = Http1::connect(server.http).await;
        let mut answered = 0;
        loop {
            let answer = connection.post(&[JSON], b"{}".to_vec()).await;
            assert_eq!(answer.status, 200);
            answered += 1;
            if answer.header("connection") == Some("close") {
                break;
            }
            // Longer than its age: the connection is idle when that is over, and the next request is nevertheless
            // answered.
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        assert!(answered >= 2, "the first answer is not the last");
    });
    server.until(|server| server.connections() == [0]);
    server.stop();
}

#[test]
fn a_connection_of_http1_is_told_of_a_drain_in_its_last_answer() {
    let server = Server::start(Settings::default());
    run(async {
        let mut connection = Http1::connect(server.http).await;
        assert_eq!(
            connection.post(&[JSON], b"{}".to_vec()).await.header("connection"),
            None
        );
        server.begin_to_stop();
        loop {
            let answer = connection.post(&[JSON], b"{}".to_vec()).await;
            assert_eq!(answer.status, 200, "not cut between two requests");
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    });
    server.stop();
}

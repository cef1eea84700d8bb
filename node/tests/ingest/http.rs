//! OTLP/HTTP.

use std::time::Duration;

use prost::Message;

use crate::client::{Answer, Http2, frames, http1, post, unfinished};
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
    gophership_proto::otlp::json::to_protobuf(json.as_bytes(), &mut wanted).unwrap();
    let stored = server.stored();
    assert_eq!((stored[0].0.record_count, stored[0].0.min_event_ns), (1, 5));
    assert_eq!(server.payloads(), vec![wanted; 2]);
    server.stop();
}

/// google.rpc.Status, written down a second time.
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

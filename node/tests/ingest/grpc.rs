//! OTLP/gRPC.

use std::time::Duration;

use gophership::ingester::Refusal;
use gophership_vault::entry::EntryState;

use crate::client::{Answer, Http2, export, export_request, frames, grpc_request, http1, message, unfinished};
use crate::harness::{Server, Settings};
use crate::payloads::{gzip, logs, not_utf8, time_of, zstd};
use crate::run;

fn assert_acknowledged(answer: &Answer) {
    assert_eq!((answer.status, answer.grpc()), (200, Some("0")), "{answer:?}");
    assert_eq!(
        &answer.body[..],
        [0; 5],
        "an empty message, so that partial_success is unset"
    );
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
}

/// Sends `content` as one message and asserts that it is acknowledged.
fn accept(server: &Server, headers: &[(&str, &str)], flag: u8, content: &[u8]) {
    assert_acknowledged(&run(export(server.grpc, headers, frames([message(flag, content)]))));
}

#[test]
fn an_acknowledged_payload_is_in_the_vault_byte_for_byte() {
    let server = Server::start(Settings::default());
    let sent = [logs(1, 10), logs(512, 300), logs(3000, 200)];
    for payload in &sent {
        accept(&server, &[], 0, payload);
    }
    assert_eq!(server.payloads(), sent);
    let counted = &server.counted()[0];
    assert_eq!((counted.entries, counted.records), (3, 3513));
    assert_eq!(counted.bytes, sent.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(counted.acks.iter().sum::<u64>(), 3);
    server.stop();
}

#[test]
fn an_entry_knows_its_records_and_event_times() {
    let server = Server::start(Settings::default());
    accept(&server, &[], 0, &logs(7, 10));
    accept(&server, &[], 0, &not_utf8());
    let stored = server.stored();
    let meta = stored[0].0;
    assert_eq!(
        (meta.record_count, meta.min_event_ns, meta.max_event_ns),
        (7, time_of(0), time_of(6))
    );
    assert_eq!(meta.state, EntryState::PLAIN);
    assert!(meta.received_ns > time_of(0));
    assert_eq!((stored[1].0.state, &stored[1].1), (EntryState::NOT_UTF8, &not_utf8()));
    assert_eq!(server.counted()[0].not_utf8, 1);
    server.stop();
}

#[test]
fn a_message_may_come_in_frames_of_any_size() {
    let server = Server::start(Settings::default());
    let payload = logs(300, 300);
    let mut sent = Vec::new();
    for size in [1, 3, 5, 6, 1000, 8 * 1024, 16 * 1024, 64 * 1024] {
        // A message sent at a byte a frame need not be long.
        let payload = if size < 10 { logs(1, 10) } else { payload.clone() };
        let pieces: Vec<Vec<u8>> = message(0, &payload).chunks(size).map(<[u8]>::to_vec).collect();
        assert_acknowledged(&run(export(server.grpc, &[], frames(pieces))));
        sent.push(payload);
    }
    // Large frames, then a small one that is not the last.
    let whole = message(0, &payload);
    let cuts = [0, 20_000, 40_000, 40_100, 60_000, whole.len()];
    let pieces: Vec<Vec<u8>> = cuts.windows(2).map(|cut| whole[cut[0]..cut[1]].to_vec()).collect();
    assert_acknowledged(&run(export(server.grpc, &[], frames(pieces))));
    sent.push(payload);
    assert_eq!(server.payloads(), sent);
    server.stop();
}

#[test]
fn a_compressed_message_is_stored_inflated() {
    let server = Server::start(Settings::default());
    let (small, large) = (logs(1, 10), logs(1000, 500));
    for payload in [&small, &large] {
        accept(&server, &[("grpc-encoding", "gzip")], 1, &gzip(payload));
        accept(&server, &[("grpc-encoding", "zstd")], 1, &zstd(payload));
        accept(&server, &[("grpc-encoding", "gzip")], 0, payload);
    }
    let pieces: Vec<Vec<u8>> = message(1, &gzip(&large)).chunks(777).map(<[u8]>::to_vec).collect();
    assert_acknowledged(&run(export(server.grpc, &[("grpc-encoding", "gzip")], frames(pieces))));
    assert_eq!(
        server.payloads(),
        [&small, &small, &small, &large, &large, &large, &large].map(Vec::clone)
    );
    server.stop();
}

#[test]
fn a_request_without_records_is_acknowledged_and_not_stored() {
    let server = Server::start(Settings::default());
    accept(&server, &[], 0, &[]);
    accept(&server, &[], 0, &logs(0, 0));
    assert_eq!((server.payloads().len(), server.counted()[0].empty), (0, 2));
    server.stop();
}

#[test]
fn each_bad_request_gets_its_answer_and_touches_nothing() {
    let server = Server::start(Settings::default());
    let one = logs(1, 20);
    let whole = message(0, &one);
    let cut = |by: usize| frames([whole[..whole.len() - by].to_vec()]);
    let gz = [("grpc-encoding", "gzip")];
    let over = (1 << 20) + 1;
    let cases = [
        (
            "malformed",
            Refusal::Malformed(zero()),
            "3",
            run(export(server.grpc, &[], frames([message(0, &one[..one.len() - 1])]))),
        ),
        (
            "a wrong wire type",
            Refusal::Malformed(zero()),
            "3",
            run(export(server.grpc, &[], frames([message(0, &[0x08, 0x01])]))),
        ),
        (
            "cut off",
            Refusal::Truncated,
            "3",
            run(export(server.grpc, &[], cut(1))),
        ),
        (
            "cut in its prefix",
            Refusal::Truncated,
            "3",
            run(export(server.grpc, &[], frames([vec![0, 0, 0]]))),
        ),
        (
            "nothing",
            Refusal::NoMessage,
            "12",
            run(export(server.grpc, &[], frames([]))),
        ),
        (
            "two in one frame",
            Refusal::ExtraMessage,
            "12",
            run(export(server.grpc, &[], frames([whole.repeat(2)]))),
        ),
        (
            "two in two frames",
            Refusal::ExtraMessage,
            "12",
            run(export(server.grpc, &[], frames([whole.clone(), whole.clone()]))),
        ),
        (
            "flag 7",
            Refusal::BadFlag,
            "13",
            run(export(server.grpc, &[], frames([message(7, &one)]))),
        ),
        (
            "compressed how",
            Refusal::NoCompressionNamed,
            "13",
            run(export(server.grpc, &[], frames([message(1, &gzip(&one))]))),
        ),
        (
            "not gzip",
            Refusal::NotInflatable,
            "3",
            run(export(server.grpc, &gz, frames([message(1, &one)]))),
        ),
        (
            "gzip cut off",
            Refusal::NotInflatable,
            "3",
            run(export(server.grpc, &gz, frames([message(1, &gzip(&one)[..20])]))),
        ),
        (
            "a bomb",
            Refusal::InflatesTooLarge,
            "8",
            run(export(server.grpc, &gz, frames([message(1, &gzip(&vec![0; 9 << 20]))]))),
        ),
        (
            "too large",
            Refusal::TooLarge,
            "8",
            run(export(server.grpc, &[], frames([message(0, &vec![0; over])]))),
        ),
        (
            "said to be too large",
            Refusal::TooLarge,
            "8",
            run(export(server.grpc, &[], unfinished(vec![0, 0xff, 0, 0, 0]))),
        ),
    ];
    for (number, (name, refusal, code, answer)) in cases.iter().enumerate() {
        assert_eq!((answer.status, answer.grpc()), (200, Some(*code)), "{name}: {answer:?}");
        assert_eq!(
            answer.header("google.rpc.retryinfo-bin"),
            None,
            "{name} invites no retry"
        );
        let expected = cases.iter().filter(|case| case.1.index() == refusal.index()).count() as u64;
        assert_eq!(
            server.counted()[0].refused[refusal.index()],
            expected,
            "case {number}: {name}"
        );
    }
    assert_eq!(server.payloads().len(), 0);
    accept(&server, &[], 0, &one);
    assert_eq!(server.payloads(), [one]);
    server.stop();
}

fn zero() -> gophership_proto::otlp::malformed::SkimError {
    gophership_proto::otlp::skim::must_skim(&[0xff], 0).unwrap_err()
}

#[test]
fn a_message_of_the_largest_size_is_taken() {
    let server = Server::start(Settings::default());
    let mut payload = logs(1, (1 << 20) - 100);
    // An unknown field fills the message up to the limit, to the byte.
    let rest = (1 << 20) - payload.len() - 3;
    payload.extend([0x7a, 0x80 | rest as u8 & 0x7f, (rest >> 7) as u8]);
    payload.extend(vec![b'x'; rest]);
    assert_eq!(payload.len(), 1 << 20);
    accept(&server, &[], 0, &payload);
    accept(&server, &[("grpc-encoding", "gzip")], 1, &gzip(&payload));
    assert_eq!(server.payloads(), [payload.clone(), payload]);
    server.stop();
}

#[test]
fn a_message_that_is_not_complete_in_time_is_refused_and_gives_its_bytes_back() {
    let mut settings = Settings::default();
    settings.limits.read_timeout = Duration::from_millis(100);
    let server = Server::start(settings);
    for begun in [vec![0], message(0, &logs(1, 10))[..9].to_vec()] {
        let answer = run(export(server.grpc, &[], unfinished(begun)));
        assert_eq!(answer.grpc(), Some("4"), "{answer:?}");
    }
    assert_eq!(server.counted()[0].refused[Refusal::ReadTimeout.index()], 2);
    server.stop();
}

#[test]
fn what_is_not_an_export_of_logs_is_told_so() {
    let server = Server::start(Settings::default());
    let one = message(0, &logs(1, 10));
    run(async {
        let mut connection = Http2::connect(server.grpc).await;
        for signal in ["trace.v1.TraceService", "metrics.v1.MetricsService"] {
            let path = format!("/opentelemetry.proto.collector.{signal}/Export");
            let answer = connection
                .send(grpc_request(&path, &[], frames([one.clone()])))
                .await
                .unwrap();
            assert_eq!(answer.grpc(), Some("12"));
            assert!(answer.header("grpc-message").unwrap().contains("logs only"));
        }
        let answer = connection
            .send(grpc_request("/a.B/C", &[], frames([one.clone()])))
            .await
            .unwrap();
        assert_eq!(answer.grpc(), Some("12"));
        let text = [("content-type", "text/plain")];
        let answer = connection
            .send(grpc_request(crate::client::EXPORT, &text, frames([one.clone()])))
            .await
            .unwrap();
        assert_eq!((answer.status, answer.grpc()), (415, None));
        let snappy = [("grpc-encoding", "snappy")];
        let compressed = frames([message(1, &one)]);
        let answer = connection
            .send(grpc_request(crate::client::EXPORT, &snappy, compressed))
            .await
            .unwrap();
        assert_eq!(
            (answer.grpc(), answer.header("grpc-accept-encoding")),
            (Some("12"), Some("identity,gzip,zstd"))
        );
        let answer = http1(server.grpc, "GET", "/", &[], frames([])).await;
        assert_eq!(answer.status, 400);
        assert!(String::from_utf8_lossy(&answer.body).contains("HTTP/2"));
        // After all that, the connection still works.
        let answer = connection
            .send(grpc_request(crate::client::EXPORT, &[], frames([one])))
            .await
            .unwrap();
        assert_acknowledged(&answer);
    });
    server.stop();
}

#[test]
fn the_other_services_of_the_port_answer_too() {
    let (reporter, health) = tonic_health::server::health_reporter();
    run(reporter.set_service_status("", tonic_health::ServingStatus::Serving));
    let server = Server::start(Settings {
        routes: tonic::service::Routes::new(health),
        ..Settings::default()
    });
    let check = grpc_request("/grpc.health.v1.Health/Check", &[], frames([message(0, &[])]));
    let answer = run(async { Http2::connect(server.grpc).await.send(check).await.unwrap() });
    assert_eq!(
        (answer.grpc(), &answer.body[..]),
        (Some("0"), &[0, 0, 0, 0, 2, 8, 1][..])
    );
    server.stop();
}

#[test]
fn no_bytes_are_an_empty_request_however_they_are_said_to_be_compressed() {
    let server = Server::start(Settings::default());
    run(async {
        let mut connection = Http2::connect(server.grpc).await;
        for encoding in ["gzip", "zstd", "GZIP"] {
            let request = export_request(&[("grpc-encoding", encoding)], frames([message(1, &[])]));
            assert_eq!(connection.send(request).await.unwrap().grpc(), Some("0"), "{encoding}");
        }
    });
    assert_eq!(server.counted()[0].empty, 3);
    server.stop();
}

#[test]
fn a_watch_of_health_ends_with_its_connection_and_holds_no_drain() {
    let (_health, service) = tonic_health::server::health_reporter();
    let server = Server::start(Settings {
        routes: tonic::service::Routes::new(service),
        ..Settings::default()
    });
    run(async {
        let mut connection = Http2::connect(server.grpc).await;
        let mut request = export_request(&[], frames([message(0, &[])]));
        *request.uri_mut() = "http://localhost/grpc.health.v1.Health/Watch".parse().unwrap();
        let watch = tokio::spawn(async move { connection.send(request).await });
        server.becomes(|server| server.connections() == [1]).await;
        // Its first message has been sent when nothing is in flight any more.
        server.becomes(|server| server.counted()[0].in_flight == 0).await;
        server.begin_to_stop();
        let answer = watch.await.unwrap().unwrap();
        assert_eq!(answer.grpc(), Some("14"), "{answer:?}");
    });
    server.stop();
}

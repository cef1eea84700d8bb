//! Memory: a client gets a refusal that it retries, never a hang, and bytes that were taken go back.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};

use gophership::ingester::Refusal;

use crate::client::{Http1, Http2, export, export_request, frames, message, streamed, unfinished};
use crate::harness::{HANG, Server, Settings};
use crate::payloads::{gzip, logs};
use crate::run;

fn small() -> Server {
    let mut settings = Settings {
        budget: 512 << 10,
        ..Settings::default()
    };
    settings.limits.max_message = 400 << 10;
    Server::start(settings)
}

#[test]
fn what_does_not_fit_into_the_budget_is_refused_with_a_retry_delay() {
    let server = small();
    let payload = logs(300, 1000);
    run(async {
        // One message is announced and held up, so the next finds no room.
        let mut connection = Http2::connect(server.grpc).await;
        let held = unfinished(message(0, &payload)[..100_000].to_vec());
        let holding = tokio::spawn(async move { connection.send(export_request(&[], held)).await });
        server.becomes(|server| server.budget.held() >= 300_000).await;
        let answer = export(server.grpc, &[], frames([message(0, &payload)])).await;
        assert_eq!((answer.status, answer.grpc()), (200, Some("14")));
        assert!(answer.header("google.rpc.retryinfo-bin").is_some());
        assert!(answer.header("grpc-status-details-bin").is_some());
        let protobuf = [("content-type", "application/x-protobuf")];
        let mut refused = Http1::connect(server.http).await;
        let answer = refused.post(&protobuf, payload.clone()).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        // A client that goes away gives its bytes back.
        holding.abort();
        let _ = holding.await;
        server.becomes(|server| server.budget.held() == 0).await;
        // The refused client sent all of its message before it was answered, and is still connected.
        assert_eq!(refused.post(&protobuf, logs(1, 10)).await.status, 200);
    });
    server.until(|server| server.budget.held() == 0);
    let answer = run(export(server.grpc, &[], frames([message(0, &payload)])));
    assert_eq!(answer.grpc(), Some("0"));
    assert_eq!(server.payloads(), [logs(1, 10), payload]);
    assert_eq!(server.counted()[0].refused[Refusal::Budget.index()], 2);
    server.stop();
}

#[test]
fn inflating_is_paid_for() {
    let mut settings = Settings {
        budget: 300 << 10,
        ..Settings::default()
    };
    settings.limits.max_message = 256 << 10;
    let server = Server::start(settings);
    let payload = logs(1, 10);
    let gz = [("grpc-encoding", "gzip")];
    let answer = run(export(server.grpc, &gz, frames([message(1, &gzip(&payload))])));
    assert_eq!(
        answer.grpc(),
        Some("14"),
        "a window and an inflated message are more than this budget"
    );
    assert_eq!(
        run(export(server.grpc, &[], frames([message(0, &payload)]))).grpc(),
        Some("0")
    );
    server.stop();
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = Server::start(Settings::default());
    let whole = message(0, &logs(100, 300));
    for cut in [0, 3, 5, 20_000, whole.len() - 1, whole.len()] {
        // The whole message, but no end of the stream: a client that breaks off there does not want it stored.
        let begun = whole[..cut].to_vec();
        run(async {
            let mut connection = Http2::connect(server.grpc).await;
            let (sent, all_sent) = tokio::sync::oneshot::channel::<()>();
            let body = stream::iter([bytes::Bytes::from(begun)]).chain(stream::once(async move {
                let _ = sent.send(());
                std::future::pending().await
            }));
            let call = tokio::spawn(async move { connection.send(export_request(&[], streamed(body))).await });
            all_sent.await.unwrap();
            call.abort();
        });
    }
    server.until(|server| server.connections() == [0] && server.budget.held() == 0);
    assert_eq!((server.payloads().len(), server.counted()[0].entries), (0, 0));
    server.stop();
}

#[test]
fn many_at_once_under_a_tight_budget_are_each_stored_or_refused() {
    let server = small();
    let payload = logs(100, 1000);
    let (acknowledged, refused) = run(async {
        let calls = (0..64).map(|_| {
            let body = frames([message(0, &payload)]);
            let to = server.grpc;
            tokio::spawn(async move { export(to, &[], body).await })
        });
        let mut counts = (0, 0);
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap().grpc() {
                Some("0") => counts.0 += 1,
                Some("14") => counts.1 += 1,
                other => panic!("{other:?}"),
            }
        }
        counts
    });
    assert_eq!(acknowledged + refused, 64);
    assert!(acknowledged > 0);
    assert_eq!(server.payloads(), vec![payload; acknowledged]);
    server.until(|server| server.budget.held() == 0);
    server.stop();
}

#[test]
fn a_worker_that_is_sent_more_than_it_can_read_soon_says_so_and_goes_on() {
    let server = Server::start(Settings::default());
    let payload = logs(1000, 1000);
    // A malformed message is not stored, so no disk takes part.
    let malformed = bytes::Bytes::from(message(0, &payload[..payload.len() - 1]));
    let busy = run(async {
        let seen = Rc::new(Cell::new(false));
        let sends = (0..256).map(|_| {
            let (seen, body, to) = (Rc::clone(&seen), malformed.clone(), server.grpc);
            async move {
                let mut connection = Http2::connect(to).await;
                let mut busy = 0;
                while !seen.get() {
                    let answer = connection
                        .send(export_request(&[], streamed(stream::iter([body.clone()]))))
                        .await
                        .unwrap();
                    match answer.grpc() {
                        Some("3") => {}
                        Some("14") => {
                            assert!(answer.header("google.rpc.retryinfo-bin").is_some());
                            busy += 1;
                            seen.set(true);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                busy
            }
        });
        let sends = futures_util::future::join_all(sends);
        tokio::time::timeout(HANG, sends)
            .await
            .expect("256 MiB at once are too much for a core")
            .iter()
            .sum::<u64>()
    });
    assert_eq!(server.counted()[0].refused[Refusal::Busy.index()], busy);
    let answer = run(export(server.grpc, &[], frames([message(0, &logs(1, 10))])));
    assert_eq!(answer.grpc(), Some("0"));
    server.stop();
}

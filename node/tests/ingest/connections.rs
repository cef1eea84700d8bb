//! Connections: their distribution over workers, and their ends.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::io::AsyncReadExt;

use crate::client::{Http2, export_request, frames, message, streamed};
use crate::harness::{Server, Settings};
use crate::payloads::logs;
use crate::run;

#[test]
fn connections_are_spread_evenly_over_the_workers() {
    let server = Server::start(Settings {
        shards: 3,
        ..Settings::default()
    });
    run(async {
        let mut open = Vec::new();
        for _ in 0..9 {
            let mut connection = Http2::connect(server.grpc).await;
            let answer = connection
                .send(export_request(&[], frames([message(0, &logs(1, 1))])))
                .await
                .unwrap();
            assert_eq!(answer.grpc(), Some("0"));
            open.push(connection);
        }
        assert_eq!(server.connections(), [3, 3, 3]);
    });
    server.until(|server| server.connections() == [0, 0, 0]);
    assert_eq!(
        server
            .counted()
            .iter()
            .map(|counted| counted.entries)
            .collect::<Vec<_>>(),
        [3, 3, 3]
    );
    server.stop();
}

#[test]
fn many_streams_of_one_connection_are_all_answered() {
    let server = Server::start(Settings::default());
    let payload = logs(10, 100);
    run(async {
        let connection = Http2::connect(server.grpc).await;
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (mut connection, payload) = (connection.clone(), payload.clone());
                tokio::spawn(async move {
                    // On a machine that is busy with other things a worker may refuse for a while.
                    for _ in 0..1000 {
                        let request = export_request(&[], frames([message(0, &payload)]));
                        let answer = connection.send(request).await.unwrap();
                        if answer.grpc() != Some("14") {
                            return answer;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    panic!("it was refused for ever")
                })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().grpc(), Some("0"));
        }
    });
    assert_eq!(server.payloads(), vec![payload; 500]);
    server.stop();
}

#[test]
fn payloads_go_on_being_stored_when_wal_files_are_full() {
    let server = Server::start(Settings {
        segment_size: 256 << 10,
        ..Settings::default()
    });
    let payload = logs(100, 300);
    run(async {
        let mut connection = Http2::connect(server.grpc).await;
        for _ in 0..60 {
            // A slow disk may make a WAL file late: then the client is told to retry, and does.
            let mut tries = 0..100;
            loop {
                let answer = connection
                    .send(export_request(&[], frames([message(0, &payload)])))
                    .await
                    .unwrap();
                if answer.grpc() == Some("0") {
                    break;
                }
                assert_eq!(answer.grpc(), Some("14"), "{answer:?}");
                assert!(tries.next().is_some(), "no WAL file ever came");
            }
        }
    });
    assert_eq!(server.payloads(), vec![payload; 60]);
    server.stop();
}

#[test]
fn an_old_connection_is_told_to_go_and_no_request_is_lost() {
    let mut settings = Settings::default();
    settings.limits.max_connection_age = Duration::from_millis(50);
    let server = Server::start(settings);
    let payload = logs(1, 10);
    let acknowledged = run(async {
        let mut connection = Http2::connect(server.grpc).await;
        let mut acknowledged = 0;
        while !connection.is_closed() {
            match connection
                .send(export_request(&[], frames([message(0, &payload)])))
                .await
            {
                Ok(answer) => {
                    assert_eq!(answer.grpc(), Some("0"));
                    acknowledged += 1;
                }
                // The request was not begun, so the client knows that it may send it elsewhere.
                Err(error) => assert!(error.is_canceled() || error.is_closed(), "{error:?}"),
            }
        }
        acknowledged
    });
    assert_eq!(server.payloads().len(), acknowledged);
    server.stop();
}

#[test]
fn a_drain_answers_what_was_begun_and_gives_the_writer_back() {
    let server = Server::start(Settings::default());
    let payload = logs(100, 300);
    run(async {
        let whole = message(0, &payload);
        let (first, rest) = (whole[..20_000].to_vec(), whole[20_000..].to_vec());
        let (go_on, told) = tokio::sync::oneshot::channel::<()>();
        let body = stream::iter([bytes::Bytes::from(first)]).chain(stream::once(async move {
            told.await.unwrap();
            bytes::Bytes::from(rest)
        }));
        let mut connection = Http2::connect(server.grpc).await;
        // Half of a message, and a connection that sends nothing.
        let call = tokio::spawn(async move { connection.send(export_request(&[], streamed(body))).await.unwrap() });
        let mut silent = tokio::net::TcpStream::connect(server.grpc).await.unwrap();
        server
            .becomes(|server| server.connections() == [2] && server.budget.held() >= payload.len() as u64)
            .await;
        server.begin_to_stop();
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "the silent one is closed");
        go_on.send(()).unwrap();
        assert_eq!(call.await.unwrap().grpc(), Some("0"));
    });
    server.until(|server| server.connections() == [0]);
    assert_eq!(server.payloads(), [payload]);
    server.stop();
}

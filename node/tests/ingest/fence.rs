//! A node whose epoch is fenced while clients send: they are told to come back, and the node goes on by itself.

use std::time::Instant;

use gophership::ingester::Refusal;

use crate::client::{Http2, export_request, frames, message};
use crate::harness::{HANG, Server, Settings};
use crate::payloads::logs;
use crate::run;

#[test]
fn clients_of_a_fenced_node_are_told_to_come_back_and_lose_nothing() {
    let server = Server::start(Settings {
        shards: 2,
        segment_size: 64 << 10,
        ..Settings::default()
    });
    let (mut acked, mut refused) = (Vec::new(), 0);
    run(async {
        // One connection to each shard, which stays.
        let mut clients = [Http2::connect(server.grpc).await, Http2::connect(server.grpc).await];
        for fence in 0..3 {
            let (others, seen) = (server.catalogue.node_up(uuid::Uuid::new_v4(), None).unwrap(), refused);
            let begun = Instant::now();
            let mut after = 0;
            // Until the node has found out, and has gone on for a while.
            while after < 100 {
                assert!(begun.elapsed() < HANG, "fence {fence}: it never went on");
                for client in &mut clients {
                    let payload = logs(1, 1000 + acked.len());
                    let answer = client
                        .send(export_request(&[], frames([message(0, &payload)])))
                        .await
                        .unwrap();
                    match answer.grpc() {
                        Some("0") => {
                            acked.push(payload);
                            after += u32::from(server.catalogue.newest_epoch() > Some(others));
                        }
                        Some("14") => {
                            assert!(answer.header("google.rpc.retryinfo-bin").is_some(), "{answer:?}");
                            refused += 1;
                        }
                        other => panic!("{other:?}: {answer:?}"),
                    }
                }
            }
            assert!(refused > seen, "fence {fence}: the node never took a new epoch");
        }
    });
    server.until_recovered();
    let stored = server.payloads();
    for payload in &acked {
        assert!(stored.contains(payload), "an acknowledged payload is lost");
    }
    // A client whose request was refused may have sent it before.
    assert!(stored.len() <= acked.len() + refused);
    let counted: u64 = server
        .counted()
        .iter()
        .map(|worker| worker.refused[Refusal::Fenced.index()])
        .sum();
    assert!(counted > 0 && counted <= refused as u64, "{counted} of {refused}");
    server.stop();
}

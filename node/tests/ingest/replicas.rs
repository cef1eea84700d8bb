//! Ingest of a node whose acknowledgements wait for copies on other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gophership::ingester::{AckLimit, Refusal};
use gophership_vault::ids::NodeId;
use gophership_vault::{NodeSet, ReplicaSet};

use crate::client::{Http2, export_request, frames, message};
use crate::harness::{Server, Settings};
use crate::payloads::logs;
use crate::run;

#[test]
fn without_a_copy_in_time_clients_are_refused_and_nothing_more_is_appended_until_there_is_one() {
    let peer = NodeId::new(2).unwrap();
    let mut settings = Settings {
        replicas: ReplicaSet::new(NodeSet::of(peer), 2).unwrap(),
        ..Settings::default()
    };
    // It is changed while the first request waits.
    let within = Arc::new(AtomicU64::new(3_600_000));
    let read = Arc::clone(&within);
    settings.limits.acks = AckLimit::replicated(move || Duration::from_millis(read.load(Ordering::Relaxed)));
    let server = Server::start(settings);
    run(async {
        let mut client = Http2::connect(server.grpc).await;
        let payload = logs(1, 100);
        let mut send = async || {
            let answer = client.send(export_request(&[], frames([message(0, &payload)]))).await;
            let answer = answer.unwrap();
            let retry = answer.header("google.rpc.retryinfo-bin").is_some();
            (answer.grpc().map(str::to_owned), retry)
        };
        let refused = (Some("14".to_owned()), true);
        let shorter = async {
            server.becomes(|server| server.marks[0].durable().is_some()).await;
            within.store(200, Ordering::Relaxed);
        };
        let first = async { tokio::join!(send(), shorter).0 };
        let first = tokio::time::timeout(Duration::from_secs(120), first).await;
        let first = first.expect("an answer once the limit is shorter");
        assert_eq!(first, refused);
        server.becomes(|server| server.marks[0].durable().is_some()).await;
        let written = server.marks[0].durable();
        for _ in 0..5 {
            assert_eq!(send().await, refused);
        }
        assert_eq!(
            server.marks[0].durable(),
            written,
            "what cannot be acknowledged was appended"
        );
        server.marks[0].peer_synced(peer, written.unwrap());
        // The worker sees it at its next turn, and then takes more; the peer has a copy of that, too.
        while server.marks[0].durable() == written {
            let sent = send();
            let copied = async {
                while server.marks[0].durable() == written {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                server.marks[0].peer_synced(peer, server.marks[0].durable().unwrap());
            };
            tokio::select! {
                biased;
                answer = sent => assert!(answer == refused || answer.0.as_deref() == Some("0"), "{answer:?}"),
                () = copied => {}
            }
        }
    });
    let refused = server.counted()[0].refused[Refusal::TooFewCopies.index()];
    assert!(refused >= 6, "{refused}");
    server.stop();
}

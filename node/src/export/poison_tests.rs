//! Entries at which a sink fails, and sinks that fail at everything.

use tonic::Code;

use super::tests::{Running, SHARD, filled, lsn, to, to_grpc};
use crate::sink::stub::{Reply, Stub};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_a_sink_fails_at_is_a_dead_letter_once_its_neighbours_pass() {
    for by_grpc in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (node, mut payloads) = filled(dir.path(), 8);
        let (stub, list) = if by_grpc {
            let stub = Stub::grpc([]).await;
            stub.fails_at(b"entry 3 ", Reply::Grpc(Code::Internal));
            let list = to_grpc(&stub, "a");
            (stub, list)
        } else {
            let stub = Stub::http([]).await;
            stub.fails_at(b"entry 3 ", Reply::Http(500, None));
            let list = to(&stub, "a", "");
            (stub, list)
        };
        let running = Running::start(&node, &list);
        running
            .until("a", "the rest, and the place behind the dead letter", |v| {
                v.sent_entries == 7 && v.dead_letters == 1 && v.debt_entries == 0
            })
            .await;
        let letters = running.exporters.letters("a", Vec::new()).unwrap();
        assert_eq!(letters, [(node.vault.identity().node_id, SHARD, lsn(3))]);
        payloads.remove(2);
        assert_eq!(stub.taken().concat(), payloads.concat(), "in order, each once");

        stub.fails_at(b"no such bytes", Reply::Ok);
        let again = running.exporters.send_letters("a").unwrap().run(letters).await.unwrap();
        assert_eq!((again.taken, again.refused_again, again.left), (1, 0, 0));
        running.stop().await;
        node.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_fails_at_everything_makes_no_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut payloads) = filled(dir.path(), 4);
    // Enough answers that each entry is alone, and the first was tried once more.
    let stub = Stub::http([Reply::Http(500, None); 12]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let view = running
        .until("a", "everything", |v| v.sent_entries == 4 && v.debt_entries == 0)
        .await;
    assert_eq!(view.dead_letters, 0);
    let mut taken = stub.taken();
    taken.sort();
    payloads.sort();
    assert_eq!(taken, payloads, "each once");
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_a_sink_fails_at_stay_and_hold_up_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::http([]).await;
    stub.then(Reply::Http(400, None));
    let running = Running::start(&node, &to(&stub, "a", ""));
    running.until("a", "the letters", |v| v.dead_letters == 3).await;
    stub.then(Reply::Ok);
    stub.fails_at(b"entry 1 ", Reply::Http(500, None));
    let letters = running.exporters.letters("a", Vec::new()).unwrap();
    let (first, why) = running.exporters.letter_payload("a", letters[0]).await.unwrap();
    assert_eq!(
        (first.as_ref(), why),
        (payloads[0].as_slice(), None),
        "it can be looked into"
    );
    let sent = running.exporters.send_letters("a").unwrap().run(letters).await.unwrap();
    assert_eq!((sent.taken, sent.refused_again, sent.left), (2, 1, 0));
    assert_eq!(stub.taken(), payloads[1..]);
    // A sink that is down ends it.
    stub.then(Reply::Http(503, None));
    stub.fails_at(b"no such bytes", Reply::Ok);
    let letters = running.exporters.letters("a", Vec::new()).unwrap();
    let sent = running.exporters.send_letters("a").unwrap().run(letters).await.unwrap();
    assert_eq!((sent.taken, sent.refused_again, sent.left), (0, 0, 1));
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_set_aside_and_cannot_be_read_again_is_no_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 8);
    let node = node.reopen();
    let segment = node.vault.segment_file(node.vault.segments()[0].0);
    let away = dir.path().join("away");
    let stub = Stub::http([]).await;
    stub.fails_at(b"entry 3 ", Reply::Http(500, None));
    let running = Running::start(&node, &to(&stub, "a", ""));
    // All of them were read then, and the faulty one is not alone yet.
    running.until("a", "the first failure", |v| v.failed_requests > 0).await;
    std::fs::rename(&segment, &away).unwrap();
    let view = running
        .until("a", "the others, and the wait", |v| {
            v.sent_entries == 7 && !v.waiting.is_empty()
        })
        .await;
    assert!(view.waiting.contains("cannot be read again"), "{}", view.waiting);
    assert_eq!((view.dead_letters, view.debt_entries > 0), (0, true));
    std::fs::rename(&away, &segment).unwrap();
    stub.fails_at(b"no such bytes", Reply::Ok);
    running
        .until("a", "that one, too", |v| v.sent_entries == 8 && v.debt_entries == 0)
        .await;
    let mut taken = stub.taken();
    taken.sort();
    let mut all = payloads;
    all.sort();
    assert_eq!(taken.concat().len(), all.concat().len());
    running.stop().await;
    node.close();
}

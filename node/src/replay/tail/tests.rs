use std::time::{Duration, Instant};

use gophership_proto::control::v1::{SetOverrideRequest, TailChunk, TailRequest, Zone};
use tonic::{Code, Streaming};

use super::TAIL_BEHIND_MAX;
use crate::control::testkit::{TestControl, TestNode, payload};

async fn tail(control: &mut TestControl, last_entries: u32) -> Streaming<TailChunk> {
    let asked = control.client.tail(TailRequest { last_entries }).await;
    asked.unwrap().into_inner()
}

/// Reads until the entries shown and those left out together are `entries`; returns both.
async fn until(chunks: &mut Streaming<TailChunk>, entries: usize) -> (Vec<Vec<u8>>, u64) {
    let (mut shown, mut left_out) = (Vec::new(), 0);
    let began = Instant::now();
    while shown.len() + (left_out as usize) < entries {
        let chunk = tokio::time::timeout(Duration::from_secs(60), chunks.message()).await;
        let chunk = chunk.expect("a chunk").unwrap().unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} and {left_out}",
            shown.len()
        );
        left_out += chunk.left_out_entries;
        shown.extend(chunk.entries.into_iter().map(|e| e.payload.to_vec()));
    }
    (shown, left_out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_shows_the_last_that_were_there_and_then_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 2);
    for n in 1..=5 {
        node.append(0, n, &payload(n, 50));
    }
    let node = tokio::task::spawn_blocking(move || node.reopen()).await;
    let mut node = node.unwrap();
    node.append(0, 6, &payload(6, 50));
    let mut control = node.serve(&[]).await;
    let mut three = tail(&mut control, 3).await;
    let mut all = tail(&mut control, 50).await;
    let mut none = tail(&mut control, 0).await;
    // This spans the end of the segment that the first boot left.
    assert_eq!(
        until(&mut three, 3).await.0,
        (4..=6).map(|n| payload(n, 50)).collect::<Vec<_>>()
    );
    assert_eq!(
        until(&mut all, 6).await.0,
        (1..=6).map(|n| payload(n, 50)).collect::<Vec<_>>()
    );
    node.append(1, 7, &payload(7, 50));
    for chunks in [&mut three, &mut all, &mut none] {
        assert_eq!(until(chunks, 1).await, (vec![payload(7, 50)], 0));
    }
    let _fourth = tail(&mut control, 0).await;
    let fifth = control.client.tail(TailRequest::default()).await.unwrap_err();
    assert_eq!(fifth.code(), Code::ResourceExhausted, "{fifth}");
    drop((three, all, none));
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_does_not_keep_up_with_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    node.append(0, 1, b"before");
    let mut control = node.serve(&[]).await;
    let mut chunks = tail(&mut control, 0).await;
    node.append(0, 2, &payload(1, 4000));
    assert_eq!(until(&mut chunks, 1).await, (vec![payload(1, 4000)], 0));
    // The client reads nothing meanwhile.
    let count = 3 * TAIL_BEHIND_MAX;
    for n in 2..=count {
        node.append(0, n, &payload(n, 4000));
    }
    let (shown, left_out) = until(&mut chunks, count as usize - 1).await;
    assert!(left_out > 0, "{left_out}");
    assert_eq!(shown.len() as u64 + left_out, count - 1);
    assert_eq!(shown.last(), Some(&payload(count, 4000)), "the newest is shown");
    assert!(shown.is_sorted_by_key(|p| {
        String::from_utf8_lossy(p)
            .split(' ')
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    }));
    drop(chunks);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_red_zone_nothing_is_read_and_what_comes_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    let mut control = node.serve(&[]).await;
    let red = SetOverrideRequest {
        zone: Zone::Red.into(),
        reason: "a drill".to_owned(),
    };
    control.client.set_override(red).await.unwrap();
    let mut chunks = tail(&mut control, 0).await;
    for n in 1..=3 {
        node.append(0, n, &payload(n, 50));
    }
    assert_eq!(until(&mut chunks, 3).await, (vec![], 3));
    control
        .client
        .clear_override(gophership_proto::control::v1::ClearOverrideRequest {})
        .await
        .unwrap();
    node.append(0, 4, &payload(4, 50));
    assert_eq!(until(&mut chunks, 1).await, (vec![payload(4, 50)], 0));
    drop(chunks);
    control.stop().await;
    node.close();
}

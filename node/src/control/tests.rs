//! The service end to end: a real vault behind a real socket.

use std::fs;

use gophership_proto::control::v1::{
    ClearOverrideRequest, DiskTier, ListSegmentsRequest, OtlpSink, ReplayChunk, ReplayEnd, ReplayJobRef, ReplaySink,
    ReplaySource, ReplaySpec, SegmentRef, SegmentState, SetOverrideRequest, StatusRequest, VerifyProgress, Zone,
    replay_sink,
};
use gophership_vault::ids::SegmentId;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::testkit::{TestControl, TestNode, payload};
use crate::sink::stub::Stub;

/// Payload bytes of a shard, in order, and the end of the stream.
#[derive(Default)]
struct Replayed {
    payloads: Vec<(u32, Vec<u8>)>,
    end: Option<ReplayEnd>,
    last_word: Option<Status>,
}

async fn replay(control: &mut TestControl, spec: ReplaySpec) -> Replayed {
    let mut chunks = control.client.stream_replay(spec).await.unwrap().into_inner();
    let mut out = Replayed::default();
    loop {
        match chunks.message().await {
            Ok(Some(ReplayChunk { entries, end, .. })) => {
                assert!(out.end.is_none(), "the end is the last chunk");
                out.end = end;
                out.payloads
                    .extend(entries.into_iter().map(|e| (e.shard, e.payload.to_vec())));
            }
            Ok(None) => return out,
            Err(status) => {
                out.last_word = Some(status);
                return out;
            }
        }
    }
}

fn everything() -> ReplaySpec {
    ReplaySpec {
        source: ReplaySource::Vault.into(),
        ..ReplaySpec::default()
    }
}

/// A node that holds sealed segments and an open one: its payloads by shard.
fn filled(dir: &TempDir, shards: u16) -> (TestNode, Vec<Vec<Vec<u8>>>) {
    let mut node = TestNode::open(dir.path(), shards);
    let mut expected = vec![Vec::new(); shards.into()];
    let mut fill = |node: &mut TestNode, from: u64, to: u64| {
        for n in from..to {
            for shard in 0..shards {
                let payload = payload(n * 10 + u64::from(shard), 9000);
                node.append(shard.into(), n, &payload);
                expected[usize::from(shard)].push(payload);
            }
        }
    };
    fill(&mut node, 1, 20);
    let mut node = node.reopen();
    fill(&mut node, 20, 24);
    (node, expected)
}

/// A sealed segment, and its file.
fn sealed(node: &TestNode) -> (SegmentRef, std::path::PathBuf) {
    let found = node
        .vault
        .segments()
        .into_iter()
        .find(|(_, state)| matches!(state, gophership_vault::SegmentState::Sealed(_)));
    let (id, _) = found.unwrap();
    (
        SegmentRef {
            node: id.node.get(),
            shard: id.shard.get().into(),
            index: id.index.get(),
        },
        node.vault.segment_file(id),
    )
}

fn flip_in_the_first_block(node: &TestNode, id: SegmentId) {
    let block = node.vault.describe(id).unwrap().blocks[0];
    let path = node.vault.segment_file(id);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(block.offset + block.stored_bytes - 20) as usize] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_what_the_vault_the_catalogue_and_ingest_know() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(&dir, 2);
    let mut control = node.serve(&[]).await;
    let status = control.client.status(StatusRequest {}).await.unwrap().into_inner();
    let about = status.node.clone().unwrap();
    assert_eq!(
        (about.name.as_str(), about.id, about.epoch, about.ready),
        ("test", 1, 2, true)
    );
    assert_eq!(status.cluster_id, node.vault.identity().cluster_id.0.to_string());
    assert_eq!(status.shards.len(), 2);
    let shard = &status.shards[0];
    assert_eq!(
        (shard.accepted_records, shard.accepted_entries, shard.accepted_bytes),
        (7, 3, 100)
    );
    assert!(shard.durable_lsn.is_some() && shard.durable_lsn == shard.written_lsn);
    assert_eq!(
        status
            .refused
            .iter()
            .map(|r| (r.reason.as_str(), r.count))
            .collect::<Vec<_>>(),
        [("budget", 2)],
        "what never occurred is left out"
    );
    // The test does not control how full the disk under it is.
    let disk = status.disk.unwrap();
    assert_eq!((disk.limit_bytes, disk.on_full.as_str()), (1 << 40, "refuse"));
    assert_ne!(disk.tier(), DiskTier::Unspecified);
    assert!(status.recovery.unwrap().done);
    assert!(status.segments.unwrap().sealed >= 2);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_listed_in_pages_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(&dir, 2);
    let mut control = node.serve(&[]).await;
    let all = control
        .client
        .list_segments(ListSegmentsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(all.next, None);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = control
            .client
            .list_segments(ListSegmentsRequest {
                limit: 1,
                after,
                ..ListSegmentsRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        assert!(page.segments.len() <= 1);
        paged.extend(page.segments);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.segments);
    let one = control
        .client
        .list_segments(ListSegmentsRequest {
            shard: Some(1),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!one.segments.is_empty() && one.segments.iter().all(|s| s.segment.unwrap().shard == 1));

    let (name, path) = sealed(&node);
    let detail = control.client.describe_segment(name).await.unwrap().into_inner();
    let summary = detail.summary.unwrap();
    assert_eq!((summary.segment, summary.state()), (Some(name), SegmentState::Sealed));
    assert_eq!(
        detail.blocks.iter().map(|b| u64::from(b.entries)).sum::<u64>(),
        summary.entries
    );
    assert_eq!(detail.path, path.display().to_string());
    let missing = control
        .client
        .describe_segment(SegmentRef { index: 999, ..name })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let open = all
        .segments
        .iter()
        .find(|s| s.state() == SegmentState::Open && s.entries > 0)
        .unwrap();
    let not_sealed = control.client.describe_segment(open.segment.unwrap()).await;
    let not_sealed = not_sealed.unwrap().into_inner();
    let summary = not_sealed.summary.unwrap();
    assert_eq!((summary.state(), summary.entries), (SegmentState::Open, open.entries));
    assert_eq!((not_sealed.path.as_str(), not_sealed.node), ("", 1));
    let lacking = ListSegmentsRequest {
        lacking: true,
        ..ListSegmentsRequest::default()
    };
    let lacking = control.client.list_segments(lacking).await.unwrap().into_inner();
    assert_eq!(
        lacking.segments,
        [],
        "a single node's segments have the copy that they are to have"
    );
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_verified_as_damage_and_named_by_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let (node, expected) = filled(&dir, 1);
    let mut control = node.serve(&[]).await;
    let (name, _) = sealed(&node);
    for damaged in [false, true] {
        if damaged {
            let id = node.vault.segments()[0].0;
            flip_in_the_first_block(&node, id);
        }
        let mut reports = control.client.verify_segment(name).await.unwrap().into_inner();
        let mut last = None;
        while let Some(report) = reports.message().await.unwrap() {
            last = Some(report);
        }
        let last = last.unwrap();
        assert_eq!(
            (last.finished, last.ok, last.faults.is_empty()),
            (true, !damaged, !damaged)
        );

        let replayed = replay(&mut control, everything()).await;
        let end = replayed.end.unwrap();
        assert_eq!(end.entries + end.unreadable_entries, expected[0].len() as u64);
        assert_eq!(end.unreadable_entries > 0, damaged);
        assert_eq!(
            replayed.last_word.as_ref().map(Status::code),
            damaged.then_some(Code::DataLoss)
        );
        let readable: Vec<Vec<u8>> = replayed.payloads.into_iter().map(|(_, p)| p).collect();
        assert_eq!(
            readable,
            expected[0][end.unreadable_entries as usize..],
            "the block that is damaged is the first"
        );
    }
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_replay_gives_back_every_payload_in_order_within_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (node, expected) = filled(&dir, 2);
    let mut control = node.serve(&[]).await;
    let replayed = replay(&mut control, everything()).await;
    assert!(replayed.last_word.is_none());
    for (shard, expected) in expected.iter().enumerate() {
        let got: Vec<&Vec<u8>> = replayed
            .payloads
            .iter()
            .filter(|(s, _)| *s == shard as u32)
            .map(|(_, p)| p)
            .collect();
        assert_eq!(got, expected.iter().collect::<Vec<_>>());
    }
    let end = replayed.end.unwrap();
    assert_eq!((end.entries, end.records, end.unreadable_entries), (46, 46, 0));
    assert_eq!(end.bytes, expected.concat().iter().map(|p| p.len() as u64).sum::<u64>());

    let some = replay(
        &mut control,
        ReplaySpec {
            from_unix_nano: Some(3),
            to_unix_nano: Some(5),
            ..everything()
        },
    )
    .await;
    let wanted: Vec<(u32, Vec<u8>)> = [0, 1]
        .into_iter()
        .flat_map(|shard: u32| expected[shard as usize][2..4].iter().map(move |p| (shard, p.clone())))
        .collect();
    assert_eq!(some.payloads, wanted, "the end of a range is outside of it");
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replayed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::open(dir.path(), 1);
    let mut control = node.serve(&[]).await;
    for spec in [
        ReplaySpec {
            sink: Some(ReplaySink::default()),
            ..everything()
        },
        ReplaySpec {
            from_unix_nano: Some(2),
            to_unix_nano: Some(2),
            ..everything()
        },
        ReplaySpec {
            source: ReplaySource::Archive.into(),
            ..everything()
        },
    ] {
        assert_eq!(
            control.client.stream_replay(spec).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    assert_eq!(
        control.client.start_replay(everything()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let empty = replay(&mut control, everything()).await;
    assert_eq!(
        (empty.payloads.len(), empty.end),
        (0, Some(ReplayEnd::default())),
        "nothing to replay is no fault"
    );
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_ends_though_a_client_holds_a_replay_open() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(&dir, 1);
    let mut control = node.serve(&[]).await;
    // At a byte a second, which would take days.
    let spec = ReplaySpec {
        rate_limit_bytes_per_second: 1,
        ..everything()
    };
    let mut chunks = control.client.stream_replay(spec).await.unwrap().into_inner();
    control.stop().await;
    let ended = loop {
        match chunks.message().await {
            Ok(Some(chunk)) => assert!(chunk.end.is_none()),
            Ok(None) => panic!("a replay that was broken off must not look whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    drop(chunks);
    node.close();
}

/// The answer of a call that must not wait for the zone to change.
async fn at_once<T>(what: &str, answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> T {
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), answer).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what} was not answered within 60 s"));
    answer.unwrap_or_else(|e| panic!("{what}: {e}")).into_inner()
}

/// Begins a verification, and waits until it waits for the zone.
async fn paused_verification(control: &mut TestControl, name: SegmentRef) -> tonic::Streaming<VerifyProgress> {
    let mut reports = control.client.verify_segment(name).await.unwrap().into_inner();
    let first = reports.message().await.unwrap().unwrap();
    assert!(first.waits_for.contains("the zone is red"), "{first:?}");
    reports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_waits_for_red_to_end_the_calls_that_end_it_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(&dir, 1);
    let mut control = node.serve(&[]).await;
    let red = SetOverrideRequest {
        zone: Zone::Red.into(),
        reason: "a drill".to_owned(),
    };
    at_once("override", control.client.set_override(red)).await;
    let (name, _) = sealed(&node);
    let mut verifications = Vec::new();
    for _ in 0..crate::operate::VERIFIES_MAX {
        verifications.push(paused_verification(&mut control, name).await);
    }
    let more = control.client.verify_segment(name).await.unwrap_err();
    assert_eq!(more.code(), Code::ResourceExhausted, "{more}");
    let streams = [
        control.client.stream_replay(everything()).await.unwrap(),
        control.client.stream_replay(everything()).await.unwrap(),
    ];
    let sink = Stub::grpc([]).await;
    let job = ReplaySpec {
        sink: Some(ReplaySink {
            kind: Some(replay_sink::Kind::OtlpGrpc(OtlpSink {
                endpoint: sink.address.to_string(),
                tls: None,
            })),
            ..ReplaySink::default()
        }),
        ..everything()
    };
    let job = at_once("replay start", control.client.start_replay(job)).await;

    let status = at_once("status", control.client.status(StatusRequest {})).await;
    assert_eq!(status.zone, "red");
    at_once(
        "segment list",
        control.client.list_segments(ListSegmentsRequest::default()),
    )
    .await;
    at_once("cancel", control.client.cancel_replay(ReplayJobRef { id: job.id })).await;

    // A client that leaves makes room for another.
    verifications.pop();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let again = loop {
        match control.client.verify_segment(name).await {
            Ok(reports) => break reports.into_inner(),
            Err(refused) => assert!(std::time::Instant::now() < deadline, "still {refused}"),
        }
    };
    verifications.push(again);
    at_once(
        "override --clear",
        control.client.clear_override(ClearOverrideRequest {}),
    )
    .await;
    for mut reports in verifications {
        let mut last = None;
        while let Some(report) = reports.message().await.unwrap() {
            last = Some(report);
        }
        assert!(last.is_some_and(|last| last.finished && last.ok));
    }
    drop(streams);
    control.stop().await;
    node.close();
}

use std::sync::atomic::AtomicUsize;

use gophership_vault::ids::{ClusterId, Epoch, ShardId};
use uuid::Uuid;

use super::*;
use crate::testkit::{FILE, node, nodes, number};

const DIGEST: [u8; 32] = [7; 32];

fn index(n: u32) -> SegmentIndex {
    SegmentIndex::new(n).unwrap()
}

fn header(segment: u32) -> SegmentHeader {
    SegmentHeader {
        id: SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: index(segment),
        },
        epoch: Epoch::FIRST,
        file_uuid: FILE,
        cluster_id: ClusterId(Uuid::from_u128(1)),
        created_ns: 0,
        tenants: Vec::new(),
    }
}

/// Cuts frame `frame_no` of a segment, up to entry `last`.
fn cut(sink: &mut dyn BlockSink, segment: u32, frame_no: u32, last: u32, bytes: usize) {
    sink.frame(TailFrame {
        id: header(segment).id,
        epoch: Epoch::FIRST,
        frame_no,
        bytes: &vec![0; bytes],
        crc: 0,
        last_lsn: Lsn::at(index(segment), number(last)),
    });
}

fn live() -> (LiveTail, Box<dyn BlockSink>) {
    let live = LiveTail::new(Box::new(|| {}));
    let sink = live.sink();
    (live, sink)
}

/// Begins a segment of these replicas.
fn begin(live: &LiveTail, sink: &mut dyn BlockSink, segment: u32, peers: &[u32]) {
    live.placed(index(segment), nodes(peers));
    sink.begin(&header(segment));
}

#[test]
fn i1_the_newest_frames_are_kept_and_are_found_by_the_entry_before_them() {
    let (live, mut sink) = live();
    sink.begin(&header(1));
    let third = TAIL_LIVE_BYTES / 3;
    for n in 0..4 {
        cut(&mut *sink, 1, n, 2 * n + 2, third);
    }
    let found = |frame_no, after| {
        live.frame(index(1), frame_no, EntryNumber::new(after))
            .map(|f| f.last_lsn.number().get())
    };
    assert_eq!(found(0, 0), None, "it went for the newer ones");
    assert_eq!([found(1, 2), found(2, 4), found(3, 6)], [Some(4), Some(6), Some(8)]);
    assert_eq!(found(2, 5), None, "no frame begins there");
    assert_eq!(found(4, 6), None, "the replica numbers its frames otherwise");
    assert_eq!(live.frame(index(2), 0, None), None);
    assert_eq!(live.frame(index(1), 9, Some(number(u32::MAX))), None);
}

#[test]
fn a_frame_that_is_cut_again_is_kept_once() {
    let (live, mut sink) = live();
    sink.begin(&header(1));
    cut(&mut *sink, 1, 0, 2, 10);
    sink.begin(&header(1));
    cut(&mut *sink, 1, 0, 2, 10);
    cut(&mut *sink, 1, 1, 3, 10);
    assert_eq!(live.newest().frames.len(), 2);
}

#[test]
fn a_stream_is_told_everything_once_and_in_order() {
    let (live, mut sink) = live();
    let mut seen = LivePosition::default();
    let mut news = || live.events_since(&mut seen, node(2));
    assert_eq!(news(), []);
    begin(&live, &mut *sink, 1, &[2, 3]);
    cut(&mut *sink, 1, 0, 2, 10);
    let written = |segment, n| SenderEvent::Written(Lsn::at(index(segment), number(n)));
    assert_eq!(news(), [SenderEvent::Opened(index(1)), written(1, 2)]);
    assert_eq!(news(), []);
    sink.complete(header(1).id, Some(Lsn::at(index(1), number(2))), DIGEST);
    begin(&live, &mut *sink, 2, &[3]);
    cut(&mut *sink, 2, 0, 1, 10);
    sink.complete(header(2).id, None, DIGEST);
    begin(&live, &mut *sink, 3, &[2, 3]);
    let ended = SenderEvent::Ended {
        index: index(1),
        last: Some(number(2)),
        digest: DIGEST,
    };
    // The peer is no replica of segment 2.
    assert_eq!(news(), [ended, SenderEvent::Opened(index(3)), written(2, 1)]);
    live.sealed(index(1), nodes(&[1, 3]));
    live.sealed(index(2), nodes(&[1, 2]));
    let sealed = SenderEvent::Sealed {
        index: index(1),
        counted: false,
    };
    assert_eq!(news(), [sealed]);
    // One that comes late is told the same, as it stands, but for the segment that it holds.
    let late = live.events_since(&mut LivePosition::default(), node(3));
    assert_eq!(late.len(), 3 + 1 + 1, "{late:?}");
}

#[test]
fn i3_a_stream_hears_of_a_segment_that_is_forgotten_before_it_heard_of_its_seal() {
    let (live, mut sink) = live();
    let mut seen = LivePosition::default();
    begin(&live, &mut *sink, 1, &[2]);
    assert_eq!(live.events_since(&mut seen, node(2)), [SenderEvent::Opened(index(1))]);
    sink.complete(header(1).id, None, DIGEST);
    let last = 2 * TAIL_SEALED_MAX as u32 + 2;
    for n in 2..=last {
        begin(&live, &mut *sink, n, &[3]);
        sink.complete(header(n).id, None, DIGEST);
    }
    for n in 1..=last {
        live.sealed(index(n), nodes(&[1, 3]));
    }
    assert_eq!(live.header(index(1)), None);
    assert_eq!(live.events_since(&mut seen, node(2)), [SenderEvent::Dropped(index(1))]);
    assert_eq!(live.events_since(&mut seen, node(2)), []);
}

#[test]
fn i4_what_a_fenced_epoch_left_is_forgotten_once_the_next_one_writes() {
    let (live, mut sink) = live();
    let mut seen = LivePosition::default();
    for n in 1..=2 {
        begin(&live, &mut *sink, n, &[2]);
    }
    live.placed(index(3), nodes(&[4]));
    live.sealed(index(1), nodes(&[1, 3]));
    live.events_since(&mut seen, node(2));
    live.placed(index(7), nodes(&[3]));
    let peers = live.peers();
    assert_eq!(*peers.borrow(), [2, 3, 4].map(node).into());
    let next = SegmentHeader {
        epoch: Epoch::FIRST.checked_next().unwrap(),
        ..header(7)
    };
    sink.begin(&next);
    assert_eq!(live.events_since(&mut seen, node(2)), [SenderEvent::Dropped(index(2))]);
    assert_eq!(*peers.borrow(), [2, 3].map(node).into(), "segment 1 is still sent");
    assert_eq!(
        live.events_since(&mut LivePosition::default(), node(3)),
        [SenderEvent::Opened(index(7))]
    );
}

#[test]
fn i3_sealed_segments_are_forgotten_beyond_a_bound() {
    let (live, mut sink) = live();
    for n in 1..=200 {
        sink.begin(&header(n));
        sink.complete(header(n).id, None, DIGEST);
        if n < 200 {
            live.sealed(index(n), nodes(&[1, 2]));
        }
    }
    let kept = live.newest().segments.len();
    assert_eq!(kept, 2 * TAIL_SEALED_MAX + 1);
    assert!(live.header(index(200)).is_some());
}

#[test]
fn whoever_sends_is_called_for_everything_new() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let live = LiveTail::new(Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let mut sink = live.sink();
    sink.begin(&header(1));
    cut(&mut *sink, 1, 0, 2, 10);
    sink.complete(header(1).id, None, DIGEST);
    live.sealed(index(1), nodes(&[1, 2]));
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    assert!(!sink.wants_frame());
    live.set_wants_frame(true);
    assert!(sink.wants_frame());
}

#[test]
fn a_trimmed_segment_is_dropped_by_the_streams_that_know_it_and_is_offered_to_no_later_one() {
    let (live, mut sink) = live();
    begin(&live, &mut *sink, 1, &[2]);
    sink.complete(header(1).id, Some(Lsn::at(index(1), number(2))), DIGEST);
    begin(&live, &mut *sink, 2, &[3]);
    live.sealed(index(1), nodes(&[1, 3]));
    let mut seen = LivePosition::default();
    assert_eq!(live.events_since(&mut seen, node(2)).len(), 3, "it is behind");
    live.trimmed(index(1));
    assert_eq!(live.events_since(&mut seen, node(2)), [SenderEvent::Dropped(index(1))]);
    assert_eq!(live.events_since(&mut LivePosition::default(), node(2)), []);
    assert_eq!(live.peers().borrow().iter().copied().collect::<Vec<_>>(), [node(3)]);
}

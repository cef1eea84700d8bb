use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use gophership_vault::Tenant;
use gophership_vault::ids::{ClusterId, Epoch, SegmentIndex, ShardId};
use gophership_vault::{HeldRange, HeldReport, TakeEntry, segment_end};
use uuid::Uuid;

use super::*;
use crate::tail::TailRefusal;
use crate::testkit::{FILE, node, number};

const STREAM: u64 = 1;

fn stream(n: u64) -> StreamId {
    StreamId::new(Epoch::FIRST, n)
}

fn header(owner: u32, segment: u32) -> SegmentHeader {
    SegmentHeader {
        id: SegmentId {
            node: node(owner),
            shard: ShardId::new(0),
            index: SegmentIndex::new(segment).unwrap(),
        },
        epoch: Epoch::FIRST,
        file_uuid: FILE,
        cluster_id: ClusterId(Uuid::nil()),
        created_ns: 1,
        tenants: vec![Tenant::default_tenant()],
    }
}

/// The copies of node 9, and the segments that became complete.
fn copies() -> (tempfile::TempDir, Arc<Copies>, Arc<Mutex<Vec<SegmentId>>>) {
    let folder = tempfile::tempdir().unwrap();
    let store = CopyStore::in_folder(folder.path(), node(9)).unwrap();
    let complete = Arc::<Mutex<Vec<SegmentId>>>::default();
    let seen = Arc::clone(&complete);
    let copies = Copies::new(store, Arc::new(move |id| lock(&seen).push(id)));
    (folder, Arc::new(copies.unwrap()), complete)
}

fn begin(copies: &Copies, n: u64, header: &SegmentHeader) -> Vec<(SegmentId, TailAnswer)> {
    copies.take(
        header.id.log(),
        stream(n),
        vec![TailMessage::Begin(stream(n), header.clone())],
    )
}

fn empty_digest() -> [u8; 32] {
    *blake3::hash(&[]).as_bytes()
}

#[test]
fn i5_a_complete_copy_is_told_of_once_its_file_is_in_place() {
    let (_folder, copies, complete) = copies();
    let header = header(1, 1);
    let id = header.id;
    assert_eq!(begin(&copies, STREAM, &header), [(id, TailAnswer::Has(None))]);
    assert_eq!(*lock(&complete), []);
    let completes = vec![TailMessage::Complete(id, empty_digest())];
    let mut answers = copies.take(id.log(), stream(STREAM), completes);
    let deadline = Instant::now() + Duration::from_secs(60);
    while answers.is_empty() {
        assert!(Instant::now() < deadline, "it is never complete");
        thread::sleep(Duration::from_millis(1));
        answers = copies.take(id.log(), stream(STREAM), Vec::new());
    }
    assert_eq!(answers, [(id, TailAnswer::Completed(empty_digest()))]);
    assert_eq!(*lock(&complete), [id]);
    // A recovery makes another one.
    let other = self::header(1, 2);
    let end = gophership_vault::SegmentEnd::default();
    copies.rebuild(&other, 1, &end, &mut |_, _, _, _| Ok(())).unwrap();
    assert_eq!(*lock(&complete), [id, other.id]);
}

#[test]
fn a_stream_without_traffic_learns_that_a_recovery_has_fenced_a_segment() {
    let (_folder, copies, _) = copies();
    let [first, unseen] = [1, 2].map(|n| header(1, n));
    let log = first.id.log();
    let mut changes = copies.unasked(log).unwrap();
    begin(&copies, STREAM, &first);
    begin(&copies, STREAM + 1, &header(3, 1));
    assert!(!changes.has_changed().unwrap());
    for fenced in [&first, &unseen] {
        copies.fence(fenced.id, 1).unwrap();
        assert!(changes.has_changed().unwrap(), "{}", fenced.id);
        changes.mark_unchanged();
    }
    let refused = |header: &SegmentHeader| (header.id, TailAnswer::Refused(TailRefusal::Fenced));
    let told = copies.take(log, stream(STREAM), Vec::new());
    assert_eq!(told, [refused(&first), refused(&unseen)]);
    assert_eq!(copies.take(log, stream(STREAM), Vec::new()), [], "once");
    assert_eq!(copies.take(header(3, 1).id.log(), stream(STREAM + 1), Vec::new()), []);
}

#[test]
fn i3_a_copy_is_read_and_its_log_goes_on_while_a_recovery_waits_for_another_node() {
    let (_folder, copies, _) = copies();
    let (old, new) = (header(1, 1), header(1, 2));
    let (asked, fetches) = channel();
    let (answer, answers) = channel::<()>();
    let report = |holder: u32| HeldReport {
        file_uuid: Some(FILE),
        entries: crate::testkit::entries(&[1]),
        ..HeldReport::nothing(node(holder))
    };
    let end = segment_end(&[report(3)]).unwrap();
    assert_eq!(
        end.keep,
        [HeldRange {
            first: number(1),
            last: number(1),
            holder: node(3),
            crc: crc32fast::hash(&100u32.to_le_bytes()),
        }]
    );
    let recovering = {
        let (copies, old) = (Arc::clone(&copies), old.clone());
        thread::spawn(move || {
            let mut fetch = |_, _, _, _: TakeEntry<'_>| {
                asked.send(()).unwrap();
                answers.recv().unwrap();
                Ok(())
            };
            copies.rebuild(&old, 1, &end, &mut fetch)
        })
    };
    fetches.recv().unwrap();
    assert_eq!(
        begin(&copies, STREAM, &new),
        [(new.id, TailAnswer::Has(None))],
        "the log goes on"
    );
    let fenced = TailAnswer::Refused(TailRefusal::Fenced);
    assert_eq!(begin(&copies, STREAM, &old), [(old.id, fenced)]);
    // Nothing of it is here: the answer is an error, and comes at once.
    assert!(copies.entries(old.id, number(1), number(1), &mut |_| true).is_err());
    answer.send(()).unwrap();
    assert!(recovering.join().unwrap().is_err(), "what was promised did not come");
}

#[test]
fn i4_the_log_goes_on_while_a_copy_is_completed_and_a_fence_and_a_new_stream_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = CopyStore::in_folder(folder.path(), node(9)).unwrap();
    // Whoever is told of a complete copy holds the completion up.
    let (told, completes) = channel();
    let (go_on, goes_on) = channel::<()>();
    let (told, goes_on) = (Mutex::new(told), Mutex::new(goes_on));
    let held = Arc::new(move |id| {
        lock(&told).send(id).unwrap();
        lock(&goes_on).recv().unwrap();
    });
    let copies = Copies::new(store, held).unwrap();
    let (first, next) = (header(1, 1), header(1, 2));
    let log = first.id.log();
    begin(&copies, STREAM, &first);
    let ended = vec![TailMessage::Complete(first.id, empty_digest())];
    assert_eq!(copies.take(log, stream(STREAM), ended), []);
    assert_eq!(completes.recv().unwrap(), first.id);
    assert_eq!(begin(&copies, STREAM, &next), [(next.id, TailAnswer::Has(None))]);
    let (done, ends) = channel();
    thread::scope(|scope| {
        let (copies, first, fenced, begun) = (&copies, &first, done.clone(), done);
        scope.spawn(move || {
            copies.fence(first.id, 1).unwrap();
            fenced.send(()).unwrap();
        });
        scope.spawn(move || {
            begin(copies, STREAM + 1, first);
            begun.send(()).unwrap();
        });
        // The completion has not ended before this.
        let early = ends.try_recv().is_ok();
        go_on.send(()).unwrap();
        ends.iter().take(2).for_each(drop);
        assert!(!early);
    });
    let answers = copies.take(log, stream(STREAM), Vec::new());
    let completed = (first.id, TailAnswer::Completed(empty_digest()));
    let fenced = (first.id, TailAnswer::Refused(TailRefusal::Fenced));
    assert_eq!(answers, [completed, fenced]);
}

#[test]
fn i2_a_later_recovery_waits_for_the_one_that_makes_the_copy() {
    let (_folder, copies, complete) = copies();
    let header = header(1, 1);
    let end = gophership_vault::SegmentEnd {
        keep: vec![HeldRange {
            first: number(1),
            last: number(1),
            holder: node(3),
            crc: 0,
        }],
        holes: Vec::new(),
    };
    let (asked, fetches) = channel();
    let (go_on, goes_on) = channel::<()>();
    let (done, fenced) = channel();
    thread::scope(|scope| {
        let (copies, header) = (&copies, &header);
        let makes = scope.spawn(move || {
            let mut fetch = |_, _, _, _: TakeEntry<'_>| {
                asked.send(()).unwrap();
                goes_on.recv().unwrap();
                Ok(())
            };
            copies.rebuild(header, 1, &end, &mut fetch)
        });
        fetches.recv().unwrap();
        scope.spawn(move || done.send(copies.fence(header.id, 2).map(|report| report.file_uuid.is_none())));
        // One that does not wait is done long before.
        let early = fenced.recv_timeout(Duration::from_millis(300));
        go_on.send(()).unwrap();
        assert!(early.is_err(), "it was promised and reported in the midst of the other");
        assert!(makes.join().unwrap().is_err(), "the entry did not come");
        assert!(fenced.recv().unwrap().unwrap());
    });
    assert_eq!(*lock(&complete), []);
}

#[test]
fn open_copies_of_all_logs_share_their_places() {
    let (_folder, copies, _) = copies();
    for n in 1..=TAIL_COPIES_MAX as u32 {
        assert_eq!(
            begin(&copies, STREAM, &header(1 + n % 2, n)),
            [(header(1 + n % 2, n).id, TailAnswer::Has(None))]
        );
    }
    let failed = TailAnswer::Refused(TailRefusal::Failed);
    let (one_more, first) = (header(3, 1), header(2, 1));
    assert_eq!(begin(&copies, STREAM, &one_more), [(one_more.id, failed)]);
    // Its owner leaves one, with nothing of it complete.
    let leave = vec![TailMessage::Leave(first.id)];
    assert_eq!(copies.take(first.id.log(), stream(STREAM), leave), []);
    assert_eq!(
        begin(&copies, STREAM, &one_more),
        [(one_more.id, TailAnswer::Has(None))]
    );
    copies.disconnected(first.id.log(), stream(STREAM));
    assert_eq!(copies.places.available_permits(), TAIL_COPIES_MAX / 2 - 1);
}

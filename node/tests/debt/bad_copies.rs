//! Copies of sealed segments that are damaged or gone, while all nodes run: they are found, shown, and made anew.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, thread};

use gophership_proto::control::v1::{BadSegment, CopyVerdict, HolderState, SegmentRef, SegmentState};

use crate::cluster::{Cluster, payload, until};
use crate::sink::Sink;
use crate::{UNREADABLE, assert_in_order, large_records, records, until_letters, until_taken};

/// Turns some bytes in the middle of a file over. Once more, and it is as it was.
fn flip(path: &Path) {
    flip_at(path, 4);
}

/// Turns some bytes at so many eighths of a file over.
fn flip_at(path: &Path, eighths: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 8 * eighths;
    bytes[at..at + 64].iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(path, bytes).unwrap();
}

/// A segment of node `owner`, once all three have it.
fn sealed_by(cluster: &Cluster, owner: usize) -> SegmentRef {
    sealed_of(cluster, owner, &large_records(20))
}

fn sealed_of(cluster: &Cluster, owner: usize, records: &[String]) -> SegmentRef {
    cluster.send(owner, records);
    let segment = cluster.seal(owner);
    let all_have = || cluster.have(0, segment) == 3;
    until("three copies", all_have, || cluster.logs());
    segment
}

/// The nodes whose copy was verified, and is good or not.
fn verified(verdicts: &[CopyVerdict], good: bool) -> Vec<u32> {
    let verified = verdicts.iter().filter(|copy| copy.not_verified.is_empty());
    verified.filter(|copy| copy.ok == good).map(|copy| copy.node).collect()
}

/// Waits until all copies of these segments are good and alike, and nothing is wrong.
fn until_clean(cluster: &Cluster, segments: &[SegmentRef]) {
    let seen = || format!("{:?} {}", cluster.bad_segments(0), cluster.logs());
    for segment in segments {
        let is_whole = || {
            let verdicts = cluster.verify(0, *segment);
            let alike = verdicts.iter().all(|copy| copy.digest == verdicts[0].digest);
            verified(&verdicts, true) == [1, 2, 3] && alike && cluster.have(1, *segment) == 3
        };
        until("all copies to be good", is_whole, seen);
    }
    let is_clean = || cluster.bad_segments(1) == (Vec::new(), Vec::new());
    until("nothing to be wrong", is_clean, seen);
}

#[test]
fn bad_copies_of_others_segments_and_of_own_ones_are_found_shown_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let (a, b) = (sealed_by(&cluster, 2), sealed_by(&cluster, 1));
    until_clean(&cluster, &[a, b]);

    // Of one segment its owner's file and a copy are damaged; of another one a copy is gone.
    flip(&cluster.file(2, a));
    flip(&cluster.file(0, a));
    fs::remove_file(cluster.file(2, b)).unwrap();
    let mut found = BTreeSet::new();
    let are_found = || {
        cluster.verify(1, b);
        found.extend(verified(&cluster.verify(1, a), false));
        found == BTreeSet::from([0, 2].map(|i| cluster.number(i)))
    };
    until("both to be found", are_found, || cluster.logs());
    until_clean(&cluster, &[a, b]);
    for (i, kept) in [1, 0, 1].into_iter().enumerate() {
        assert_eq!(cluster.replaced(i).len(), kept, "what was damaged is kept, at node {i}");
    }

    // Nobody has a good copy: that is said until one is put back.
    (0..3).for_each(|i| flip(&cluster.file(i, a)));
    let states = |bad: &BadSegment| bad.holders.iter().map(|holder| holder.state()).collect::<Vec<_>>();
    let is_said = || {
        cluster.verify(1, a);
        let (bad, problems) = cluster.bad_segments(1);
        let is_first = problems
            .first()
            .is_some_and(|what| what.starts_with("NO GOOD COPY of segment"));
        is_first && bad.iter().map(states).collect::<Vec<_>>() == [[HolderState::Damaged; 3]]
    };
    until("the loss to be said", is_said, || {
        format!("{:?}", cluster.bad_segments(1))
    });
    let counts = |count: f64| {
        let is_so = |i| cluster.metric(i, "gophership_vault_bad_copies{fault=\"damaged\"}") == [(String::new(), count)];
        until("the count of damaged copies", || (0..3).all(is_so), || cluster.logs());
    };
    counts(1.0);
    flip(&cluster.file(1, a));
    until_clean(&cluster, &[a, b]);
    counts(0.0);
}

#[test]
fn a_start_finds_what_is_gone_and_its_first_round_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let (a, b) = (sealed_by(&cluster, 2), sealed_by(&cluster, 1));
    until_clean(&cluster, &[a, b]);
    cluster.kill(2);
    fs::remove_file(cluster.file(2, a)).unwrap();
    flip(&cluster.file(2, b));
    // The first round reads all.
    let _ = fs::remove_file(cluster.scrub_file(2));
    cluster.start(2);
    cluster.until_ready(2);
    let is_gone = || cluster.file(2, a).exists() && cluster.replaced(2).len() == 1;
    until("both files to be made anew", is_gone, || cluster.logs());
    until_clean(&cluster, &[a, b]);
}

#[test]
fn an_exporter_passes_over_nothing_of_its_own_log_that_another_holder_has() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let sent = large_records(60);
    let segment = sealed_of(&cluster, 2, &sent);
    // No copy is whole, and they have all entries between them.
    for (i, eighths) in [(0, 2), (1, 6), (2, 4)] {
        flip_at(&cluster.file(i, segment), eighths);
    }
    // One that this node has not becomes a dead letter, and is copied all the same.
    let mut kept = sent.clone();
    let refused = kept.remove(33);
    sink.refuse(&refused[..11], "400 Bad Request", 1);
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &kept);
    assert_in_order(&sink, &kept);
    until_letters(&cluster, 2, &[payload(&refused)]);
    assert_eq!(cluster.metric(2, UNREADABLE)[0].1, 0.0, "nothing was passed over");
    // It has told its vault, which mends the file as soon as there is a good one, and not at the next round.
    flip_at(&cluster.file(0, segment), 2);
    let is_mended = || !cluster.replaced(2).is_empty();
    until("the file to be made anew", is_mended, || {
        format!("{:?} {}", cluster.bad_segments(2), cluster.logs())
    });
}

#[test]
fn an_exporter_of_a_live_owner_says_what_it_waits_for_and_goes_on_with_what_is_left_after_an_accepted_loss() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let sent = large_records(60);
    let segment = sealed_of(&cluster, 2, &sent);
    // The sink has taken nothing yet, so the exporter has not opened the file.
    fs::remove_file(cluster.file(2, segment)).unwrap();
    (0..2).for_each(|i| flip(&cluster.file(i, segment)));
    sink.take(usize::MAX);
    let name = format!("{}/{}/{}", segment.node, segment.shard, segment.index);
    let command = format!("gs-ctl segment forget {name} --accept-loss");
    // What it has read before is on its way to the sink when it says so.
    let waits = || cluster.exporter_waits(2).contains(&command) && !sink.taken().is_empty();
    until("an exporter that says what ends its wait", waits, || {
        format!("{} {}", cluster.exporter_waits(2), cluster.logs())
    });
    let before = sink.taken().len();
    assert!((1..60).contains(&before), "{before}");

    let forgotten = cluster.until_forgotten(2, segment);
    assert_eq!(forgotten.state(), SegmentState::Sealed, "{forgotten:?}");
    assert!(forgotten.copies_given_up.is_some(), "{forgotten:?}");
    until_taken(&sink, &cluster, &sent[59..]);
    let kept: Vec<String> = sent
        .iter()
        .filter(|text| sink.taken().contains(text))
        .cloned()
        .collect();
    assert!((before..60).contains(&kept.len()), "{}", kept.len());
    assert_in_order(&sink, &kept);
    let unreadable = || cluster.metric(2, UNREADABLE)[0].1;
    until(
        "what was passed over to be counted",
        || unreadable() >= 1.0,
        || cluster.logs(),
    );
}

#[test]
fn a_folder_of_segments_that_was_moved_away_is_not_made_anew_and_what_waits_for_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let a = sealed_by(&cluster, 2);
    let segments = cluster.segments(2);
    let away = segments.with_file_name("away");
    fs::rename(&segments, &away).unwrap();
    thread::scope(|scope| {
        // What it is sent has no copy yet, and is refused until it has.
        let waits = scope.spawn(|| {
            cluster.send(2, &large_records(5));
            cluster.seal(2)
        });
        let is_said = || {
            let (_, problems) = cluster.bad_segments(0);
            problems.iter().any(|what| what.contains("move segments/ back"))
        };
        until("the folder to be missed", is_said, || {
            format!("{:?} {}", cluster.bad_segments(0), cluster.logs())
        });
        let says = |what: &str| cluster.bad_segments(0).1.iter().any(|problem| problem.contains(what));
        let all_said = || {
            says("node-2 takes no logs: appends to shard")
                && says("and this node cannot write the segment that is copied")
                && cluster.status(0).under_replicated_segments > 0
        };
        until("a segment that cannot be written", all_said, || {
            format!("{:?} {}", cluster.bad_segments(0), cluster.logs())
        });
        assert!(!segments.exists(), "it was made anew");
        fs::rename(&away, &segments).unwrap();
        let b = waits.join().unwrap();
        until_clean(&cluster, &[a, b]);
        until(
            "the segment to be written",
            || !says("takes no logs"),
            || format!("{:?} {}", cluster.bad_segments(0), cluster.logs()),
        );
    });

    // It is lost for good, and an operator makes an empty one.
    fs::rename(&segments, &away).unwrap();
    fs::create_dir(&segments).unwrap();
    fs::copy(
        segments.with_file_name("wal").join("storage_uuid"),
        segments.join("storage_uuid"),
    )
    .unwrap();
    until_clean(&cluster, &[a]);
}

/// Turns one bit of a file over, so many bytes before its end, or behind its begin.
fn flip_bit(path: &Path, at: usize, from_end: bool) {
    let mut bytes = fs::read(path).unwrap();
    let at = if from_end { bytes.len() - 1 - at } else { at };
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_the_header_or_the_footer_of_a_copy_or_of_an_own_file_is_found_by_a_round_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    // The magic number, a field of the header, a field of the footer, and the last byte of the file.
    let places = [(0, false), (40, false), (60, true), (0, true)];
    let owners = [2, 1];
    let sealed = owners.map(|owner| places.map(|place| (sealed_by(&cluster, owner), place)));
    let sealed = sealed.concat();
    let segments: Vec<SegmentRef> = sealed.iter().map(|(segment, _)| *segment).collect();
    until_clean(&cluster, &segments);
    // A file whose WAL file is still there would be read at the start, and cut again from that.
    sealed_by(&cluster, 2);
    let has_wal = |segment: &SegmentRef| cluster.wal_file(2, *segment).exists();
    until(
        "the WAL files to be used again",
        || !segments.iter().any(has_wal),
        || cluster.logs(),
    );
    cluster.kill(2);
    for (segment, (at, from_end)) in &sealed {
        flip_bit(&cluster.file(2, *segment), *at, *from_end);
    }
    // The first round reads all.
    let _ = fs::remove_file(cluster.scrub_file(2));
    cluster.start(2);
    cluster.until_ready(2);
    let are_mended = || cluster.replaced(2).len() == sealed.len();
    until("all files to be made anew", are_mended, || cluster.logs());
    until_clean(&cluster, &segments);
}

#[test]
fn while_a_folder_of_segments_is_away_the_others_acknowledge_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let segments = cluster.segments(2);
    let away = segments.with_file_name("away");
    let is_missed = || {
        let (_, problems) = cluster.bad_segments(0);
        problems.iter().any(|what| what.contains("move segments/ back"))
    };
    let seen = || format!("{:?} {}", cluster.bad_segments(0), cluster.logs());
    let mut acknowledged = records("before", 20);
    cluster.send(2, &acknowledged);
    let before = cluster.seal(2);
    let load = |name: &str, i: usize| {
        let all = records(&format!("{name}-{i}"), 200);
        cluster.send(i, &all);
        all
    };
    // It is away under load, and comes back.
    let of_away = thread::scope(|scope| {
        let loads = [0, 1].map(|i| scope.spawn(move || load("away", i)));
        fs::rename(&segments, &away).unwrap();
        // What the node itself is sent is acknowledged at the latest when its folder is back.
        let own = scope.spawn(|| load("own", 2));
        until("the folder to be missed", is_missed, seen);
        let mut all: Vec<String> = loads.into_iter().flat_map(|load| load.join().unwrap()).collect();
        assert!(!segments.exists(), "it was made anew");
        fs::rename(&away, &segments).unwrap();
        all.extend(own.join().unwrap());
        all
    });
    acknowledged.extend(of_away);
    until("the folder to be there", || !is_missed(), seen);
    let sealed = [0, 1, 2].map(|i| cluster.seal(i));
    until_taken(&sink, &cluster, &acknowledged);
    until_clean(&cluster, &sealed);

    // It is away for good, under load: the others go on.
    fs::rename(&segments, &away).unwrap();
    for i in [0, 1] {
        acknowledged.extend(load("gone", i));
    }
    until("the folder to be missed", is_missed, seen);
    until_taken(&sink, &cluster, &acknowledged);
    fs::create_dir(&segments).unwrap();
    let uuid = segments.with_file_name("wal").join("storage_uuid");
    fs::copy(uuid, segments.join("storage_uuid")).unwrap();
    let mut all = sealed.to_vec();
    all.push(before);
    until_clean(&cluster, &all);
}

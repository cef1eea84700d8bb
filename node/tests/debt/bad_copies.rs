//! Copies of sealed segments that are damaged or gone, while all nodes run: they are found, shown, and made anew.

use std::fs;
use std::path::Path;

use gophership_proto::control::v1::{BadSegment, CopyVerdict, HolderState, SegmentRef};

use crate::cluster::{Cluster, until};
use crate::large_records;
use crate::sink::Sink;

/// Turns some bytes in the middle of a file over. Once more, and it is as it was.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at..at + 64].iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(path, bytes).unwrap();
}

/// A segment of node `owner`, once all three have it.
fn sealed_by(cluster: &Cluster, owner: usize) -> SegmentRef {
    cluster.send(owner, &large_records(20));
    let segment = cluster.seal(owner);
    let all_have = || cluster.have(0, segment) == 3;
    until("three copies", all_have, || cluster.logs());
    segment
}

/// The nodes whose copy is good by their verdict.
fn good(verdicts: &[CopyVerdict]) -> Vec<u32> {
    let good = verdicts.iter().filter(|copy| copy.not_verified.is_empty() && copy.ok);
    good.map(|copy| copy.node).collect()
}

fn until_clean(cluster: &Cluster, segments: &[SegmentRef]) {
    for segment in segments {
        let seen = || format!("{:?} {}", cluster.bad_segments(0), cluster.logs());
        let is_whole = || cluster.have(1, *segment) == 3;
        until("all copies to be good", is_whole, seen);
        let verdicts = cluster.verify(0, *segment);
        assert_eq!(good(&verdicts), [1, 2, 3], "{verdicts:?}");
        assert!(
            verdicts.iter().all(|copy| copy.digest == verdicts[0].digest),
            "{verdicts:?}"
        );
    }
    let seen = || format!("{:?} {}", cluster.bad_segments(1), cluster.logs());
    until(
        "nothing to be wrong",
        || cluster.bad_segments(1) == (Vec::new(), Vec::new()),
        seen,
    );
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
    let verdicts = cluster.verify(1, a);
    assert_eq!(good(&verdicts), [cluster.number(1)], "{verdicts:?}");
    let verdicts = cluster.verify(1, b);
    let lacks = verdicts.iter().find(|copy| !copy.not_verified.is_empty()).unwrap();
    assert_eq!(lacks.node, cluster.number(2), "{verdicts:?}");

    until_clean(&cluster, &[a, b]);
    for i in [0, 2] {
        assert_eq!(cluster.replaced(i).len(), 1, "what was damaged is kept at node {i}");
    }
    assert!(cluster.replaced(1).is_empty());

    // Nobody has a good copy: that is said until one is put back.
    (0..3).for_each(|i| flip(&cluster.file(i, a)));
    cluster.verify(1, a);
    let (bad, problems) = cluster.bad_segments(1);
    let states = |bad: &BadSegment| bad.holders.iter().map(|holder| holder.state()).collect::<Vec<_>>();
    assert_eq!(bad.iter().map(states).collect::<Vec<_>>(), [[HolderState::Damaged; 3]]);
    assert!(problems[0].starts_with("NO GOOD COPY of segment"), "{problems:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let fault = |i| cluster.metric(i, "gophership_vault_bad_copies{fault=\"damaged\"}");
    (0..3).for_each(|i| assert_eq!(fault(i), [(String::new(), 1.0)], "node {i}"));
    flip(&cluster.file(1, a));
    cluster.verify(1, a);
    until_clean(&cluster, &[a, b]);
    (0..3).for_each(|i| assert_eq!(fault(i), [(String::new(), 0.0)], "node {i}"));
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
    until_clean(&cluster, &[a, b]);
    assert_eq!(cluster.replaced(2).len(), 1);
}

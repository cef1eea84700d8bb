//! Clusters of real processes that lose what they had. What a lost node owes its sink arrives there all the same,
//! whoever else is lost or comes back; copies that are lost or damaged are made anew (`bad_copies`); settings are in
//! force on all nodes (`settings`).
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod bad_copies;
mod cluster;
mod leave;
mod settings;
mod sink;

use std::collections::BTreeSet;
use std::path::Path;

use gophership_proto::control::v1::{ReplayState, SegmentState};

use crate::cluster::{Cluster, payload, until};
use crate::sink::Sink;

const DEBT: &str = "gophership_export_lost_debt_entries";
/// The rows about lost nodes: those of the debt, and of the node that sends it.
const LOST: &str = "gophership_export_lost_";
const DEBT_OF: &str = "debt_entries{";
const RUNNER_OF: &str = "runner{";
const UNREADABLE: &str = "gophership_export_unreadable_total";
/// The number of records that the lost node owes: each is an entry, and most go in a request of their own.
const RECORDS: usize = 120;

/// Records of about 20 KiB that do not compress: more of them than are read ahead of a sink that takes nothing.
fn large_records(count: usize) -> Vec<String> {
    let mut state = 1_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let text = |n| {
        let noise: String = (0..1250).map(|_| format!("{:016x}", next())).collect();
        format!("large {n:05} {noise}")
    };
    (0..count).map(text).collect()
}

/// Records of about 600 bytes.
fn records(name: &str, count: usize) -> Vec<String> {
    let text = |n| format!("{name} {n:05} {}", "x".repeat(600));
    (0..count).map(text).collect()
}

fn until_taken(sink: &Sink, cluster: &Cluster, all: &[String]) {
    let missing = || {
        let taken: BTreeSet<String> = sink.taken().into_iter().collect();
        all.iter().filter(|text| !taken.contains(*text)).count()
    };
    let seen = || format!("{} are missing; {}", missing(), cluster.logs());
    until("all records at the sink", || missing() == 0, seen);
}

/// Waits until node `i` says that this number of entries is owed and that one node sends them, which it returns.
fn until_sent_by_one(cluster: &Cluster, i: usize, entries: usize) -> usize {
    let mut runner = None;
    let is_so = || {
        // Both in one reading: who sends may change, and another node may be held for lost for a moment.
        let rows = cluster.metric(i, LOST);
        let values = |name: &str| -> Vec<f64> {
            let named = rows.iter().filter(|(labels, _)| labels.starts_with(name));
            named.map(|(_, value)| *value).collect()
        };
        runner = match (&values(DEBT_OF)[..], &values(RUNNER_OF)[..]) {
            ([debt], [runner]) if *debt == entries as f64 && *runner > 0.0 => Some(*runner),
            _ => None,
        };
        runner.is_some()
    };
    let seen = || format!("{:?} {}", cluster.metric(i, LOST), cluster.logs());
    until("a debt that one node sends", is_so, seen);
    cluster.numbered(runner.unwrap())
}

/// Waits until it is on record that some of the debt was sent.
fn until_a_part_is_done(cluster: &Cluster) {
    let seen = || format!("{:?} {}", cluster.metric(0, DEBT), cluster.logs());
    let is_part = |(_, entries): &(String, f64)| (1.0..RECORDS as f64).contains(entries);
    until(
        "a part of the debt on record as sent",
        || cluster.metric(0, DEBT).iter().any(is_part),
        seen,
    );
}

fn until_nothing_is_owed(cluster: &Cluster, i: usize) {
    let seen = || format!("{:?} {}", cluster.metric(i, DEBT), cluster.logs());
    let is_so = || cluster.metric(i, DEBT).iter().all(|(_, entries)| *entries == 0.0);
    until("no debt of a lost node", is_so, seen);
}

/// Waits until a node shows these dead letters of exporter `a`.
fn until_letters(cluster: &Cluster, i: usize, letters: &[Vec<u8>]) {
    let seen = || format!("{} {}", cluster.letters(i).len(), cluster.logs());
    until("the dead letters", || cluster.letters(i) == letters, seen);
}

/// Waits until a replay at a node gives all of these payloads. A holder that is held for dead for a moment is not asked,
/// and what it alone has is named as missing then; what ends without an error is all of it.
fn until_replayed(cluster: &Cluster, i: usize, all: &[Vec<u8>]) {
    let is_whole = || {
        let (taken, why) = cluster.replay(i);
        assert!(
            why.is_some() || taken == all,
            "{} of {}; {}",
            taken.len(),
            all.len(),
            cluster.logs()
        );
        why.is_none()
    };
    until("a whole replay", is_whole, || {
        format!("{:?} {}", cluster.replay(i).1, cluster.logs())
    });
}

/// The first arrivals of these records came in their order.
fn assert_in_order(sink: &Sink, all: &[String]) {
    let mut seen = BTreeSet::new();
    let taken = sink.taken().into_iter();
    let first: Vec<String> = taken
        .filter(|text| all.contains(text) && seen.insert(text.clone()))
        .collect();
    assert_eq!(first, all);
}

#[test]
fn what_a_lost_node_owes_is_held_and_sent_by_a_survivor_and_not_again_by_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let (lost, others) = (records("lost", RECORDS), records("other", 5));
    cluster.send(2, &lost);
    cluster.send(0, &others);
    cluster.kill(2);
    let runner = until_sent_by_one(&cluster, 0, RECORDS);
    assert_ne!(runner, 2, "it is lost");
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &[&lost[..], &others].concat());
    assert_in_order(&sink, &lost);
    (0..2).for_each(|i| until_nothing_is_owed(&cluster, i));

    let before = sink.taken().iter().filter(|text| lost.contains(text)).count();
    cluster.start(2);
    cluster.until_ready(2);
    let more = records("returned", 3);
    cluster.send(2, &more);
    until_taken(&sink, &cluster, &more);
    let after = sink.taken().iter().filter(|text| lost.contains(text)).count();
    assert_eq!(after, before, "its owner goes on behind what was sent for it");
}

#[test]
fn an_owner_that_comes_back_in_the_middle_sends_the_rest_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let lost = records("lost", RECORDS);
    cluster.send(2, &lost);
    cluster.kill(2);
    until_sent_by_one(&cluster, 0, RECORDS);
    sink.take(RECORDS / 3);
    until_a_part_is_done(&cluster);
    cluster.start(2);
    cluster.until_ready(2);
    (0..2).for_each(|i| until_nothing_is_owed(&cluster, i));
    let has_it_back = || cluster.log(2).contains("export.lost.taken");
    until("an owner that takes its export back", has_it_back, || cluster.logs());
    let more = records("returned", 3);
    cluster.send(2, &more);
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &[&lost[..], &more].concat());
    assert_in_order(&sink, &lost);
}

#[test]
fn a_runner_that_is_lost_in_the_middle_is_stood_in_for_by_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 5, &sink);
    let lost = records("lost", RECORDS);
    cluster.send(4, &lost);
    cluster.kill(4);
    let runner = until_sent_by_one(&cluster, 0, RECORDS);
    sink.take(RECORDS / 3);
    until_a_part_is_done(&cluster);
    cluster.kill(runner);
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &lost);
    assert_in_order(&sink, &lost);
    let left = (0..4).find(|i| *i != runner).unwrap();
    until_nothing_is_owed(&cluster, left);
}

/// A cluster of which one node is lost and owes these records, and the other two can be damaged behind what is read
/// ahead. Returns it with the node that sends them.
fn with_large_debt(dir: &Path, sink: &Sink, lost: &[String]) -> (Cluster, usize) {
    let mut cluster = Cluster::form(dir, 3, sink);
    cluster.send(2, lost);
    cluster.kill(2);
    let runner = until_sent_by_one(&cluster, 0, lost.len());
    (cluster, runner)
}

#[test]
fn what_one_copy_lacks_is_read_from_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, lost) = (Sink::start(), large_records(RECORDS));
    let (cluster, runner) = with_large_debt(dir.path(), &sink, &lost);
    cluster.damage(0, 0.7);
    cluster.damage(1, 0.9);
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &lost);
    assert_in_order(&sink, &lost);
    until_nothing_is_owed(&cluster, runner);
    assert_eq!(cluster.metric(runner, UNREADABLE)[0].1, 0.0);
}

#[test]
fn what_the_sink_does_not_take_at_first_is_read_again_from_a_node_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, lost) = (Sink::start(), large_records(RECORDS));
    let (cluster, runner) = with_large_debt(dir.path(), &sink, &lost);
    // The block that holds this record and its neighbours.
    cluster.damage(runner, 0.7);
    let place = RECORDS * 7 / 10;
    let all_but = |place: usize| {
        let others = lost.iter().enumerate().filter(|(n, _)| *n != place);
        others.map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };

    // An export makes it a dead letter.
    sink.refuse(&lost[place][..11], "400 Bad Request", usize::MAX);
    sink.take(usize::MAX);
    until_taken(&sink, &cluster, &all_but(place));
    until_nothing_is_owed(&cluster, runner);
    until_letters(&cluster, runner, &[payload(&lost[place])]);

    // A replay sets it aside after so many failures, sends others, and reads it again.
    sink.refuse(&lost[place][..11], "500 Internal Server Error", 5);
    cluster.begin_job(runner);
    let has_ended = || cluster.job(runner).0 != ReplayState::Running;
    until("the end of the job", has_ended, || {
        format!("{:?} {}", cluster.job(runner), cluster.logs())
    });
    assert_eq!(cluster.job(runner), (ReplayState::Done, String::new()));
    assert!(sink.taken().contains(&lost[place]));
}

#[test]
fn what_no_copy_has_is_counted_and_passed_over_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, lost) = (Sink::start(), large_records(RECORDS));
    let (cluster, runner) = with_large_debt(dir.path(), &sink, &lost);
    (0..2).for_each(|i| cluster.damage(i, 0.8));
    sink.take(usize::MAX);
    until_nothing_is_owed(&cluster, runner);
    let taken = sink.taken();
    let kept: Vec<String> = lost.iter().filter(|text| taken.contains(text)).cloned().collect();
    // A block holds about 13 of them, and both copies have the damage in the same one or in neighbours.
    assert!((RECORDS - 26..RECORDS).contains(&kept.len()), "{}", kept.len());
    assert_in_order(&sink, &kept);
    assert_eq!(taken.last(), lost.last(), "what lies behind the damage");
    let unreadable = || (0..2).map(|i| cluster.metric(i, UNREADABLE)[0].1).sum::<f64>();
    // Once by each node that was the runner.
    assert!((1.0..=2.0).contains(&unreadable()), "{}", unreadable());
}

#[test]
fn a_replay_reads_from_another_holder_what_one_has_damaged_its_owner_included() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, texts) = (Sink::start(), large_records(60));
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    cluster.send(2, &texts);
    cluster.seal(2);
    (0..3).for_each(|i| cluster.until_copied(i));
    let all: Vec<Vec<u8>> = texts.iter().map(|text| payload(text)).collect();

    // Its owner is there, and runs the replay itself, or reads for another node. It makes the file anew before long.
    let mut part = 0.2;
    for i in [2, 0] {
        let is_read_elsewhere = || {
            cluster.damage(2, part);
            part += 0.01;
            until_replayed(&cluster, i, &all);
            cluster.log(i).contains("replay.copy.damaged")
        };
        until("a replay that meets the damage", is_read_elsewhere, || cluster.logs());
    }

    // It is gone, and each copy lacks another part, one of them its end.
    cluster.kill(2);
    until_sent_by_one(&cluster, 0, texts.len());
    cluster.damage(0, 0.3);
    cluster.damage(1, 0.97);
    (0..2).for_each(|i| until_replayed(&cluster, i, &all));

    // What none has is named, with the node at which it was found damaged.
    cluster.damage(0, 0.97);
    let is_named = || {
        let (taken, why) = cluster.replay(1);
        let why = why.unwrap_or_else(|| panic!("{} of {}", taken.len(), all.len()));
        (all.len() - 26..all.len()).contains(&taken.len()) && why.contains("at node ")
    };
    until("what none has to be named", is_named, || {
        let (taken, why) = cluster.replay(1);
        format!("{} {why:?} {}", taken.len(), cluster.logs())
    });
}

#[test]
fn a_replay_gives_what_its_owner_has_though_no_other_holder_can_read_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, texts) = (Sink::start(), large_records(60));
    let cluster = Cluster::form(dir.path(), 3, &sink);
    cluster.send(2, &texts);
    cluster.seal(2);
    (0..3).for_each(|i| cluster.until_copied(i));
    cluster.damage(2, 0.97);
    (0..2).for_each(|i| cluster.remove(i));
    // The holders find out at the first, and say so at the second.
    for attempt in 1..=2 {
        let (taken, why) = cluster.replay(2);
        if why.is_none() {
            // It was waited for, and a holder has made its copy anew meanwhile.
            assert_eq!(taken.len(), 60, "{attempt}");
            continue;
        }
        assert!((60 - 26..60).contains(&taken.len()), "{attempt}: {}", taken.len());
        let is_of_owner = |why: &String| why.contains("at node ") && !why.contains("nobody can read");
        assert!(why.as_ref().is_some_and(is_of_owner), "{attempt}: {why:?}");
    }
}

#[test]
fn a_segment_of_a_replaced_node_that_nothing_recovers_holds_its_logs_up_until_its_loss_is_accepted_at_any_node() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let lost = records("lost", RECORDS);
    cluster.send(2, &lost);
    cluster.until_followed(2);
    (0..2).for_each(|i| cluster.damage_unsealed(i));
    cluster.kill(2);
    let mut segment = None;
    let waits = || {
        let mut all = cluster.recoveries(0).into_iter();
        let waits = all.find(|wait| wait.waits_for.contains("more report"));
        segment = waits.and_then(|wait| wait.segment);
        segment.is_some()
    };
    until("a recovery that waits", waits, || {
        format!("{:?} {}", cluster.recoveries(0), cluster.logs())
    });
    let segment = segment.unwrap();
    // It may come back.
    cluster.until_not_forgotten(1, segment, &["its owner, node"]);

    cluster.wipe(2);
    cluster.start(2);
    cluster.until_ready(2);
    let seen = || format!("{:?} {}", cluster.recoveries(0), cluster.logs());
    let command = format!(
        "gs-ctl segment forget {}/{}/{} --accept-loss",
        segment.node, segment.shard, segment.index
    );
    let is_shown = || cluster.recoveries(0).iter().any(|wait| wait.remedy.contains(&command));
    until("the command that ends it", is_shown, seen);
    let forgotten = cluster.until_forgotten(2, segment);
    assert_eq!(forgotten.state(), SegmentState::Sealed);
    assert!((1..RECORDS as u64).contains(&forgotten.entries), "{forgotten:?}");
    let loss = forgotten.accepted_loss.unwrap();
    assert!(
        loss.passed_over.contains("more report") && !loss.by.is_empty(),
        "{loss:?}"
    );

    // What it owes is sent now.
    sink.take(usize::MAX);
    let kept = &lost[..forgotten.entries as usize];
    until_taken(&sink, &cluster, kept);
    assert_in_order(&sink, kept);
    until_nothing_is_owed(&cluster, 0);
}

#[test]
fn an_owner_that_is_there_and_has_too_little_ends_the_recovery_of_its_own_segment_with_what_others_have() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let sent = records("sent", RECORDS);
    cluster.send(2, &sent);
    cluster.until_followed(2);
    (0..2).for_each(|i| cluster.damage_unsealed(i));
    cluster.kill(2);
    cluster.remove_wal(2);
    cluster.start(2);
    let mut segment = None;
    let may_end = || {
        let may_end = cluster.recoveries(0).into_iter().find(|wait| wait.may_accept_loss);
        segment = may_end.and_then(|wait| wait.segment);
        segment.is_some()
    };
    until("a recovery that nothing ends", may_end, || {
        format!("{:?} {}", cluster.recoveries(0), cluster.logs())
    });
    cluster.until_ready(2);
    let ended = cluster.until_forgotten(2, segment.unwrap());
    assert_eq!(ended.state(), SegmentState::Sealed, "{ended:?}");
    sink.take(usize::MAX);
    let kept = &sent[..ended.entries as usize];
    assert!(!kept.is_empty(), "{ended:?}");
    until_taken(&sink, &cluster, kept);
    assert!(ended.accepted_loss.is_some(), "{ended:?}");
}

#[test]
fn a_sealed_segment_of_a_replaced_node_that_no_holder_can_read_holds_its_readers_up_until_its_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    cluster.send(2, &large_records(60));
    let segment = cluster.seal(2);
    (0..3).for_each(|i| cluster.until_copied(i));
    let name = format!("{}/{}/{}", segment.node, segment.shard, segment.index);
    (0..2).for_each(|i| cluster.remove(i));
    cluster.kill(2);
    // It may come back.
    cluster.until_not_forgotten(0, segment, &["its owner alone"]);

    cluster.wipe(2);
    cluster.start(2);
    cluster.until_ready(2);
    cluster.begin_job(0);
    let says_why = |text: &str| text.contains(&format!("segment {name}"));
    let waits = || {
        let (_, why) = cluster.job(0);
        says_why(&why) && why.contains("(since 20")
    };
    until("a job that says what it waits for", waits, || {
        format!("{:?} {}", cluster.job(0), cluster.logs())
    });
    let command = format!("gs-ctl segment forget {name} --accept-loss");
    let waits = || {
        cluster
            .status(0)
            .lost_debt
            .iter()
            .any(|debt| debt.waiting.contains(&command))
    };
    until("a debt with the command that ends its wait", waits, || {
        format!("{:?} {}", cluster.status(0).lost_debt, cluster.logs())
    });

    // The other holder is away, and may come back with its copy.
    cluster.kill(1);
    cluster.until_not_forgotten(0, segment, &["may give all of it", "holds it"]);
    cluster.start(1);
    cluster.until_ready(1);
    let loss = cluster.until_forgotten(2, segment).copies_given_up.unwrap();
    assert_eq!(loss.passed_over.matches("cannot be read").count(), 2, "{loss:?}");
    assert!(!loss.by.is_empty(), "{loss:?}");

    sink.take(usize::MAX);
    until_nothing_is_owed(&cluster, 0);
    assert_eq!(sink.taken(), Vec::<String>::new());
    let unreadable = || {
        let all = (0..3).flat_map(|i| cluster.metric(i, UNREADABLE));
        all.map(|(_, ranges)| ranges).sum::<f64>()
    };
    until(
        "what was passed over to be counted",
        || unreadable() >= 1.0,
        || cluster.logs(),
    );
    let has_ended = || cluster.job(0).0 != ReplayState::Running;
    until("the end of the job", has_ended, || {
        format!("{:?} {}", cluster.job(0), cluster.logs())
    });
    let (state, why) = cluster.job(0);
    assert!(state == ReplayState::Failed && says_why(&why), "{why}");
    let given_up = || cluster.status(1).given_up_segments;
    until("a segment given up", || given_up() == 1, || given_up().to_string());
}

#[test]
fn an_exporter_that_begins_now_gets_what_any_node_takes_in_from_then_on_and_nothing_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, late) = (Sink::start(), Sink::start());
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    let named = |when: &str| [0, 1, 2].map(|i| records(&format!("{when} at {i}"), 5));
    // Of one node some of it is sealed, and the rest is not.
    let before = named("before");
    (0..3).for_each(|i| cluster.send(i, &before[i][..3]));
    cluster.seal(1);
    (0..3).for_each(|i| cluster.send(i, &before[i][3..]));
    cluster.add_exporter(0, &late, &[0]);

    // The others have it later.
    let after = named("after");
    (0..3).for_each(|i| cluster.send(i, &after[i]));
    cluster.until_exporter(1, "b");
    cluster.kill(2);
    late.take(usize::MAX);
    until_taken(&late, &cluster, &after.concat());
    let taken: BTreeSet<String> = late.taken().into_iter().collect();
    assert_eq!(taken, after.concat().into_iter().collect());
}

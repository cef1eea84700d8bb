//! Faults of nodes and of the network between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, Disposition, Reply};
use gophership_vault_replication::consensus::compaction::LogLimits;
use gophership_vault_replication::consensus::status::{ConsensusStatus, Role};
use gophership_vault_replication::consensus::testkit::{Cluster, eventually};

fn setting(key: &str, value: &str) -> Command {
    Command::SetConfig {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        seen: None,
        at_ns: 1,
    }
}

/// Shows that a leader leads on through what happens in `attempt`, which says whether it did. One that waits for a
/// processor loses its leadership to others for good reason, so several attempts are made; what deposes a leader does
/// so in each.
pub(crate) fn leads_on(what: &str, mut attempt: impl FnMut() -> bool) {
    assert!((0..5).any(|_| attempt()), "{what} deposes the leader each time");
}

/// Sets a key, and again until it is known to be set.
pub(crate) fn set(catalogue: &Arc<dyn Catalogue>, key: &str, value: &str) {
    eventually("a command that is taken", || {
        match catalogue.submit(Actor::Node, setting(key, value)) {
            Ok(reply) => {
                assert_eq!(reply, Reply::Done);
                Some(())
            }
            Err(e) => {
                assert_eq!(e.disposition(), Disposition::Retry, "{e}");
                None
            }
        }
    });
}

pub(crate) fn value(catalogue: &Arc<dyn Catalogue>, key: &str) -> Option<String> {
    catalogue.read(|s| s.setting(key).map(|setting| setting.value.clone()))
}

fn others(node: u32) -> BTreeSet<u32> {
    [1, 2, 3].into_iter().filter(|id| *id != node).collect()
}

/// Small enough that a few commands cut the log.
const SMALL: LogLimits = LogLimits {
    entries_max: 20,
    bytes_max: 1 << 20,
    entries_kept: 5,
    bytes_kept: 1 << 20,
};

#[test]
fn what_was_answered_survives_the_leader() {
    let mut cluster = Cluster::of(3);
    for round in 0..3 {
        let leader = cluster.leader();
        let key = format!("k{round}");
        set(&cluster.catalogue(leader), &key, "1");
        cluster.kill(leader);
        let next = cluster.leader_among(&others(leader));
        let catalogue = cluster.catalogue(next);
        eventually("a read index", || catalogue.catch_up().ok());
        assert_eq!(value(&catalogue, &key).as_deref(), Some("1"));
        cluster.start(leader).unwrap();
        let back = cluster.catalogue(leader);
        eventually("a read index for the node that is back", || back.catch_up().ok());
        assert_eq!(value(&back, &key).as_deref(), Some("1"));
    }
}

#[test]
fn all_nodes_may_end_at_once() {
    let mut cluster = Cluster::of(3);
    for n in 0..10 {
        set(&cluster.catalogue(1 + n % 3), &format!("k{n}"), &n.to_string());
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start(node).unwrap());
    cluster.leader();
    for node in 1..=3 {
        let catalogue = cluster.catalogue(node);
        eventually("a read index", || catalogue.catch_up().ok());
        for n in 0..10 {
            assert_eq!(value(&catalogue, &format!("k{n}")), Some(n.to_string()));
        }
    }
}

#[test]
fn a_follower_that_is_far_behind_gets_a_snapshot_and_follows_on() {
    let mut cluster = Cluster::new(SMALL, Duration::from_secs(20));
    cluster.begin();
    cluster.grow(3);
    cluster.lead(1);
    set(&cluster.catalogue(1), "before", "1");
    cluster.kill(3);
    let behind = cluster.node(1).status().last.unwrap();
    let leader = cluster.catalogue(1);
    for n in 0..60 {
        set(&leader, &format!("k{n}"), &n.to_string());
    }
    eventually("a cut of the log", || {
        cluster.node(1).status().purged.filter(|purged| *purged > behind)
    });
    cluster.start(3).unwrap();
    let back = cluster.catalogue(3);
    eventually("a read index", || back.catch_up().ok());
    for n in 0..60 {
        assert_eq!(value(&back, &format!("k{n}")), Some(n.to_string()));
    }
    // It is a voter like every other: with it and one more there is a majority.
    cluster.kill(2);
    set(&back, "after", "1");
    // And its files are whole.
    cluster.kill(3);
    cluster.start(3).unwrap();
    let back = cluster.catalogue(3);
    eventually("a read index", || back.catch_up().ok());
    assert_eq!(value(&back, "after").as_deref(), Some("1"));
    eventually("a log that stays small", || {
        (cluster.node(1).status().log.0 <= SMALL.entries_max + 10).then_some(())
    });
}

#[test]
fn a_leader_that_is_cut_off_answers_unknown_and_nothing_is_applied_twice() {
    leads_on("a command", cut_off_leader);
}

/// A leader is cut off, and others lead. True where it led when it was cut off.
fn cut_off_leader() -> bool {
    let mut cluster = Cluster::new(LogLimits::default(), Duration::from_secs(3));
    cluster.begin();
    cluster.grow(3);
    let cut_off = cluster.leader();
    let catalogue = cluster.catalogue(cut_off);
    set(&catalogue, "k", "before");
    cluster.network.set_isolated(cut_off.into(), true);
    if cluster.node(cut_off).status().role != Role::Leader {
        return false;
    }
    let pending: Vec<_> = (0..4)
        .map(|n| {
            let catalogue = Arc::clone(&catalogue);
            thread::spawn(move || catalogue.submit(Actor::Node, setting("k", &format!("lost {n}"))))
        })
        .collect();
    for pending in pending {
        let unknown = pending.join().unwrap().unwrap_err();
        assert!(matches!(unknown, CatalogueError::Unknown { .. }), "{unknown}");
        assert_eq!(unknown.disposition(), Disposition::Retry);
    }
    assert!(
        catalogue.catch_up().is_err(),
        "it cannot know what was answered elsewhere"
    );
    let next = cluster.leader_among(&others(cut_off));
    set(&cluster.catalogue(next), "k", "after");
    let version = |node| cluster.catalogue(node).read(|s| s.setting("k").unwrap().version);
    let settled = version(next);
    cluster.network.set_isolated(cut_off.into(), false);
    eventually("a read index", || catalogue.catch_up().ok());
    for node in 1..=3 {
        let catalogue = cluster.catalogue(node);
        eventually("a read index", || catalogue.catch_up().ok());
        assert_eq!(value(&catalogue, "k").as_deref(), Some("after"));
        assert_eq!(
            version(node),
            settled,
            "each setting has a version of its own: none was set again"
        );
    }
    true
}

#[test]
fn an_answer_that_is_lost_leaves_the_command_unknown_and_applied_once() {
    leads_on("an answer that is lost", lost_answer);
}

/// The leader's answer to a follower is lost. True where it has led on.
fn lost_answer() -> bool {
    let mut cluster = Cluster::new(LogLimits::default(), Duration::from_secs(3));
    cluster.begin();
    cluster.grow(3);
    cluster.lead(1);
    let follower = cluster.catalogue(2);
    set(&follower, "k", "before");
    let before = follower.read(|s| s.setting("k").unwrap().version);
    let lead = |status: &ConsensusStatus| (status.role, status.term);
    let led = lead(&cluster.node(1).status());
    cluster.network.set_mute(2, 1, true);
    let answer = follower.submit(Actor::Node, setting("k", "after"));
    cluster.network.set_mute(2, 1, false);
    if led.0 != Role::Leader || lead(&cluster.node(1).status()) != led {
        return false;
    }
    let unknown = answer.unwrap_err();
    assert!(matches!(unknown, CatalogueError::Unknown { .. }), "{unknown}");
    eventually("a read index", || follower.catch_up().ok());
    assert_eq!(value(&follower, "k").as_deref(), Some("after"));
    assert_eq!(follower.read(|s| s.setting("k").unwrap().version), before + 1);
    true
}

#[test]
fn without_a_majority_a_follower_says_so_and_submits_nothing() {
    let mut cluster = Cluster::new(LogLimits::default(), Duration::from_secs(3));
    cluster.begin();
    cluster.grow(3);
    cluster.lead(1);
    set(&cluster.catalogue(2), "k", "before");
    // The leader last: the two others could have a lead between them.
    cluster.kill(3);
    cluster.kill(1);
    let alone = cluster.catalogue(2);
    let failed = alone.submit(Actor::Node, setting("k", "after")).unwrap_err();
    assert!(matches!(failed, CatalogueError::NoLeader { .. }), "{failed}");
    assert!(alone.catch_up().is_err());
    assert_eq!(value(&alone, "k").as_deref(), Some("before"), "what it has can be read");
    cluster.start(1).unwrap();
    cluster.start(3).unwrap();
    eventually("a read index", || alone.catch_up().ok());
    assert_eq!(value(&alone, "k").as_deref(), Some("before"));
}

#[test]
fn a_read_that_catches_up_sees_what_any_node_was_answered() {
    let cluster = Cluster::of(3);
    cluster.lead(1);
    cluster.network.set_delay(Duration::from_millis(3));
    for n in 0..30 {
        let (writer, reader) = (1 + n % 3, 1 + (n + 1) % 3);
        set(&cluster.catalogue(writer), "k", &n.to_string());
        let reader = cluster.catalogue(reader);
        // Where nobody leads for the moment it says so, and reads nothing.
        let seen = eventually("a read", || {
            reader.read_latest(|s| s.setting("k").unwrap().value.clone()).ok()
        });
        assert_eq!(seen, n.to_string());
    }
}

#[test]
fn a_command_that_takes_longer_than_an_election_arrives_once_and_deposes_nobody() {
    leads_on("a long command", long_command);
}

/// A command takes longer than an election. True where the leader has led on.
fn long_command() -> bool {
    let cluster = Cluster::of(3);
    cluster.lead(1);
    let (leader, before) = (cluster.catalogue(1), cluster.node(1).status());
    // 5 s, and the longest election timeout is 0.8 s.
    cluster.network.set_rate(400_000);
    assert!(before.timing.election_max < Duration::from_secs(2));
    // It goes through the log, and is too long for its effect.
    let refused = leader.submit(Actor::Node, setting("k", &"x".repeat(2_000_000)));
    let after = cluster.node(1).status();
    if (after.role, after.term) != (Role::Leader, before.term) {
        return false;
    }
    assert!(matches!(refused, Err(CatalogueError::Refused(_))), "{refused:?}");
    set(&leader, "k", "1");
    let follower = cluster.catalogue(2);
    eventually("the next entry on a follower", || value(&follower, "k"));
    true
}

#[test]
fn submitters_on_all_nodes_go_on_while_the_leader_changes() {
    let mut cluster = Cluster::new(SMALL, Duration::from_secs(20));
    cluster.begin();
    cluster.grow(3);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (1..=3)
        .map(|node| {
            let (catalogue, stop) = (cluster.catalogue(node), Arc::clone(&stop));
            thread::spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    set(&catalogue, &format!("node {node}"), &n.to_string());
                    n += 1;
                }
                n
            })
        })
        .collect();
    for next in [2, 3, 1, 2] {
        cluster.lead(next);
    }
    stop.store(true, Ordering::Relaxed);
    let answered: Vec<u32> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    for node in 1..=3 {
        let catalogue = cluster.catalogue(node);
        eventually("a read index", || catalogue.catch_up().ok());
        for (submitter, n) in answered.iter().enumerate() {
            let last = n.checked_sub(1).map(|n| n.to_string());
            assert_eq!(value(&catalogue, &format!("node {}", submitter + 1)), last);
        }
    }
    cluster.leader();
}

#[test]
fn who_waits_for_consensus_has_an_answer_at_the_end_and_nobody_waits_after_it() {
    let mut cluster = Cluster::of(3);
    cluster.kill(2);
    cluster.kill(3);
    let catalogue = cluster.catalogue(1);
    let waits: Vec<_> = (0..3)
        .map(|n| {
            let catalogue = Arc::clone(&catalogue);
            thread::spawn(move || {
                let key = n.to_string();
                // One after the other until the end, as a vault asks.
                loop {
                    let asked = match n {
                        0 => catalogue.catch_up(),
                        _ => catalogue.submit(Actor::Node, setting(&key, "x")).map(drop),
                    };
                    let error = asked.unwrap_err();
                    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
                    if error.to_string().contains("this node ends") {
                        return;
                    }
                }
            })
        })
        .collect();
    cluster.kill(1);
    drop(cluster);
    for wait in waits {
        wait.join().unwrap();
    }
    let asked = catalogue.submit(Actor::Node, setting("k", "x")).unwrap_err();
    assert!(asked.to_string().contains("this node ends"), "{asked}");
}

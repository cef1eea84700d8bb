//! An owner that was replaced, and one that comes back.

use gophership_catalogue::event::{Event, What};
use gophership_catalogue::segment::{SegmentRecord, SegmentState};
use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_vault::ids::{EntryNumber, SegmentId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::verify_segment;
use gophership_vault_replication::consensus::testkit::eventually;
use gophership_vault_replication::recovery::leader::Waiting;

use crate::cluster::Cluster;
use crate::support::*;

pub(crate) fn payloads(numbers: std::ops::RangeInclusive<u32>) -> Vec<Vec<u8>> {
    numbers
        .map(|n| format!("entry {n} ").repeat(n as usize % 40 + 1).into_bytes())
        .collect()
}

/// Has an owner store entries, and gives the segment that they are in.
pub(crate) fn store(cluster: &mut Cluster, owner: u32, payloads: &[Vec<u8>]) -> SegmentId {
    let lsns: Vec<_> = payloads
        .iter()
        .map(|payload| cluster.node_mut(owner).store(payload))
        .collect();
    assert!(
        lsns.iter().all(|lsn| lsn.index() == lsns[0].index()),
        "one segment has room for all"
    );
    let segments = cluster.node(owner).vault().own_segments();
    let mut ids = segments.into_iter().map(|(id, _)| id);
    ids.find(|id| id.index == lsns[0].index()).unwrap()
}

/// Waits until a segment is on record as sealed.
pub(crate) fn sealed(cluster: &Cluster, id: SegmentId, as_seen_by: u32) -> SealRecord {
    eventually("a seal", || match cluster.record(id, as_seen_by) {
        Some(SegmentRecord::Sealed(seal)) => Some(seal),
        _ => None,
    })
}

/// The payloads of a copy.
pub(crate) fn copied(cluster: &Cluster, on: u32, seal: &SealRecord) -> Vec<Vec<u8>> {
    let vault = cluster.node(on).vault();
    let mut found = Vec::new();
    let last = seal.stats.last_lsn.unwrap().number();
    let mut take = |entry: gophership_vault::StoredEntry| {
        found.push(entry.payload);
        true
    };
    vault
        .copies()
        .read_entries(seal.id, EntryNumber::FIRST, last, &mut take)
        .unwrap();
    let verified = verify_segment(&vault.segment_file(seal.id), seal.id, Some(seal.digest), &mut |_, _| {});
    assert!(verified.unwrap().ok, "node {on} has what was sealed");
    found
}

/// The nodes other than this one.
fn others(n: u32) -> Vec<u32> {
    (1..=3).filter(|other| *other != n).collect()
}

#[test]
fn what_a_lost_owner_acknowledged_is_sealed_with_copies_on_the_others() {
    let mut cluster = Cluster::new();
    // It leads, too: another node must be elected first.
    let owner = cluster.leader();
    let (sent, others) = (payloads(1..=60), others(owner));
    store(&mut cluster, owner, &sent[..25]);
    // One replica lacks the rest, and has to fetch it from the other.
    cluster.shared.deaf.lock().unwrap().insert(node(others[1]));
    let id = store(&mut cluster, owner, &sent[25..]);
    cluster.kill(owner);
    let seal = sealed(&cluster, id, others[0]);
    assert_eq!(
        seal.holders.iter().collect::<Vec<_>>(),
        [node(others[0]), node(others[1])]
    );
    for on in &others {
        assert_eq!(copied(&cluster, *on, &seal), sent);
    }
    // The spares, which nobody ever wrote to, are ended too.
    eventually("the end of all that it had open", || {
        let records = cluster.records(owner, others[0]);
        let ended = |record: &SegmentRecord| record.state() == SegmentState::Sealed;
        records.iter().all(ended).then_some(())
    });
    let dead = |n: &u32| {
        let peers = cluster.node(*n).running.as_ref().unwrap().heartbeats.peers();
        peers.iter().any(|peer| peer.node == node(owner) && !peer.is_alive)
    };
    // The one that leads has found it dead, and the other one does in its own time.
    eventually("both to find it dead", || others.iter().all(dead).then_some(()));
    // All of that is on record, the same on each node.
    let died = format!("node {owner}");
    let told = |n: u32| {
        let catalogue: &dyn Catalogue = &*cluster.node(n).catalogue;
        catalogue.read(|state| {
            let events = state.events_after(0);
            events.map(|(_, event)| event.clone()).collect::<Vec<_>>()
        })
    };
    let has = |events: &[Event], what, subject: &str| {
        let is_it = |event: &&Event| event.what == what && event.subject == subject;
        events.iter().filter(is_it).count()
    };
    let events = eventually(
        "the same events on both nodes that are left, with who leads and who is dead",
        || {
            let [events, of_other] = [told(others[0]), told(others[1])];
            let leads = |n: &u32| has(&events, What::LeaderChanged, &format!("node {n}")) > 0;
            let is_all = others.iter().any(leads) && has(&events, What::NodeDead, &died) > 0;
            (events == of_other && is_all).then_some(events)
        },
    );
    let segment = format!("segment {id}");
    for (what, subject) in [(What::NodeDead, &died), (What::Recovered, &segment)] {
        assert_eq!(has(&events, what, subject), 1, "{what:?} {subject}: {events:?}");
    }
    cluster.end();
}

#[test]
fn an_owner_that_returns_is_the_report_and_has_all_of_its_log() {
    let mut cluster = Cluster::new();
    let owner = others(cluster.leader())[0];
    let sent = payloads(1..=40);
    let id = store(&mut cluster, owner, &sent);
    // It is back before it is missed. Its new epoch leaves the old segments.
    cluster.kill(owner);
    cluster.restart(owner);
    let more = payloads(41..=50);
    store(&mut cluster, owner, &more);
    sealed(&cluster, id, owner);
    let all = [sent, more].concat();
    eventually("the recovery to be over", || {
        (cluster.node(owner).vault().status().recovering_segments == 0).then_some(())
    });
    assert_eq!(cluster.node(owner).own_log(), all);
    // This time its segment is sealed without it.
    cluster.kill(owner);
    let others = others(owner);
    let open = cluster.records(owner, others[0]).into_iter();
    let open: Vec<_> = open.filter(|record| record.state() != SegmentState::Trimmed).collect();
    for record in open {
        sealed(&cluster, record.id(), others[0]);
    }
    cluster.restart(owner);
    eventually("the recovery to be over", || {
        (cluster.node(owner).vault().status().recovering_segments == 0).then_some(())
    });
    assert_eq!(cluster.node(owner).own_log(), all);
    eventually("the owner to be on record as a holder", || {
        let records = cluster.records(owner, owner).into_iter();
        let mut full = records.filter_map(|record| match record {
            SegmentRecord::Sealed(seal) if seal.stats.entries > 0 => Some(seal),
            _ => None,
        });
        full.all(|seal| seal.holders.contains(node(owner))).then_some(())
    });
    assert!(cluster.node(owner).vault().quarantined().is_empty());
    cluster.end();
}

#[test]
fn an_owner_that_was_away_for_long_keeps_the_epoch_that_it_returns_with() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let [owner, other] = others(leader)[..] else {
        panic!("there are three")
    };
    let sent = payloads(1..=10);
    let id = store(&mut cluster, owner, &sent);
    cluster.kill(owner);
    sealed(&cluster, id, other);
    cluster.restart(owner);
    let epoch = cluster.node(owner).vault().epoch();
    let next = store(&mut cluster, owner, &payloads(11..=20));
    let is_alive = |on: u32| {
        let peers = cluster.node(on).running.as_ref().unwrap().heartbeats.peers();
        peers.iter().any(|peer| peer.node == node(owner) && peer.is_alive)
    };
    eventually("it to be alive again", || {
        (is_alive(leader) && is_alive(other)).then_some(())
    });
    eventually("its segment to be open on record", || {
        matches!(cluster.record(next, leader), Some(SegmentRecord::Open { .. })).then_some(())
    });
    assert_eq!(cluster.node(owner).vault().epoch(), epoch);
    cluster.end();
}

#[test]
fn a_recovery_that_needs_a_report_shows_that_and_goes_on_when_it_comes() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let [owner, silent] = others(leader)[..] else {
        panic!("there are three")
    };
    let sent = payloads(1..=10);
    let id = store(&mut cluster, owner, &sent);
    cluster.kill(owner);
    // Its consensus runs, and its vault is not open: it cannot report.
    cluster.kill(silent);
    cluster.start_as_follower(silent);
    let recoveries = |cluster: &Cluster| cluster.node(leader).running.as_ref().unwrap().recoveries.list();
    let left = eventually("the recovery to be shown", || {
        let shown = recoveries(&cluster).into_iter().find(|view| view.segment == id)?;
        matches!(&shown.waits, Waiting::Reports(missing) if missing.reports == 1).then_some(shown)
    });
    assert!(left.number.is_some(), "{left:?}");
    let is_recovering = |record| matches!(record, Some(SegmentRecord::Recovering { .. }));
    assert!(
        is_recovering(cluster.record(id, leader)),
        "nothing is sealed by one report"
    );
    cluster.run(silent);
    let seal = sealed(&cluster, id, leader);
    for on in [leader, silent] {
        assert_eq!(copied(&cluster, on, &seal), sent);
    }
    eventually("the list to be empty", || recoveries(&cluster).is_empty().then_some(()));
    cluster.end();
}

#[test]
fn a_live_owner_that_a_recovery_reaches_goes_on_in_a_new_epoch() {
    let mut cluster = Cluster::new();
    let owner = others(cluster.leader())[0];
    let sent = payloads(1..=20);
    let id = store(&mut cluster, owner, &sent);
    let before = cluster.node(owner).vault().epoch();
    // A leader that had not heard the owner for a while began it.
    let catalogue = std::sync::Arc::clone(&cluster.node(owner).catalogue);
    let begin = Command::BeginRecovery {
        id,
        request: uuid::Uuid::new_v4(),
        at_ns: 1,
    };
    eventually("the begin", || catalogue.submit(Actor::Node, begin.clone()).ok());
    sealed(&cluster, id, owner);
    let more = payloads(21..=30);
    let next = store(&mut cluster, owner, &more);
    assert!(next.index > id.index && cluster.node(owner).vault().epoch() > before);
    eventually("the recovery to be over", || {
        (cluster.node(owner).vault().status().recovering_segments == 0).then_some(())
    });
    assert_eq!(cluster.node(owner).own_log(), [sent, more].concat());
    cluster.end();
}

#[test]
fn an_owner_that_lost_power_fetches_the_segment_that_was_sealed_with_more_than_it_has_left() {
    let mut cluster = Cluster::new();
    let owner = others(cluster.leader())[0];
    let sent = payloads(1..=40);
    let id = store(&mut cluster, owner, &sent);
    cluster.kill(owner);
    let others = others(owner);
    let seal = sealed(&cluster, id, others[0]);
    assert_eq!((seal.stats.entries, seal.holders.contains(node(owner))), (40, false));
    // The last entries had left before they were synced here, and the power cut took them.
    let folder = cluster.path(owner);
    let wal = folder.join(format!(
        "wal/{:010}/{:04}/{:012}.wal",
        id.node,
        id.shard.get(),
        id.index
    ));
    let mut bytes = std::fs::read(&wal).unwrap();
    let lost = bytes.windows(sent[37].len()).position(|at| at == sent[37]).unwrap();
    bytes[lost..].fill(0);
    std::fs::write(&wal, bytes).unwrap();
    let cuts = folder.join(format!("segments/{:010}/{:04}", id.node, id.shard.get()));
    if cuts.exists() {
        std::fs::remove_dir_all(&cuts).unwrap();
    }
    cluster.restart(owner);
    let record = eventually("the owner to be on record as a holder", || {
        match cluster.record(id, owner) {
            Some(SegmentRecord::Sealed(seal)) => seal.holders.contains(node(owner)).then_some(seal),
            _ => None,
        }
    });
    assert_eq!(cluster.node(owner).own_log(), sent);
    let file = cluster.node(owner).vault().segment_file(id);
    let verified = verify_segment(&file, id, Some(record.digest), &mut |_, _| {});
    assert!(verified.unwrap().ok);
    assert!(cluster.node(owner).vault().missing_segments().is_empty());
    cluster.end();
}

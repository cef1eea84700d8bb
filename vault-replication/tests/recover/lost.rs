//! What becomes of the segments of a node that was replaced: they get further copies, and go in the end.

use std::time::Duration;

use gophership_catalogue::segment::{SegmentRecord, SegmentState};
use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_vault::TakeEntry;
use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::{KeptClock, SealRecord};
use gophership_vault_replication::consensus::testkit::eventually;

use crate::cluster::Cluster;
use crate::node::RETENTION;
use crate::owner::{copied, payloads, sealed, store};
use crate::support::*;

/// The nodes that have a segment and were not replaced, once there are so many.
fn holders(cluster: &Cluster, id: SegmentId, count: usize) -> Vec<u32> {
    let mut holders = Vec::new();
    eventually("the copies", || {
        let SegmentRecord::Sealed(seal) = cluster.record(id, 2)? else {
            return None;
        };
        holders = seal.holders.iter().map(|node| node.get()).filter(|n| *n != 1).collect();
        (holders.len() >= count).then_some(())
    });
    holders
}

/// Has a node make its copy of a sealed segment, by itself.
fn copy_by_itself(cluster: &Cluster, seal: &SealRecord, on: u32) {
    let copies = cluster.shared.copies.lock().unwrap().clone();
    let from = &copies[&node(2)];
    let report = from.fence(seal.id, 100).unwrap();
    let mut fetch = |_, first, last, take: TakeEntry<'_>| {
        from.entries(seal.id, first, last, &mut |entry| {
            take(entry).unwrap();
            true
        })
    };
    copies[&node(on)]
        .copy_sealed(seal, report, CLUSTER, &mut fetch)
        .unwrap();
}

#[test]
fn segments_of_a_lost_owner_get_as_many_copies_as_are_wanted_and_none_is_on_no_record() {
    let mut cluster = Cluster::of(5, RETENTION);
    let sent = payloads(1..=30);
    let id = store(&mut cluster, 1, &sent);
    cluster.kill(1);
    let seal = sealed(&cluster, id, 2);
    cluster.replace(1, 4);
    let have = holders(&cluster, id, 3);
    assert_eq!(have.len(), 3, "{have:?}");
    for n in &have {
        assert_eq!(copied(&cluster, *n, &seal), sent);
    }
    // A copy that came of an attempt that ended counts, too.
    let other = (2..=5).find(|n| !have.contains(n)).unwrap();
    let planned = Command::CopyPlanned { id, node: node(other) };
    cluster.submit(other, &Actor::Node, &planned);
    copy_by_itself(&cluster, &seal, other);
    assert_eq!(holders(&cluster, id, 4).len(), 4);
    cluster.end();
}

#[test]
fn segments_of_a_lost_owner_go_from_all_disks_once_nobody_needs_them() {
    let mut cluster = Cluster::of(5, Duration::ZERO);
    let id = store(&mut cluster, 1, &payloads(1..=10));
    let names = vec!["backend".to_owned()];
    let by = Some(node(2));
    let configure = |names| Command::ConfigureExporters { node: by, names };
    cluster.submit(2, &Actor::Node, &configure(names));
    cluster.kill(1);
    sealed(&cluster, id, 2);
    cluster.replace(1, 4);
    // The empty ones have gone by the time at which nothing keeps the full one but its exporter.
    let of_owner = |state| move |record: &SegmentRecord| record.state() == state;
    eventually("the trim of the empty segments", || {
        let records = cluster.records(1, 2);
        let trimmed = records.iter().filter(|record| of_owner(SegmentState::Trimmed)(record));
        (trimmed.count() + 1 == records.len()).then_some(())
    });
    sealed(&cluster, id, 2);
    cluster.submit(2, &Actor::Node, &configure(Vec::new()));
    // A node records its clock each five minutes.
    for node in cluster.up() {
        let vault = node.vault();
        let mark = KeptClock {
            now_ns: vault.clock_ns(),
            credit_ns: 0,
        };
        let keep = Command::KeepClock {
            node: vault.identity().node_id,
            mark,
        };
        cluster.submit(2, &Actor::Vault, &keep);
    }
    eventually("the end of its records", || {
        for node in cluster.up() {
            let own = node.vault().identity().node_id;
            let catalogue: &dyn Catalogue = &*node.catalogue;
            let to_remove: Vec<SegmentId> = catalogue.read(|state| state.copies_to_remove(own).collect());
            node.vault().trimmed(to_remove);
        }
        cluster.records(1, 2).is_empty().then_some(())
    });
    for node in cluster.up() {
        assert!(!node.vault().segment_file(id).exists(), "node {}", node.n);
    }
    cluster.end();
}

//! Segments of a replaced owner that nothing recovers any more, and whose loss an operator accepts.

use std::path::PathBuf;

use gophership_catalogue::segment::{AcceptedLoss, SegmentRecord};
use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_vault::ids::SegmentId;
use gophership_vault_replication::consensus::testkit::eventually;
use gophership_vault_replication::decide::accept_loss::{Hope, Left};

use crate::cluster::Cluster;
use crate::node::RETENTION;
use crate::owner::{copied, payloads, sealed, store};
use crate::support::*;

/// A cluster whose node 1 was lost, and then replaced by node 4, after `damage` was done to both copies of its segment;
/// with the segment, what it stored there, and what is left of it.
fn left_behind(damage: impl Fn(PathBuf)) -> (Cluster, SegmentId, Vec<Vec<u8>>, Left) {
    let mut cluster = Cluster::of(5, RETENTION);
    let sent = payloads(1..=30);
    let id = store(&mut cluster, 1, &sent);
    cluster.until_followed(id, &[2, 3], sent.len());
    for n in [2, 3] {
        damage(cluster.node(n).vault().segment_file(id).with_extension("open"));
    }
    cluster.kill(1);
    let owner = Err(Hope::Owner(node(1)));
    let shown = until_shown(&cluster, id, "a recovery that waits for its owner", &|may| {
        *may == owner
    });
    assert_eq!(shown, owner);
    cluster.replace(1, 4);
    let left = until_shown(&cluster, id, "a recovery that nothing ends", &Result::is_ok).unwrap();
    eventually("a recovery on record", || {
        matches!(cluster.record(id, 2), Some(SegmentRecord::Recovering { .. })).then_some(())
    });
    (cluster, id, sent, left)
}

/// Waits until it is shown so whether the loss of a segment may be accepted.
fn until_shown(
    cluster: &Cluster,
    id: SegmentId,
    what: &str,
    is_it: &dyn Fn(&Result<Left, Hope>) -> bool,
) -> Result<Left, Hope> {
    eventually(what, || {
        let running = cluster.up().filter_map(|node| node.running.as_ref());
        let mut views = running.flat_map(|running| running.recoveries.list());
        let view = views.find(|view| view.segment == id)?;
        is_it(&view.may_accept_loss).then_some(view.may_accept_loss)
    })
}

/// Damages the last byte of a file.
fn damage_end(path: PathBuf) {
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
}

fn accept(cluster: &Cluster, id: SegmentId, left: &Left) {
    let loss = AcceptedLoss {
        by: "jo".to_owned(),
        at_ns: 1,
        reports: left.reports,
        passed_over: "2 more reports".to_owned(),
    };
    let accept = Command::AcceptLoss { id, loss };
    cluster.submit(4, &Actor::operator("jo"), &accept);
}

/// Nothing of the owner's holds up its export any more.
fn assert_all_ends(cluster: Cluster) {
    eventually("the end of all that its owner had open", || {
        let catalogue: &dyn Catalogue = &*cluster.node(2).catalogue;
        catalogue.read(|state| state.unsealed_of(node(1)).next().is_none().then_some(()))
    });
    cluster.end();
}

#[test]
fn a_segment_of_which_both_copies_are_damaged_is_sealed_with_what_they_have_once_that_is_accepted() {
    let (cluster, id, sent, left) = left_behind(damage_end);
    assert_eq!(
        left.reports,
        gophership_vault::NodeSet::from_nodes([2, 3].map(node)).unwrap()
    );
    let last = left.last.unwrap().get() as usize;
    assert!((1..sent.len()).contains(&last), "{left:?}");
    accept(&cluster, id, &left);
    let seal = sealed(&cluster, id, 2);
    let on = seal.holders.iter().next().unwrap().get();
    assert_eq!(copied(&cluster, on, &seal), sent[..last]);
    assert_all_ends(cluster);
}

#[test]
fn a_segment_of_which_nothing_is_left_is_lost_once_that_is_accepted() {
    let (cluster, id, _, left) = left_behind(|path| std::fs::remove_file(path).unwrap());
    assert_eq!((left.last, left.missing), (None, 0));
    accept(&cluster, id, &left);
    eventually("a segment that is lost", || {
        matches!(cluster.record(id, 2), Some(SegmentRecord::Lost { .. })).then_some(())
    });
    assert_all_ends(cluster);
}

#[test]
fn an_owner_that_is_there_and_has_too_little_holds_up_no_accepted_loss() {
    let mut cluster = Cluster::of(5, RETENTION);
    let sent = payloads(1..=30);
    let id = store(&mut cluster, 1, &sent);
    cluster.until_followed(id, &[2, 3], sent.len());
    for n in [2, 3] {
        damage_end(cluster.node(n).vault().segment_file(id).with_extension("open"));
    }
    cluster.kill(1);
    let owner = Err(Hope::Owner(node(1)));
    let shown = until_shown(&cluster, id, "a recovery that waits for its owner", &|may| {
        *may == owner
    });
    assert_eq!(shown, owner);
    // Its disk was put back from a copy that lacks its WAL.
    let mut folders = vec![cluster.path(1).join("wal")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|is| is == "wal") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    cluster.restart(1);
    let left = until_shown(&cluster, id, "a recovery that nothing ends", &Result::is_ok).unwrap();
    assert!(left.reports.contains(node(1)), "{left:?}");
    let last = left.last.unwrap().get() as usize;
    assert!((1..=sent.len()).contains(&last), "{left:?}");
    accept(&cluster, id, &left);
    let seal = sealed(&cluster, id, 2);
    assert_eq!(copied(&cluster, 2, &seal), sent[..last]);
    cluster.end();
}

//! Segments whose peers are gone.

use gophership_catalogue::segment::SegmentRecord;
use gophership_vault_replication::consensus::testkit::eventually;

use crate::cluster::Cluster;
use crate::node::RETENTION;
use crate::owner::{copied, payloads, sealed, store};
use crate::support::*;

#[test]
fn an_owner_whose_peers_were_replaced_goes_on_with_others_and_keeps_what_it_acknowledged() {
    goes_on_without_its_peers(true);
}

#[test]
fn an_owner_whose_peers_are_dead_goes_on_with_others_that_live() {
    goes_on_without_its_peers(false);
}

fn goes_on_without_its_peers(replaced: bool) {
    let mut cluster = Cluster::of(5, RETENTION);
    let before = payloads(1..=20);
    let id = store(&mut cluster, 1, &before);
    let Some(SegmentRecord::Open { open, .. }) = cluster.record(id, 1) else {
        panic!("it is open")
    };
    assert_eq!(open.replicas.peers().iter().collect::<Vec<_>>(), [node(2), node(3)]);
    let epoch = cluster.node(1).vault().epoch();
    for (gone, by) in [(2, 4), (3, 5)] {
        cluster.kill(gone);
        if replaced {
            cluster.replace(gone, by);
        } else {
            // Its owner places nothing there any more.
            cluster.shared.members.lock().unwrap().remove(&node(gone));
        }
    }
    // Nothing more could be acknowledged in the segment.
    eventually("a new epoch", || {
        (cluster.node(1).vault().epoch() > epoch).then_some(())
    });
    let after = payloads(21..=30);
    let next = store(&mut cluster, 1, &after);
    assert!(next.index > id.index);
    let seal = sealed(&cluster, id, 1);
    let substitute = seal.holders.iter().find(|holder| *holder != node(1)).unwrap().get();
    assert!(substitute > 3, "{seal:?}");
    assert_eq!(copied(&cluster, substitute, &seal), before);
    eventually("the recovery to be over", || {
        (cluster.node(1).vault().status().recovering_segments == 0).then_some(())
    });
    assert_eq!(cluster.node(1).own_log(), [before, after].concat());
    cluster.end();
}

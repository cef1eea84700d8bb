//! The catalogue's whole suite over a cluster of three, on the leader and through a follower.

use std::sync::Arc;

use gophership_catalogue::Catalogue;
use gophership_catalogue::conformance::{self, Fixture};
use gophership_vault_replication::consensus::testkit::Cluster;

/// A cluster of three whose node 1 is the catalogue that is tested.
struct OfThree {
    cluster: Option<Cluster>,
    /// The node that is to lead.
    leader: u32,
}

impl OfThree {
    fn led_by(leader: u32) -> Self {
        Self { cluster: None, leader }
    }
}

impl Fixture for OfThree {
    fn create(&mut self) -> Arc<dyn Catalogue> {
        let cluster = Cluster::of(3);
        cluster.lead(self.leader);
        let catalogue = cluster.catalogue(1);
        self.cluster = Some(cluster);
        catalogue
    }

    fn reopen(&mut self, catalogue: Arc<dyn Catalogue>) -> Arc<dyn Catalogue> {
        drop(catalogue);
        let cluster = self.cluster.as_mut().unwrap();
        cluster.kill(1);
        cluster.start(1).unwrap();
        cluster.lead(self.leader);
        let catalogue = cluster.catalogue(1);
        catalogue.catch_up().unwrap();
        catalogue
    }

    fn histories(&self) -> u32 {
        3
    }
}

#[test]
fn a_leader_does_what_every_catalogue_must() {
    conformance::run(&mut OfThree::led_by(1));
}

#[test]
fn a_follower_does_what_every_catalogue_must() {
    conformance::run(&mut OfThree::led_by(2));
}

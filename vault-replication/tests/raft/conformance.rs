//! The catalogue's whole suite over a cluster of three, on the leader and through a follower.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gophership_catalogue::conformance::{self, Fixture};
use gophership_catalogue::{Catalogue, CatalogueError, Reply, Request, State};
use gophership_vault::Identity;
use gophership_vault_replication::consensus::testkit::Cluster;

/// A catalogue over Raft whose commands are submitted again where it is not known what became of them, as on a machine
/// on which a leader is not heard in time.
#[derive(Debug)]
struct Patient(Arc<dyn Catalogue>);

impl Patient {
    fn asked<T>(&self, ask: impl Fn(&dyn Catalogue) -> Result<T, CatalogueError>) -> Result<T, CatalogueError> {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            match ask(&*self.0) {
                Err(CatalogueError::Unknown { .. } | CatalogueError::NoLeader { .. }) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(20));
                }
                answer => return answer,
            }
        }
    }
}

impl Catalogue for Patient {
    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn commit(&self, request: Request) -> Result<Reply, CatalogueError> {
        self.asked(|catalogue| catalogue.commit(request.clone()))
    }

    fn view(&self, f: &mut dyn FnMut(&State)) {
        self.0.view(f);
    }

    fn catch_up(&self) -> Result<(), CatalogueError> {
        self.asked(|catalogue| catalogue.catch_up())
    }
}

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
        let catalogue = Patient(cluster.catalogue(1));
        self.cluster = Some(cluster);
        Arc::new(catalogue)
    }

    fn reopen(&mut self, catalogue: Arc<dyn Catalogue>) -> Arc<dyn Catalogue> {
        drop(catalogue);
        let cluster = self.cluster.as_mut().unwrap();
        cluster.kill(1);
        cluster.start(1).unwrap();
        cluster.lead(self.leader);
        let catalogue = Patient(cluster.catalogue(1));
        catalogue.catch_up().unwrap();
        Arc::new(catalogue)
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

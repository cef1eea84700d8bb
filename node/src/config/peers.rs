//! Reading of the list `cluster.peers`.
//!
//! **Owns**: the rules of one peer and between peers.
//!
//! **Invariants**:
//! - I1: as in `reader.rs`, a fault never ends the reading, and no rule is applied to a value with a fault.
//!
//! **Not here**: the keys (`keys.rs`); the rules between the list and other keys (`check.rs`).

use rustls_pki_types::DnsName;

use super::bounds;
use super::cluster::ClusterPeer;
use super::fault::{Origin, Place, Problem};
use super::keys::{PEER_KEYS, PEERS};
use super::reader::Reader;
use super::tree::{Tree, Value};

/// The name that the certificates of all nodes have beside their own.
const NOBODYS_NAME: &str = "localhost";

impl Reader<'_> {
    /// Reads the whole list. A list with a fault is remembered as faulty.
    pub(super) fn peers(&mut self, tree: &Tree) {
        let faults = self.faults.len();
        self.read_peers(tree);
        if self.faults.len() > faults {
            self.set_faulty(PEERS);
        }
    }

    fn read_peers(&mut self, tree: &Tree) {
        let elements = match &tree.value {
            Value::Null => return,
            Value::List(elements) => elements,
            Value::Text(_) | Value::Map(_) => {
                let accepted = "a list, each element a mapping with name and address".into();
                return self.fault_in_file(PEERS, tree.place, Problem::NotAList { accepted });
            }
        };
        if elements.len() > bounds::PEERS_MAX {
            let (found, limit) = (elements.len(), bounds::PEERS_MAX);
            self.fault_in_file(PEERS, tree.place, Problem::TooManyElements { found, limit });
        }
        let mut peers = Vec::new();
        for (at, element) in elements.iter().take(bounds::PEERS_MAX).enumerate() {
            self.peer(&format!("{PEERS}[{at}]"), element, &mut peers);
        }
        self.config.cluster.get_or_insert_default().peers = peers;
    }

    fn peer(&mut self, path: &str, tree: &Tree, peers: &mut Vec<ClusterPeer>) {
        let mut peer = ClusterPeer::default();
        let Some(level) = self.mapping(path, tree, PEER_KEYS, &[], &mut peer) else {
            return;
        };
        for key in PEER_KEYS {
            if level.place_of(key.path).is_none() {
                self.missing(&format!("{path}.{}", key.path), tree.place, key.field.accepted());
            }
        }
        if let Some(place) = level.good("name") {
            self.peer_name(&format!("{path}.name"), place, &peer.name, peers);
        }
        let other = peers.iter().position(|other| other.address == peer.address);
        if let (Some(place), Some(at)) = (level.good("address"), other) {
            let problem = Problem::PeerAddressTaken {
                other: format!("{PEERS}[{at}]"),
            };
            self.fault(
                &format!("{path}.address"),
                Origin::File(place),
                Some(&peer.address),
                problem,
            );
        }
        peers.push(peer);
    }

    fn peer_name(&mut self, path: &str, place: Place, name: &str, peers: &[ClusterPeer]) {
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        let other = peers.iter().position(|other| other.name.eq_ignore_ascii_case(name));
        let problem = if is_address || name.eq_ignore_ascii_case(NOBODYS_NAME) || DnsName::try_from(name).is_err() {
            let accepted = "a name that a certificate can carry for one node: a DNS name, not localhost".into();
            Problem::NotAccepted { accepted }
        } else if let Some(at) = other {
            Problem::NameTaken {
                other: format!("{PEERS}[{at}]"),
            }
        } else {
            return;
        };
        self.fault(path, Origin::File(place), Some(name), problem);
    }
}

//! Who is who on the peers' port: this node, its peers by name, and what every call says of its caller.
//!
//! A call carries the cluster, the caller's name and number, and the number of the node that it is meant for. With TLS
//! the name must be the one in the certificate of the connection.
//!
//! **Owns**: the list of peers.
//!
//! **Invariants**:
//! - I1: only a name of the list is let in, by a certificate that has this one name of the list and no other.
//! - I2: a name speaks for its own number only; while it has none on record, for none that another name has.
//! - I3: a call of another cluster, or that was meant for another node, is refused before it is read.
//!
//! **Not here**: TLS itself (`tls.rs`); the authorities that certificates are of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use gophership_vault::ids::{ClusterId, Epoch, NodeId};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status};
use uuid::Uuid;
use x509_parser::extensions::GeneralName;

use super::tls::PeerSecurity;

const CLUSTER: &str = "gs-cluster";
const FROM_NAME: &str = "gs-from-name";
const FROM_NODE: &str = "gs-from-node";
const TO_NODE: &str = "gs-to-node";

/// Every certificate that `gophership certs` makes for a node has this name too, so it is nobody's.
const NOBODYS_NAME: &str = "localhost";

/// This node, as its peers know it.
#[derive(Debug)]
pub struct LocalNode {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// Its name, which its certificate has.
    pub name: String,
    /// New at each start of the process.
    pub boot: Uuid,
    epoch: AtomicU64,
}

impl LocalNode {
    /// A node that has no epoch yet.
    pub fn new(cluster: ClusterId, node: NodeId, name: &str, boot: Uuid) -> Self {
        Self {
            cluster,
            node,
            name: name.to_owned(),
            boot,
            epoch: AtomicU64::new(0),
        }
    }

    /// Notes the epoch that the catalogue granted.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.get(), Ordering::Release);
    }

    /// Its epoch; `None` while it has none.
    pub fn epoch(&self) -> Option<Epoch> {
        Epoch::new(self.epoch.load(Ordering::Acquire))
    }

    /// A call to the node `to`.
    pub(super) fn call<T>(&self, to: NodeId, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        let texts = [
            (CLUSTER, self.cluster.0.to_string()),
            (FROM_NAME, self.name.clone()),
            (FROM_NODE, self.node.to_string()),
            (TO_NODE, to.to_string()),
        ];
        for (key, text) in texts {
            // A name that metadata cannot carry is left out, and the peer says so.
            if let Ok(text) = MetadataValue::try_from(text) {
                metadata.insert(key, text);
            }
        }
        request
    }
}

/// The peers that are let in, by name, each with its number where it has one on record.
#[derive(Debug, Default)]
pub struct PeerList(RwLock<BTreeMap<String, Option<NodeId>>>);

impl PeerList {
    /// A list of these.
    pub fn new(peers: impl IntoIterator<Item = (String, Option<NodeId>)>) -> Self {
        let list = Self::default();
        list.replace(peers);
        list
    }

    /// Puts these in the place of all that are in the list. Calls that come later go by them.
    pub fn replace(&self, peers: impl IntoIterator<Item = (String, Option<NodeId>)>) {
        let named = peers.into_iter().map(|(name, node)| (name.to_ascii_lowercase(), node));
        let named = named.filter(|(name, _)| name != NOBODYS_NAME).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// The one name of the list that a certificate is for.
    ///
    /// # Errors
    /// It cannot be read, or carries none of the names, or several.
    pub fn named_by(&self, certificate: &[u8]) -> Result<String, String> {
        self.one_of(&names_of(certificate)?)
    }

    /// The one name of the list that is among these.
    ///
    /// # Errors
    /// None or several of them are in the list.
    pub(crate) fn one_of(&self, names: &[String]) -> Result<String, String> {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_list: Vec<&String> = names.iter().filter(|name| list.contains_key(*name)).collect();
        of_list.dedup();
        match of_list.as_slice() {
            [name] => Ok((*name).clone()),
            [] => Err(format!("none of the names {names:?} is that of a peer")),
            _ => Err(format!("a certificate names one node, and this one names {of_list:?}")),
        }
    }

    /// Says that the name is in the list.
    pub(crate) fn has(&self, name: &str) -> bool {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        list.contains_key(&name.to_ascii_lowercase())
    }

    /// Says that `name` may speak for `node`.
    fn may_speak(&self, name: &str, node: NodeId) -> Result<(), String> {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match list.get(name) {
            None => Err(format!("{name} is not in the list of peers")),
            Some(Some(own)) if *own == node => Ok(()),
            Some(Some(own)) => Err(format!("{name} is node {own}, and speaks for node {node}")),
            Some(None) if list.values().any(|other| *other == Some(node)) => {
                Err(format!("{name} speaks for node {node}, which has another name"))
            }
            Some(None) => Ok(()),
        }
    }
}

/// What a connection needs to know of either end.
pub(crate) trait Ends: Send + Sync + 'static {
    /// The peers that are let in.
    fn list(&self) -> &PeerList;
    /// Certificates.
    fn security(&self) -> &PeerSecurity;
}

/// The names of hosts that a certificate is for, without doubles.
fn names_of(certificate: &[u8]) -> Result<Vec<String>, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
    let names = parsed.subject_alternative_name().map_err(|e| e.to_string())?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let mut names: Vec<String> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            // A node is named as a host is.
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The caller of a call, of which the connection's certificate, the list and the call itself say the same.
pub(super) fn caller(
    local: &LocalNode,
    list: &PeerList,
    certified: Option<&str>,
    metadata: &MetadataMap,
) -> Result<NodeId, Status> {
    let refused = |why: String| Status::permission_denied(why);
    let text = |key: &str| {
        let text = metadata.get(key).and_then(|text| text.to_str().ok());
        text.ok_or_else(|| refused(format!("a call of a peer says {key}, and this one does not")))
    };
    let node = |key: &str| {
        let node = text(key)?.parse().ok().and_then(NodeId::new);
        node.ok_or_else(|| refused(format!("{key} is no node")))
    };
    if text(CLUSTER)?.parse().ok() != Some(local.cluster.0) {
        return Err(refused(format!("this is a node of cluster {}", local.cluster.0)));
    }
    let (from, to) = (node(FROM_NODE)?, node(TO_NODE)?);
    if to != local.node || from == local.node {
        return Err(refused(format!("this is node {}", local.node)));
    }
    let name = text(FROM_NAME)?.to_ascii_lowercase();
    if certified.is_some_and(|certified| certified != name) {
        return Err(refused(format!("the certificate is not that of {name}")));
    }
    list.may_speak(&name, from).map_err(refused)?;
    Ok(from)
}

#[cfg(test)]
mod tests;

//! The store that all clusters share.

use std::collections::{BTreeMap, BTreeSet};

use gophership_archiver::store::{ObjectName, manifest_key};
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState};
use gophership_vault::ids::NodeId;
use uuid::Uuid;

use super::cluster::Cluster;
use crate::content::CLUSTER;

/// A marker of a restore.
pub(crate) struct Marker {
    pub(crate) restore: Uuid,
    /// The step at which it was put.
    pub(crate) at: u64,
}

/// A manifest in the store.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) prev: [u8; 32],
    pub(crate) hash: [u8; 32],
    pub(crate) objects: Vec<(LeaseNumber, ArchiveObject)>,
}

/// A thing that is done to the store.
#[derive(Clone)]
pub(crate) enum Write {
    Object {
        key: String,
        bytes: Vec<u8>,
        lease: LeaseNumber,
        object: ArchiveObject,
    },
    Manifest(Box<Stored>),
    Delete(String),
}

/// The store, and what was done to it.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) now: u64,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Lease and record of each object that was put, by its name.
    pub(crate) of: BTreeMap<String, (LeaseNumber, ArchiveObject)>,
    pub(crate) manifests: BTreeMap<String, Stored>,
    pub(crate) markers: BTreeMap<u32, Marker>,
    /// Writes of processes that have ended, which arrive some time.
    pub(crate) late: Vec<Write>,
    pub(crate) deleted: u64,
    /// The cluster that has put objects of a node.
    nodes: BTreeMap<NodeId, u32>,
    /// A rule that was seen to be broken.
    pub(crate) wrong: Option<String>,
}

impl Shared {
    /// Does it. False where something else is there.
    pub(crate) fn arrive(&mut self, write: Write) -> bool {
        match write {
            Write::Object {
                key,
                bytes,
                lease,
                object,
            } => {
                if let Some(there) = self.objects.get(&key) {
                    return *there == bytes;
                }
                self.objects.insert(key.clone(), bytes);
                self.of.insert(key, (lease, object));
                true
            }
            Write::Manifest(manifest) => {
                let key = manifest_key(CLUSTER, manifest.seq, &manifest.hash);
                self.manifests.entry(key).or_insert(*manifest);
                true
            }
            Write::Delete(key) => {
                self.deleted += u64::from(self.objects.remove(&key).is_some());
                true
            }
        }
    }

    /// Notes which cluster archives segments of a node.
    pub(crate) fn note_node(&mut self, node: NodeId, generation: u32) {
        let known = *self.nodes.entry(node).or_insert(generation);
        if known != generation {
            self.wrong = Some(format!("clusters {known} and {generation} both have a node {node}"));
        }
    }

    /// Notes what a cluster does, which it had looked for at a step.
    pub(crate) fn note_deed(&mut self, what: &str, generation: u32, looked_at: u64) {
        let next = self.markers.get(&(generation + 1));
        if next.is_some_and(|marker| marker.at < looked_at) {
            self.wrong = Some(format!("cluster {generation} was superseded, and begins to {what}"));
        }
    }

    pub(crate) fn is_superseded(&self, generation: u32) -> bool {
        self.markers.contains_key(&(generation + 1))
    }

    pub(crate) fn newest_manifest(&self) -> u64 {
        self.manifests.values().map(|manifest| manifest.seq).max().unwrap_or(0)
    }

    /// Checks that the manifests of a cluster are a chain, and that they, or others of their numbers, list all that it
    /// has as listed.
    pub(crate) fn check_chain(&self, cluster: &Cluster) -> Result<(), String> {
        let (head, name) = (cluster.state.manifest_head(), cluster.generation);
        let (mut seq, mut hash) = (head.seq, head.hash);
        while seq > 0 {
            let found = self.manifests.get(&manifest_key(CLUSTER, seq, &hash));
            let found = found.ok_or_else(|| format!("manifest {seq} of cluster {name} is not in the store"))?;
            (seq, hash) = (seq - 1, found.prev);
        }
        if hash != [0; 32] {
            return Err(format!("the chain of cluster {name} does not begin with the first"));
        }
        if cluster.state.is_being_restored() {
            return Ok(());
        }
        let up_to = self.manifests.values().filter(|manifest| manifest.seq <= head.seq);
        let listed: BTreeSet<_> = up_to
            .flat_map(|manifest| manifest.objects.iter().map(|(lease, _)| *lease))
            .collect();
        for (lease, object) in cluster.state.archive_objects() {
            if matches!(object.state, ObjectState::Listed { .. }) && !listed.contains(&lease) {
                return Err(format!(
                    "no manifest up to the newest of cluster {name} lists lease {lease}"
                ));
            }
        }
        Ok(())
    }

    /// The highest node in the names of objects and, beside that, in manifests.
    pub(crate) fn highest_node(&self, with_unlisted: bool) -> u32 {
        let listed = self.manifests.values().flat_map(|manifest| &manifest.objects);
        let listed = listed.map(|(_, object)| object.members[0].node.get());
        let names = self.objects.keys().filter(|_| with_unlisted);
        let names = names.filter_map(|key| Some(ObjectName::parse(key)?.node.get()));
        listed.chain(names).max().unwrap_or(0)
    }
}

//! What a cluster has in a store, by the names of its objects alone: the numbers that must never be given again.

use futures_util::StreamExt;
use gophership_vault::ids::{ClusterId, NodeId};

use super::scan::scan;
use crate::store::{ObjectName, StoreError, StoreReader};

use super::chain::ContentsFault;

/// The names of a cluster's objects, listed or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// The number of objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The highest node; `None` where there is no object.
    pub node: Option<NodeId>,
    /// The highest lease; 0 where there is no object.
    pub lease: u64,
}

impl Survey {
    /// Counts an object.
    pub fn add(&mut self, name: &ObjectName, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.saw(name);
    }

    /// Notes the numbers in a name.
    pub fn saw(&mut self, name: &ObjectName) {
        self.node = self.node.max(Some(name.node));
        self.lease = self.lease.max(name.lease);
    }
}

/// Reads the names of all objects of a cluster.
///
/// # Errors
///
/// The store does not list them all.
pub async fn survey(store: &StoreReader, cluster: ClusterId) -> Result<Survey, StoreError> {
    let mut found = std::pin::pin!(scan(store));
    let mut survey = Survey::default();
    while let Some(object) = found.next().await {
        match object {
            Ok(object) => {
                let name = ObjectName::parse(&object.key).filter(|name| name.is_of(cluster));
                if let Some(name) = name {
                    survey.add(&name, object.bytes);
                }
            }
            Err(ContentsFault::Listing(error)) => return Err(error),
            Err(_) => unreachable!("a scan reads no manifest"),
        }
    }
    Ok(survey)
}

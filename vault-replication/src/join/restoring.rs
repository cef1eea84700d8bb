//! The wish to restore an archive into the cluster that begins, as a message and as it is kept with an invitation.
//!
//! **Invariants**:
//! - I1: what is read is a value that its type allows, or an error.

use gophership_catalogue::limits::SETTING_URL_BYTES_MAX;
use gophership_catalogue::restore::RestoreOrigin;
use gophership_proto::control::v1;
use gophership_vault::ids::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::peer::wire::{Wire, WireError, at_most};

/// An archive that the cluster which begins takes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restoring {
    /// The cluster of the archive, whose id the new one has.
    pub cluster: ClusterId,
    /// The rest.
    pub origin: RestoreOrigin,
}

impl Restoring {
    /// Reads an operator's message.
    ///
    /// # Errors
    /// A field is missing, or is no value of its kind.
    pub fn read(of: &v1::RestoreOrigin) -> Result<Self, WireError> {
        let id = |what, text: &str| -> Wire<Uuid> { text.parse().map_err(|_| WireError::Missing(what)) };
        at_most(
            "the URL of an archive",
            of.url.len() as u64,
            SETTING_URL_BYTES_MAX as u64,
        )?;
        Ok(Self {
            cluster: ClusterId(id("the id of a cluster", &of.cluster_id)?),
            origin: RestoreOrigin {
                id: id("the id of a restore", &of.restore_id)?,
                store: id("the id of a store", &of.store_id)?,
                url: of.url.clone(),
                first_node: NodeId::new(of.first_node).ok_or(WireError::Missing("the first node"))?,
                generation: of.generation,
            },
        })
    }

    /// The message for an operator.
    pub fn write(&self) -> v1::RestoreOrigin {
        let origin = &self.origin;
        v1::RestoreOrigin {
            cluster_id: self.cluster.0.to_string(),
            restore_id: origin.id.to_string(),
            store_id: origin.store.to_string(),
            url: origin.url.clone(),
            first_node: origin.first_node.get(),
            generation: origin.generation,
        }
    }
}

/// The form in the file of an invitation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredOrigin {
    id: Uuid,
    store_id: Uuid,
    url: String,
    first_node: NodeId,
    generation: u32,
}

impl StoredOrigin {
    pub(super) fn of(origin: &RestoreOrigin) -> Self {
        Self {
            id: origin.id,
            store_id: origin.store,
            url: origin.url.clone(),
            first_node: origin.first_node,
            generation: origin.generation,
        }
    }

    pub(super) fn origin(self) -> RestoreOrigin {
        RestoreOrigin {
            id: self.id,
            store: self.store_id,
            url: self.url,
            first_node: self.first_node,
            generation: self.generation,
        }
    }
}

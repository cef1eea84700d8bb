//! The values of provisioning and joining as messages, and back.
//!
//! **Invariants**:
//! - I1: what is read is a value that its type allows, or an error.

use gophership_catalogue::limits::SETTING_URL_BYTES_MAX;
use gophership_catalogue::restore::RestoreOrigin;
use gophership_proto::peer::v1;
use gophership_vault::ids::{ClusterId, NodeId};

use super::invitation::Invitation;
use super::plan::{Provisioned, Standing, Who};
use super::restoring::Restoring;
use crate::peer::limits::NAME_BYTES_MAX;
use crate::peer::wire::{Wire, WireError, at_most, node, uuid, uuid_bytes};

fn name(text: String) -> Wire<String> {
    at_most("a node's name", text.len() as u64, NAME_BYTES_MAX as u64)?;
    Ok(text)
}

pub(super) fn cluster(bytes: &[u8]) -> Wire<ClusterId> {
    uuid("a cluster's id", bytes).map(ClusterId)
}

pub(super) fn write_invitation(of: &Invitation) -> v1::Invitation {
    v1::Invitation {
        cluster_id: uuid_bytes(of.cluster.0),
        request: uuid_bytes(of.request),
        first: of.first.clone(),
    }
}

pub(super) fn read_invitation(of: v1::Invitation) -> Wire<Invitation> {
    Ok(Invitation {
        cluster: cluster(&of.cluster_id)?,
        request: uuid("a request", &of.request)?,
        first: name(of.first)?,
        restore: None,
    })
}

pub(super) fn write_restoring(of: &Restoring) -> v1::RestoreOrigin {
    let origin = &of.origin;
    v1::RestoreOrigin {
        cluster_id: uuid_bytes(of.cluster.0),
        restore_id: uuid_bytes(origin.id),
        store_id: uuid_bytes(origin.store),
        url: origin.url.clone(),
        first_node: origin.first_node.get(),
        generation: origin.generation,
    }
}

pub(super) fn read_restoring(of: v1::RestoreOrigin) -> Wire<Restoring> {
    at_most(
        "the URL of an archive",
        of.url.len() as u64,
        SETTING_URL_BYTES_MAX as u64,
    )?;
    Ok(Restoring {
        cluster: cluster(&of.cluster_id)?,
        origin: RestoreOrigin {
            id: uuid("a restore", &of.restore_id)?,
            store: uuid("a store", &of.store_id)?,
            url: of.url,
            first_node: node("the first node", of.first_node)?,
            generation: of.generation,
        },
    })
}

pub(super) fn write_who(of: &Who) -> v1::WhoResponse {
    let (standing, at) = match of.standing {
        Standing::Empty => (v1::Standing::Empty, None),
        Standing::Single { cluster, node } => (v1::Standing::Single, Some((cluster, node))),
        Standing::Member { cluster, node } => (v1::Standing::Member, Some((cluster, node))),
    };
    v1::WhoResponse {
        standing: standing.into(),
        cluster_id: at.map(|(cluster, _)| uuid_bytes(cluster.0)).unwrap_or_default(),
        node: at.map_or(0, |(_, node)| node.get()),
        invitation: of.invitation.as_ref().map(write_invitation),
        caller: of.caller.map_or(0, NodeId::get),
        removed: of.removed.map_or(0, NodeId::get),
    }
}

pub(super) fn read_who(of: v1::WhoResponse) -> Wire<Who> {
    let at = || Ok::<_, WireError>((cluster(&of.cluster_id)?, node("a node", of.node)?));
    let standing = match of.standing() {
        v1::Standing::Unspecified => return Err(WireError::Missing("what the node is")),
        v1::Standing::Empty => Standing::Empty,
        v1::Standing::Single => at().map(|(cluster, node)| Standing::Single { cluster, node })?,
        v1::Standing::Member => at().map(|(cluster, node)| Standing::Member { cluster, node })?,
    };
    Ok(Who {
        standing,
        invitation: of.invitation.map(read_invitation).transpose()?,
        caller: NodeId::new(of.caller),
        removed: NodeId::new(of.removed),
    })
}

pub(super) fn write_provisioned(of: &Provisioned) -> v1::ProvisionResponse {
    v1::ProvisionResponse {
        cluster_id: uuid_bytes(of.cluster.0),
        first: of.first.clone(),
        already: of.already,
    }
}

pub(super) fn read_provisioned(of: v1::ProvisionResponse) -> Wire<Provisioned> {
    Ok(Provisioned {
        cluster: cluster(&of.cluster_id)?,
        first: name(of.first)?,
        already: of.already,
    })
}

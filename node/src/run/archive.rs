//! The archiver, which goes on with what an earlier boot left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gophership_catalogue::Catalogue;
use gophership_somatic::Throttle;
use gophership_vault::Vault;
use gophership_vault::ids::NodeId;

use crate::archive::{ArchiveParts, Archiver};
use crate::cluster::Member;
use crate::settings::Settings;

pub(super) fn start(
    settings: &Arc<Settings>,
    vault: &Vault,
    catalogue: &Arc<dyn Catalogue>,
    throttle: &Throttle,
    member: Option<&Member>,
) -> anyhow::Result<Archiver> {
    let heartbeats = member.map(|member| Arc::clone(&member.quorum.heartbeats));
    let is_dead = move |node: NodeId| {
        heartbeats
            .as_ref()
            .is_some_and(|heartbeats| heartbeats.is_dead(node, Duration::MAX))
    };
    let archiver = Archiver::start(ArchiveParts {
        catalogue: Arc::clone(catalogue),
        vault: vault.clone(),
        settings: Arc::clone(settings),
        throttle: throttle.clone(),
        is_dead: Box::new(is_dead),
    });
    archiver.context("cannot start the thread that archives")
}

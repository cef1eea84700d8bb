//! The standing tasks of a member.
//!
//! **Invariants**:
//! - I1: a node whose name has another number on record, or that was removed, does not start.
//! - I2: one that learns it while it runs takes nothing more, and says why.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, Disposition, Refusal};
use gophership_vault::ids::NodeId;
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::join::{JoinSetup, known_peers};
use gophership_vault_replication::peer::PeerSetup;
use tokio::sync::watch;

use super::awaited::{Awaited, contradicted_by_peers};
use crate::peers::Quorum;

/// Interval at which peers and consensus are made to follow the catalogue.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Puts the facts of this node on record, as soon as the cluster can take them. What the other nodes answer is heard
/// meanwhile: members do not talk to a node whose name has moved, which therefore hears of no refusal.
///
/// # Errors
///
/// The node has another number on record: its name has moved to a storage that joined in its place, or another node
/// has it. Or its folder is of another cluster than most others', or it takes part in the cluster no more.
pub async fn describe(
    catalogue: &Arc<RaftCatalogue>,
    setup: &Arc<JoinSetup>,
    failure_domain: &str,
    awaited: &Awaited,
) -> anyhow::Result<()> {
    tokio::select! {
        described = put_on_record(catalogue, setup, failure_domain) => described,
        why = awaited.contradicted() => bail!(why),
    }
}

async fn put_on_record(
    catalogue: &Arc<RaftCatalogue>,
    setup: &Arc<JoinSetup>,
    failure_domain: &str,
) -> anyhow::Result<()> {
    let node = catalogue.identity().node_id;
    if let Some(refusal) = gone_on_record(catalogue) {
        return Err(refusal.into());
    }
    let address = setup.own().map(|own| own.address.clone()).unwrap_or_default();
    loop {
        let command = Command::DescribeNode {
            node,
            name: setup.name.clone(),
            address: address.clone(),
            failure_domain: failure_domain.to_owned(),
            replaces: None,
        };
        let asked = Arc::clone(catalogue);
        let done = tokio::task::spawn_blocking(move || asked.submit(Actor::Node, command));
        match done.await.context("describing the node panicked")? {
            Ok(_) => return Ok(()),
            Err(CatalogueError::Refused(refusal)) => return Err(refusal.into()),
            Err(error) if matches!(error.disposition(), Disposition::Fatal | Disposition::Corrupt) => {
                return Err(error.into());
            }
            Err(error) => tracing::info!(%error, "cluster.node.not_described"),
        }
        tokio::time::sleep(KEEP_INTERVAL).await;
    }
}

/// The reason for which this node never comes back under its number, by its record.
fn gone_on_record(catalogue: &RaftCatalogue) -> Option<Refusal> {
    let (node, mut moved_to) = (catalogue.identity().node_id, None);
    catalogue.view(&mut |state| moved_to = state.facts(node).and_then(|facts| facts.moved_to));
    match moved_to? {
        itself if itself == node => Some(Refusal::Removed { node }),
        moved_to => Some(Refusal::NameMoved { node, moved_to }),
    }
}

/// Finds out whether the node belongs to the cluster no more: by its own record, or by what its peers say where it
/// hears of no leader, since members do not tell it anything else any more.
async fn check_whether_gone(quorum: &Quorum, join: &Arc<JoinSetup>) {
    if quorum.gone().is_some() {
        return;
    }
    let why = match gone_on_record(&quorum.consensus) {
        Some(refusal) => Some(refusal.to_string()),
        None if quorum.leaderless().is_some() => contradicted_by_peers(join, quorum.consensus.identity()).await,
        None => None,
    };
    if let Some(why) = why {
        tracing::error!(error = why, "cluster.node.gone: it takes nothing more");
        quorum.gone.get_or_init(|| why);
    }
}

/// Lets the list of peers follow the catalogue, and on the leader the members of consensus, until `stopped`; and finds
/// out when the node belongs to the cluster no more.
pub async fn keep(quorum: Quorum, join: Arc<JoinSetup>, peers: Arc<PeerSetup>, mut stopped: watch::Receiver<bool>) {
    let mut failed = String::new();
    loop {
        check_whether_gone(&quorum, &join).await;
        let (quorum, join, peers) = (quorum.clone(), Arc::clone(&join), Arc::clone(&peers));
        let round = tokio::task::spawn_blocking(move || {
            let (catalogue, heartbeats) = (&quorum.consensus, &quorum.heartbeats);
            let mut known = Vec::new();
            let discovered = catalogue.discovered();
            catalogue.view(&mut |state| known = known_peers(&join.peers, state, &discovered));
            peers.list.replace(known);
            let number = |id| u32::try_from(id).ok().and_then(NodeId::new);
            let is_alive = |id| number(id).is_some_and(|node| heartbeats.is_alive(node));
            catalogue.tend(&is_alive).map_err(|e| e.to_string())
        });
        match round.await.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(true) => continue,
            Ok(false) => failed.clear(),
            Err(error) => {
                if error != failed {
                    tracing::warn!(error, "cluster.members.not_changed");
                    failed = error;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(KEEP_INTERVAL) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

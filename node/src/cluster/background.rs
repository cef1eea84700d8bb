//! The threads that work on a member's segments: they recover, fetch, repair, and follow the catalogue. They begin with
//! the vault, and end before consensus, since each may have something to put on record.

use std::sync::Arc;

use anyhow::Context;
use gophership_catalogue::Catalogue;
use gophership_vault::Vault;
use gophership_vault_replication::consensus::status::Role;
use gophership_vault_replication::peer::{Members, PeerClient};
use gophership_vault_replication::recovery::participant::Participant;
use gophership_vault_replication::recovery::parts::Parts;
use gophership_vault_replication::recovery::recoveries::Recoveries;
use gophership_vault_replication::recovery::refetch::Refetch;
use gophership_vault_replication::recovery::repair::{IsLongDead, Repair};
use gophership_vault_replication::recovery::upkeep::{Upkeep, UpkeepSetup};
use gophership_vault_replication::tail::streams::TailStreams;
use tokio::runtime::Handle;

use super::follow::Follower;
use crate::archive::pause::keeps;
use crate::peers::Quorum;

/// The parts of its member that the threads work with.
pub(super) struct BackgroundParts<'a> {
    pub(super) vault: &'a Vault,
    pub(super) quorum: &'a Quorum,
    pub(super) participant: Arc<Participant>,
    pub(super) streams: &'a Arc<TailStreams>,
    pub(super) client: PeerClient,
    pub(super) members: Members,
    pub(super) runtime: Handle,
}

/// The threads.
pub(super) struct Background {
    pub(super) recoveries: Arc<Recoveries>,
    refetch: Refetch,
    repair: Repair,
    upkeep: Upkeep,
    follower: Follower,
}

impl Background {
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(parts: BackgroundParts<'_>) -> anyhow::Result<Self> {
        let (vault, node) = (parts.vault, parts.vault.identity().node_id);
        let (consensus, heartbeats) = (&parts.quorum.consensus, &parts.quorum.heartbeats);
        let catalogue: Arc<dyn Catalogue> = Arc::clone(consensus) as _;
        let leads = || {
            let consensus = Arc::clone(consensus);
            Box::new(move || consensus.status().role == Role::Leader)
        };
        let clock_ns = || {
            let vault = vault.clone();
            Box::new(move || vault.clock_ns())
        };
        let refetch = Refetch::start(Arc::clone(&parts.participant)).context("cannot start the thread that fetches")?;
        let is_long_dead = || -> IsLongDead {
            let quorum = parts.quorum.clone();
            Arc::new(move |node| quorum.heartbeats.is_long_dead(node, quorum.repair_after()))
        };
        let repair = Repair::start(
            Arc::clone(&parts.participant),
            Arc::clone(&catalogue),
            {
                let quorum = parts.quorum.clone();
                Box::new(move || (quorum.replicas().into(), quorum.repair_after()))
            },
            is_long_dead(),
        );
        let heard = Arc::clone(heartbeats);
        let upkeep = Upkeep::start(UpkeepSetup {
            node,
            catalogue: Arc::clone(&catalogue),
            leads: leads(),
            is_alive: Arc::new(move |node| heard.is_alive(node)),
            clock_ns: clock_ns(),
            replicas: {
                let quorum = parts.quorum.clone();
                Box::new(move || quorum.replicas().into())
            },
            is_long_dead: is_long_dead(),
            retention: {
                let vault = vault.clone();
                Box::new(move || vault.retention())
            },
            keeps: Box::new(keeps),
        });
        let recoveries = Recoveries::start(Parts {
            node,
            catalogue,
            leads: leads(),
            client: parts.client,
            members: parts.members,
            heartbeats: Arc::clone(heartbeats),
            clock_ns: clock_ns(),
            local: parts.participant,
            runtime: parts.runtime,
        });
        let follower = Follower::start(Arc::clone(consensus), vault.clone(), Arc::clone(parts.streams));
        Ok(Self {
            refetch,
            repair: repair.context("cannot start the thread that repairs")?,
            upkeep: upkeep.context("cannot start the thread that takes care of copies")?,
            recoveries: Arc::new(recoveries.context("cannot start the thread of recoveries")?),
            follower: follower.context("cannot start the thread that follows the catalogue")?,
        })
    }

    /// Ends them, and waits until they have ended.
    pub(super) fn stop(self) {
        self.recoveries.stop();
        self.refetch.stop();
        self.repair.stop();
        self.upkeep.stop();
        self.follower.stop();
    }
}

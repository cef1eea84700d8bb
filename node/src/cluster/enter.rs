//! From a configuration with `cluster` and a data folder to a member of the cluster.
//!
//! A folder that belongs to the cluster is opened. Another one makes the node a candidate, which waits until it is
//! provisioned or admitted; meanwhile the peers' port answers the calls of joining.
//!
//! **Invariants**:
//! - I1: the folder is locked while the node waits, and a storage asks for one number only.
//! - I2: a folder is noted as the cluster's after its catalogue is there, so that a member's folder without a catalogue
//!   has lost it.
//!
//! **Not here**: the decisions of candidates (`vault-replication/src/join`); consensus itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use anyhow::{Context, bail};
use gophership_catalogue::local::make_restored;
use gophership_catalogue::{CatalogueError, LocalCatalogue};
use gophership_vault::ids::{ClusterId, NodeId};
use gophership_vault::{DataDir, Identity, OpenError};
use gophership_vault_replication::consensus::bootstrap::make_empty;
use gophership_vault_replication::consensus::network::PeerTransport;
use gophership_vault_replication::consensus::{RaftCatalogue, RaftConfig};
use gophership_vault_replication::join::{Candidate, Invitation, JoinPort, JoinService, JoinSetup, Settled, Standing};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::early::Early;
use crate::config::Config;

pub(super) const CATALOGUE: &str = "catalogue.redb";

/// A node that belongs to its cluster. Consensus has not begun here yet.
pub struct Membership {
    /// The data folder.
    pub data: DataDir,
    /// True on the first node, which begins the cluster where that is not done yet.
    pub begins: bool,
}

impl Membership {
    /// Opens the catalogue, takes part in consensus, and on the first node begins the cluster. It blocks.
    ///
    /// # Errors
    ///
    /// The file is damaged, of another storage, or older than what was promised by it; or the cluster could not begin.
    pub fn open_catalogue(
        &self,
        setup: &JoinSetup,
        transport: Arc<dyn PeerTransport>,
        runtime: &Handle,
    ) -> Result<RaftCatalogue, CatalogueError> {
        let config = RaftConfig::new(self.data.path().join(CATALOGUE), self.data.identity());
        let catalogue = RaftCatalogue::open(&config, transport, runtime)?;
        if let Some(own) = setup.own().filter(|_| self.begins) {
            catalogue.initialize(own.clone())?;
        }
        Ok(catalogue)
    }
}

/// The folder, or the question of an empty one for its identity.
enum Found {
    Folder(DataDir),
    Empty(Opening),
}

/// An empty folder that is being made: it is locked, and waits for its identity.
struct Opening {
    storage: Uuid,
    grant: mpsc::Sender<Settled>,
    done: tokio::task::JoinHandle<anyhow::Result<DataDir>>,
}

/// Ends once the node belongs to its cluster. `early` shows what it waits for. Dropping the future gives the wait up.
///
/// # Errors
///
/// The folder belongs elsewhere, or has data of its own while the others have a cluster; a port or a file cannot be
/// used.
pub async fn enter(config: &Config, early: &Early, listener: &TcpListener) -> anyhow::Result<Membership> {
    let (folder, setup) = (config.node.data_dir.clone(), &early.setup);
    let (data, standing, opening) = match find(config, setup).await? {
        Found::Folder(data) if data.cluster().is_some() => {
            let membership = member(data, early)?;
            early.listen(&folder)?;
            return Ok(membership);
        }
        Found::Folder(data) => {
            let Identity {
                cluster_id: cluster,
                node_id: node,
                ..
            } = data.identity();
            check_catalogue(data.path().join(CATALOGUE), data.identity()).await?;
            (Some(data), Standing::Single { cluster, node }, None)
        }
        Found::Empty(opening) => (None, Standing::Empty, Some(opening)),
    };
    let storage = match (&data, &opening) {
        (Some(data), _) => data.identity().storage_uuid,
        (None, Some(opening)) => opening.storage,
        (None, None) => unreachable!("a folder is there or is being made"),
    };
    let candidate = Candidate::new(Arc::clone(setup), folder.clone(), standing, config.failure_domain())?;
    early.awaited.set_candidate(Arc::clone(&candidate));
    early.listen(&folder)?;
    tracing::warn!(
        cluster = setup.cluster,
        "cluster.membership.none: run gs-ctl cluster provision on one node; to bring back what a lost cluster has \
         archived, with --restore-from and the archive's URL"
    );
    let settled = serve(&candidate, setup, listener, storage).await?;
    match (data, opening) {
        (Some(mut data), _) => {
            data.enter_cluster(&setup.cluster)?;
            member(data, early)
        }
        (None, Some(opening)) => {
            if opening.grant.send(settled).is_err() {
                tracing::debug!("cluster.folder.gone");
            }
            member(opening.done.await.context("making the data folder panicked")??, early)
        }
        (None, None) => unreachable!("a folder is there or is being made"),
    }
}

/// Serves a candidate until it is settled.
async fn serve(
    candidate: &Arc<Candidate>,
    setup: &Arc<JoinSetup>,
    listener: &TcpListener,
    storage: Uuid,
) -> anyhow::Result<Settled> {
    let service = JoinService::new(Arc::clone(setup), Arc::clone(candidate) as _);
    let listener = listener.try_clone().context("listeners.peer.address")?;
    let port = JoinPort::start(listener, Arc::clone(setup), service).context("listeners.peer")?;
    let settled = candidate.settle(storage).await;
    port.stop().await;
    Ok(settled?)
}

/// The member whose folder this is.
fn member(data: DataDir, early: &Early) -> anyhow::Result<Membership> {
    let (path, identity, setup) = (data.path(), data.identity(), &early.setup);
    let invitation = Invitation::load(path, &setup.cluster)?;
    let begins =
        invitation.is_some_and(|i| i.first.eq_ignore_ascii_case(&setup.name) && i.cluster == identity.cluster_id);
    let catalogue = path.join(CATALOGUE);
    if !catalogue.exists() {
        bail!(catalogue_is_gone(&catalogue));
    }
    early.awaited.set_member(identity);
    Ok(Membership { data, begins })
}

/// The error of a member whose catalogue is missing.
pub(super) fn catalogue_is_gone(catalogue: &Path) -> String {
    format!(
        "{} is gone, and this node may have promised by it: put it back, or, where a majority of the others runs, \
         start with an empty node.data_dir, with which the node joins anew",
        catalogue.display()
    )
}

/// Opens the folder. An empty one is made on a thread that waits for its identity.
async fn find(config: &Config, setup: &Arc<JoinSetup>) -> anyhow::Result<Found> {
    let (ask, asked) = oneshot::channel();
    let (grant, granted) = mpsc::channel();
    let (path, any_filesystem) = (config.node.data_dir.clone(), config.vault.any_filesystem);
    let (name, cluster) = (setup.cluster.clone(), setup.cluster.clone());
    let mut done = tokio::task::spawn_blocking(move || {
        let admit = |storage| {
            let gone = || OpenError::NotAdmitted {
                why: "the node stops, and was neither provisioned nor admitted".to_owned(),
            };
            ask.send(storage).map_err(|_| gone())?;
            let settled = granted.recv().map_err(|_| gone())?;
            make_catalogue(&path, &cluster, storage, settled)
        };
        Ok(DataDir::open_in_cluster(&path, any_filesystem, &name, admit)?)
    });
    tokio::select! {
        opened = &mut done => Ok(Found::Folder(opened.context("opening the data folder panicked")??)),
        Ok(storage) = asked => Ok(Found::Empty(Opening { storage, grant, done })),
    }
}

/// Makes the catalogue of a node that is settled: that of a first node knows itself, and the archive that its cluster
/// is to take in; that of another is empty.
fn make_catalogue(
    folder: &Path,
    name: &str,
    storage: Uuid,
    settled: Settled,
) -> Result<(ClusterId, NodeId), OpenError> {
    let (Settled::First { cluster, node } | Settled::Joined { cluster, node }) = settled;
    let not_admitted = |why: String| OpenError::NotAdmitted { why };
    let invitation = Invitation::load(folder, name).map_err(|e| not_admitted(e.to_string()))?;
    let restore = invitation
        .filter(|kept| kept.cluster == cluster)
        .and_then(|kept| kept.restore);
    let identity = Identity {
        cluster_id: cluster,
        node_id: node,
        storage_uuid: storage,
    };
    let path = folder.join(CATALOGUE);
    let made = match (settled, restore) {
        (Settled::First { .. }, Some(origin)) => make_restored(&path, &identity, &origin),
        (Settled::First { .. }, None) => LocalCatalogue::open(&path, identity).map(drop),
        (Settled::Joined { .. }, _) => make_empty(&path, &identity),
    };
    made.map_err(|e| not_admitted(e.to_string()))?;
    Ok((cluster, node))
}

/// Checks that a single node's catalogue can be opened, as that node would.
async fn check_catalogue(path: PathBuf, identity: Identity) -> anyhow::Result<()> {
    let checked = tokio::task::spawn_blocking(move || LocalCatalogue::open(&path, identity).map(drop));
    Ok(checked.await.context("opening the catalogue panicked")??)
}

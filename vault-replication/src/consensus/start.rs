//! The start of a node's part in consensus: its catalogue opened, its disk measured, openraft and the tasks beside it
//! begun.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gophership_catalogue::CatalogueError;
use gophership_vault::Identity;
use openraft::{Config, SnapshotPolicy};

use super::compaction::LogLimits;
use super::core::{Core, stopped};
use super::limits::{ANSWER_TIMEOUT, APPEND_ENTRIES_MAX, ELECTION_TIMEOUT_FLOOR, SNAPSHOT_TIMEOUT_BASE};
use super::log_store::LogStore;
use super::network::{Network, PeerTransport};
use super::node::{RaftNode, fatal};
use super::raft_types::Raft;
use super::state_machine::StateMachine;
use super::timing::Timing;
use super::{compaction, election, vouch};

/// The inputs of a node's part.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// The path of `catalogue.redb`, which is there.
    pub path: PathBuf,
    /// The identity that it was made for.
    pub identity: Identity,
    /// The shortest election timeout wanted; a slow disk makes it longer.
    pub election_floor: Duration,
    /// The time after which a write is unknown, and a read index is given up.
    pub answer_timeout: Duration,
    /// The bounds at which the log is cut.
    pub log_limits: LogLimits,
}

impl RaftConfig {
    /// The usual times and bounds.
    pub fn new(path: PathBuf, identity: Identity) -> Self {
        Self {
            path,
            identity,
            election_floor: ELECTION_TIMEOUT_FLOOR,
            answer_timeout: ANSWER_TIMEOUT,
            log_limits: LogLimits::default(),
        }
    }
}

impl RaftNode {
    /// Opens the node's catalogue, measures its disk, and takes part.
    pub(crate) async fn start(
        config: &RaftConfig,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Arc<Self>, CatalogueError> {
        let (path, identity, floor) = (config.path.clone(), config.identity, config.election_floor);
        let opened = tokio::task::spawn_blocking(move || {
            let core = Core::open(&path, &identity)?;
            let timing = Timing::of(core.time_an_append()?, floor);
            Ok((core, timing))
        });
        let (core, timing) = opened.await.unwrap_or_else(|e| Err(stopped(&e.to_string())))?;
        let id = u64::from(config.identity.node_id.get());
        let network = Network {
            transport,
            core: Arc::clone(&core),
        };
        let raft = Raft::new(
            id,
            Arc::new(openraft_config(&timing)),
            network.clone(),
            LogStore(Arc::clone(&core)),
            StateMachine(Arc::clone(&core)),
        );
        let raft = raft.await.map_err(|e| fatal(&e))?;
        core.set_live();
        let node = Arc::new(Self {
            id,
            raft,
            core,
            network,
            timing,
            answer_timeout: config.answer_timeout,
            // As if it had heard one: a voter that has just started knows nothing, and lets others be.
            leader_heard: Mutex::new(Instant::now()),
            members_heard: Mutex::default(),
            discovered: Mutex::default(),
            writes: Mutex::default(),
            hands_over: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let tasks = vec![
            tokio::spawn(vouch::run(Arc::clone(&node))),
            tokio::spawn(election::run(Arc::clone(&node))),
            tokio::spawn(compaction::run(Arc::clone(&node), config.log_limits)),
        ];
        *node.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(node)
    }
}

fn openraft_config(timing: &Timing) -> Config {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX).max(1);
    let config = Config {
        cluster_name: "gophership".to_owned(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        install_snapshot_timeout: ms(SNAPSHOT_TIMEOUT_BASE),
        max_payload_entries: APPEND_ENTRIES_MAX,
        // `compaction.rs` decides when, and how much.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // `election.rs` decides when.
        enable_elect: false,
        ..Config::default()
    };
    config
        .validate()
        .expect("the times are in order, whatever was measured")
}

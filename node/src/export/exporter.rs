//! One exporter at work: a thread of its own with a lane for each shard of the node, or of a lost one.
//!
//! **Invariants**:
//! - I1: no part of an exporter waits for another exporter.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::FutureExt;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::Vault;
use gophership_vault::ids::NodeId;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::control::{Control, ControlReceiver};
use super::lane::{Lane, LaneParts};
use super::letter_store::LetterStore;
use super::limits::{LANE_PAUSE, NICE};
use super::status::{LaneState, Status};
use crate::buffer::{Budget, Slice};
use crate::config::Export;
use crate::replay::LostLogs;
use crate::sink::Sink;

/// The inputs of an exporter's thread.
pub(super) struct ExporterSetup {
    pub(super) config: Export,
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) letters: Arc<LetterStore>,
    pub(super) status: Arc<Status>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    pub(super) budget: Arc<Budget>,
    pub(super) max_message: usize,
    pub(super) control: watch::Receiver<Control>,
    /// The lost node whose logs are exported in its place. Without: this node's own logs are.
    pub(super) lost: Option<NodeId>,
    /// The reader of segments from all who hold them and from the archive; `None` on a single node without one.
    pub(super) logs: Option<LostLogs>,
}

/// Starts the thread.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn start(setup: ExporterSetup) -> io::Result<JoinHandle<()>> {
    // A thread's name has 15 bytes at most.
    let name: String = format!("exp-{}", setup.config.name).chars().take(15).collect();
    std::thread::Builder::new().name(name).spawn(move || {
        rank_lower();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(work(setup)),
            Err(error) => tracing::error!(exporter = setup.config.name, %error, "export.start.failed"),
        }
    })
}

async fn work(setup: ExporterSetup) {
    let parts = Rc::new(LaneParts {
        memory: setup.config.memory(setup.max_message as u64),
        name: setup.config.name,
        vault: setup.vault,
        catalogue: setup.catalogue,
        letters: setup.letters,
        status: Arc::clone(&setup.status),
        throttle: setup.throttle,
        zone: setup.zone,
        slice: Slice::new(setup.budget),
        batch_bytes: setup.config.batch_bytes as usize,
        max_message: setup.max_message,
        expire: setup.config.expire,
        lost: setup.lost,
        logs: setup.logs,
    });
    let target = Rc::new(setup.config.target);
    let mut lanes = tokio::task::JoinSet::new();
    for (shard, _) in setup.status.positions() {
        let (parts, target, control) = (Rc::clone(&parts), Rc::clone(&target), setup.control.clone());
        lanes.spawn_local(async move {
            let mut receiver = ControlReceiver::new(control);
            while let Some(position) = parts.status.position(shard).filter(|_| !receiver.now().stop) {
                let sink = match Sink::new(&target) {
                    Ok(sink) => sink,
                    // The sink was made once before; a file of its TLS may be gone since.
                    Err(error) => {
                        parts.status.waits(shard, Some(&error.to_string()));
                        parts.status.enter(shard, LaneState::Stopped, 0);
                        receiver.wait(LANE_PAUSE).await;
                        continue;
                    }
                };
                let lane = Lane::new(Rc::clone(&parts), shard, position, receiver.clone());
                // A fault of the program must not end a shard's export until the node is started again.
                if AssertUnwindSafe(lane.run(sink)).catch_unwind().await.is_ok() {
                    return;
                }
                tracing::error!(exporter = parts.name, %shard, "export.lane.panicked");
                let why = "its sender panicked, which is a fault of the program; it goes on where it was";
                parts.status.waits(shard, Some(why));
                parts.status.enter(shard, LaneState::Retrying, 0);
                receiver.wait(LANE_PAUSE).await;
            }
        });
    }
    while lanes.join_next().await.is_some() {}
}

/// Lowers the priority of this thread below that of threads before the ack.
fn rank_lower() {
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), NICE) {
        tracing::warn!(%error, "export.nice.refused");
    }
}

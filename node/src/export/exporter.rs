//! One exporter at work: a thread of its own with a lane for each shard.
//!
//! **Invariant.** I1: nothing of an exporter waits for another one.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use gophership_catalogue::LocalCatalogue;
use gophership_vault::Vault;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::lane::{Lane, LaneParts};
use super::limits::NICE;
use super::orders::{Ear, Orders};
use super::status::Status;
use crate::buffer::{Budget, Slice};
use crate::config::Export;
use crate::sink::Sink;
use crate::somatic::{Throttle, ZoneCell};

/// What an exporter's thread is given.
pub(super) struct ExporterSetup {
    pub(super) config: Export,
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<LocalCatalogue>,
    pub(super) status: Arc<Status>,
    pub(super) throttle: Throttle,
    pub(super) zone: Arc<ZoneCell>,
    pub(super) budget: Arc<Budget>,
    pub(super) max_message: usize,
    pub(super) orders: watch::Receiver<Orders>,
    /// One for each lane.
    pub(super) sinks: Vec<Sink>,
}

/// Starts the thread.
///
/// # Errors
/// The system gives none.
pub(super) fn start(setup: ExporterSetup) -> io::Result<JoinHandle<()>> {
    // A thread's name has 15 bytes.
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
        name: setup.config.name,
        vault: setup.vault,
        catalogue: setup.catalogue,
        status: Arc::clone(&setup.status),
        throttle: setup.throttle,
        zone: setup.zone,
        slice: Slice::new(setup.budget),
        batch_bytes: setup.config.batch_bytes as usize,
        max_message: setup.max_message,
        expire: setup.config.expire,
    });
    let mut lanes = tokio::task::JoinSet::new();
    for ((shard, place), sink) in setup.status.places().into_iter().zip(setup.sinks) {
        let lane = Lane::new(Rc::clone(&parts), shard, place, sink, Ear::new(setup.orders.clone()));
        lanes.spawn_local(lane.run());
    }
    while let Some(ended) = lanes.join_next().await {
        if let Err(error) = ended {
            tracing::error!(exporter = parts.name, %error, "export.lane.panicked");
        }
    }
}

/// Lets those before the ack go first.
fn rank_lower() {
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), NICE) {
        tracing::warn!(%error, "export.nice.refused");
    }
}

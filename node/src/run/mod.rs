//! `gophership run`: composes a node, runs it, and ends it.
//!
//! **Owns**: the order of the steps.
//!
//! **Invariants**:
//! - I1: ports are open before the vault is. On a single node clients wait in the kernel until it is; a node of a
//!   cluster may have to wait for others, and refuses them meanwhile.
//! - I2: on SIGTERM the node first becomes not ready, then answers the requests that it has read, then syncs; nothing
//!   need be sealed.
//! - I3: after a failed sync it ends by itself, with an error.
//!
//! **Not here**: the work of the parts.
//!
//! In the order in which they are needed:
//!
//! - `process`: the kernel, descriptors. `signals`: signals that end a node, or make it reload.
//! - `ports`: opened before all else. `waiting`: until a cluster lets the node begin. `store`: the state on disk.
//! - `exporters`, `ingest`, `surfaces`: the parts above it.
//! - `scrub`: verification of what is stored, once it serves. `archive`: its copies in the archive.
//! - `watch`: supervision while the node runs. `shutdown`: the end.

mod archive;
mod exporters;
mod ingest;
mod ports;
mod process;
mod scrub;
mod shutdown;
mod signals;
mod store;
mod surfaces;
mod waiting;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::Vault;
use tokio::sync::Mutex;
use tokio::sync::watch::channel;
use tonic_health::server::HealthReporter;

use self::exporters::own_addresses;
use self::ingest::{Ingest, IngestParts};
use self::ports::Ports;
use self::shutdown::{DRAIN_LIMIT, Shutdown, end_anyway};
use self::signals::Signals;
use self::store::Store;
use self::surfaces::{Admin, set_health};
use self::waiting::Waiting;
use self::watch::{End, watch_over};
use crate::archive::Archiver;
use crate::cluster::Member;
use crate::config::{Config, Export};
use crate::export::Exporters;
use crate::ingester::{WatermarkNotify, Worker};
use crate::machine::Machine;
use crate::node_state::{NodeState, Running};
use crate::operate;
use crate::readiness::Phase;
use crate::reload::Reloader;
use crate::settings::Settings;

/// Runs a node until SIGTERM or SIGINT. `file` is the file from which `config` was read; SIGHUP reads it again.
///
/// # Errors
///
/// It could not start, or a sync failed while it ran.
pub fn run(config: &Config, file: Option<&Path>) -> anyhow::Result<()> {
    process::check_kernel()?;
    process::take_descriptors();
    let machine = Machine::detect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("cannot start the control runtime")?;
    runtime.block_on(keep(config, file, &machine))
}

async fn keep(config: &Config, file: Option<&Path>, machine: &Machine) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let ports = Ports::open(&config.listeners)?;
    let certificates = ports.certificates();
    let peer_certificates = ports.peer_certificates();
    let node = NodeState::new(config.node.name.clone(), config.cluster.is_some());
    node.set_tls(certificates.clone());
    let (shutdown, health, unresolved_sinks) = tokio::select! {
        started = start(config, file, machine, ports, &node) => started?,
        // No client has been served yet, so the process may end at once: a node of a cluster may wait for others for
        // long.
        () = signals.end() => {
            tracing::info!("node.start.interrupted");
            std::process::exit(0);
        }
    };

    node.set_phase(Phase::Serving);
    let running = node.running().context("a node that serves is running")?;
    let reloader = Arc::new(Reloader {
        file: file.map(Path::to_owned),
        settings: Arc::clone(&running.settings),
        vault: shutdown.vault.clone(),
        exporters: Arc::clone(&shutdown.exporters),
        certificates,
        peer_certificates,
        quorum: shutdown.member.as_ref().map(|member| member.quorum.clone()),
        own: own_addresses(config),
        unresolved: Mutex::new(unresolved_sinks),
    });
    let end = watch_over(
        &node,
        &shutdown.vault,
        shutdown.member.as_ref(),
        &health,
        &mut signals,
        &reloader,
    )
    .await;
    node.set_phase(Phase::Draining);
    set_health(&health, false).await;
    let delay = match end {
        End::Signal | End::Asked => config.shutdown_delay(),
        End::Failed => Duration::ZERO,
    };
    tracing::info!(delay_us = delay.as_micros() as u64, "node.drain.begin");
    let signals_left = if matches!(end, End::Asked) { 2 } else { 1 };
    tokio::spawn(end_anyway(signals, signals_left, delay + DRAIN_LIMIT));
    tokio::time::sleep(delay).await;
    shutdown.run().await
}

/// Starts a node. Returns, too, the reporter of its health, and the exporters whose sink has no address yet.
async fn start(
    config: &Config,
    file: Option<&Path>,
    machine: &Machine,
    ports: Ports,
    node: &Arc<NodeState>,
) -> anyhow::Result<(Shutdown, HealthReporter, Vec<Export>)> {
    let (otlp, admin, peer) = ports.apart();
    let (stop, stopped) = channel(false);
    let admin = Admin::start(admin, node, &stopped);
    let shards = config.shards(machine);
    let notifies: Vec<WatermarkNotify> = (0..shards).map(|_| WatermarkNotify::default()).collect();
    let begin = |peer| Waiting::begin(config, peer, &otlp, node);
    let waiting = peer.as_ref().map(begin).transpose()?;
    let Store {
        data_path,
        catalogue,
        cursors,
        vault,
        writers,
        member,
        settings,
    } = store::open(config, file, peer.zip(waiting.as_ref()), shards, &notifies).await?;
    // From here on what is in force in the cluster counts.
    let config = &settings.config();
    let (zone, throttle) = zone(catalogue.as_ref());
    let (exporters, unresolved_sinks) =
        exporters::start(&settings, machine, &vault, cursors, &zone, &throttle, member.as_ref()).await?;
    let cursors = tokio::spawn(Arc::clone(&exporters).keep_cursors(stopped.clone()));
    let (health, routes) = surfaces::beside_otlp()?;
    let ingest = Ingest::start(IngestParts {
        config,
        shards: writers.into_iter().zip(notifies).collect(),
        machine,
        zone: &zone,
        exporters: &exporters,
        routes: &routes,
        leaving: node.leaving(),
        quorum: member.as_ref().map(|member| &member.quorum),
    })?;
    let archiver = archive::start(&settings, &vault, &catalogue, &throttle, member.as_ref())?;
    let running = running(
        &vault,
        &catalogue,
        member.as_ref(),
        &zone,
        (&exporters, &archiver, &settings),
        &ingest,
    );
    let context = surfaces::context(config, node, &running, throttle.clone(), member.as_ref(), &settings)?;
    node.set_running(running);
    let control = surfaces::start_control(&data_path, context, &admin, member.as_ref(), &stopped)?;
    end_waiting(waiting).await?;
    let shutdown = Shutdown {
        accepting: ingest.accept(otlp),
        scrub: scrub::start(settings, &vault, &catalogue, &data_path, throttle)?,
        ingest,
        zone,
        exporters,
        archiver,
        vault,
        member,
        stop,
        cursors,
        control,
        admin: admin.served,
    };
    say_started(config, &shutdown.vault, shards, &data_path);
    Ok((shutdown, health, unresolved_sinks))
}

/// Ends what answered in place of a node of a cluster.
async fn end_waiting(waiting: Option<Waiting>) -> anyhow::Result<()> {
    match waiting {
        Some(waiting) => waiting.end().await,
        None => Ok(()),
    }
}

/// The zone, with the override that an operator has left, and its throttle.
fn zone(catalogue: &dyn Catalogue) -> (Arc<ZoneCell>, Throttle) {
    let zone = Arc::new(ZoneCell::new(Instant::now()));
    operate::restore_override(catalogue, &zone);
    let throttle = Throttle::new(Arc::clone(&zone));
    (zone, throttle)
}

/// What the surfaces see of a node that serves.
fn running(
    vault: &Vault,
    catalogue: &Arc<dyn Catalogue>,
    member: Option<&Member>,
    zone: &Arc<ZoneCell>,
    (exporters, archiver, settings): (&Arc<Exporters>, &Archiver, &Arc<Settings>),
    ingest: &Ingest,
) -> Running {
    Running {
        vault: vault.clone(),
        catalogue: Arc::clone(catalogue),
        cluster: member.map(Member::context),
        budget: Arc::clone(&ingest.budget),
        exporters: Arc::clone(exporters),
        archiver: archiver.seen(),
        zone: Arc::clone(zone),
        environment: Arc::clone(&ingest.environment),
        workers: ingest.workers.iter().map(Worker::counters).collect(),
        settings: Arc::clone(settings),
    }
}

/// Logs that the node serves, and where.
fn say_started(config: &Config, vault: &Vault, shards: u16, data_path: &Path) {
    let listeners = &config.listeners;
    tracing::info!(node = %config.node.name, epoch = %vault.epoch(), shards, data = %data_path.display(),
        otlp_grpc = %listeners.otlp_grpc.address, otlp_http = %listeners.otlp_http.address,
        admin = %listeners.admin.address, "node.start.done");
}

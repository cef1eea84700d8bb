//! `gophership run`: puts a node together, keeps it, and takes it apart.
//!
//! **Owns** the order of things. **Invariants.** I1: ports are open before the vault is, so that clients wait in the kernel and are not refused. I2: on SIGTERM the node is not ready first, then answers
//! what it has read, then syncs; nothing need be sealed. I3: after a failed sync it ends by itself, with an error.
//! **Not here**: any of the work.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gophership_catalogue::{Catalogue, LocalCatalogue};
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::{DataDir, OnFull, Release, ShardSeam, ShardWriter, Vault, VaultOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use uuid::Uuid;

use crate::buffer::{Budget, Rings};
use crate::config::{self, Config, Listener, Machine};
use crate::control::ControlContext;
use crate::export::{Cursors, ExportParts, Exporters};
use crate::ingester::{self, Bell, IngestLimits, Port, Protocol, SensesSetup, Worker, WorkerSetup};
use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED};
use crate::node_state::{NodeState, Running};
use crate::readiness::{Phase, StallWatch};
use crate::reload::{self, Reloader};
use crate::stochastic::{EnvironmentReader, Inputs, Sensor, WorkerSlot};
use crate::tls::{Protocols, ServerTls};
use crate::{admin, control};

/// How often certificates that expire soon are warned of.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often the node looks at itself.
const LOOK: Duration = Duration::from_millis(250);
/// How long the node takes to end, at most, once it has stopped waiting for the balancer.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Kernel that O_DIRECT, the mapping and the metrics were made for.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// The gRPC services whose health is told.
const HEALTH_OF: [&str; 2] = ["", "opentelemetry.proto.collector.logs.v1.LogsService"];

/// Runs a node until SIGTERM or SIGINT. `file` is where `config` was read from; SIGHUP reads it again.
///
/// # Errors
/// It could not start, or a sync failed while it ran.
pub fn run(config: &Config, file: Option<&Path>) -> anyhow::Result<()> {
    check_kernel()?;
    take_descriptors();
    let machine = Machine::detect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("cannot start the control runtime")?;
    runtime.block_on(keep(config, file, &machine))
}

fn check_kernel() -> anyhow::Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match kernel_version(&release) {
        Some(version) if version < KERNEL_MIN => {
            bail!(
                "Linux {release} is too old: GopherShip needs {}.{} or later",
                KERNEL_MIN.0,
                KERNEL_MIN.1
            )
        }
        Some(_) | None => Ok(()),
    }
}

/// Raises the limit of open files as far as the process may.
fn take_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = current, "node.descriptors.refused");
    }
}

/// How many connections there are descriptors for.
fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // With very few descriptors connections get half of them.
    let free = limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 2);
    let max = usize::try_from(free).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
    if max < CONNECTIONS_MAX {
        tracing::warn!(limit, connections = max, "node.descriptors.few");
    }
    max
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A port that is open, with its TLS.
struct Opened {
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

fn open_port(name: &'static str, listener: &Listener, protocols: Protocols) -> anyhow::Result<Opened> {
    let tls = listener
        .tls
        .as_ref()
        .map(|files| ServerTls::open(files, protocols))
        .transpose()
        .with_context(|| format!("{name}.tls"))?;
    let listener = ingester::listen(listener.address).with_context(|| format!("{name}.address"))?;
    Ok(Opened {
        listener,
        tls: tls.map(|tls| Arc::new(tls.of_listener(name))),
    })
}

async fn keep(config: &Config, file: Option<&Path>, machine: &Machine) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let grpc = open_port("listeners.otlp_grpc", &config.listeners.otlp_grpc, Protocols::Http2)?;
    let http = open_port("listeners.otlp_http", &config.listeners.otlp_http, Protocols::Http)?;
    let admin_port = open_port("listeners.admin", &config.listeners.admin, Protocols::Http)?;
    let certificates: Vec<Arc<ServerTls>> = [&grpc.tls, &http.tls, &admin_port.tls]
        .into_iter()
        .flatten()
        .cloned()
        .collect();

    let node = NodeState::new(config.node.name.clone());
    node.set_tls(certificates.clone());
    let (stop, stopped) = watch::channel(false);
    let status_source = admin::StatusSource::default();
    let admin = tokio::spawn(admin::serve(
        admin_port.listener,
        admin_port.tls,
        admin::router(Arc::clone(&node), Arc::clone(&status_source)),
        stopped.clone(),
    ));

    let shards = config.shards(machine);
    let bells: Vec<Bell> = (0..shards).map(|_| Bell::default()).collect();
    let opened = {
        let (config, bells) = (config.clone(), bells.clone());
        // On a thread that may wait, so that probes are answered meanwhile.
        tokio::task::spawn_blocking(move || open_store(&config, shards, &bells))
            .await
            .context("opening the store panicked")??
    };
    let Store {
        data_path,
        catalogue,
        cursors,
        vault,
        writers,
    } = opened;
    let for_export = config.export_budget(machine);
    let for_ingest = config.ingest_budget(machine);
    let budget = Budget::new(for_ingest, usize::from(shards));
    let zone = Arc::new(ZoneCell::new(Instant::now()));
    control::restore_override(catalogue.as_ref(), &zone);
    let throttle = Throttle::new(Arc::clone(&zone));
    let exporters = start_exporters(config, &vault, cursors, &zone, &throttle, for_export).await?;
    let cursors = tokio::spawn(Arc::clone(&exporters).keep_cursors(stopped.clone()));

    let (health, health_service) = tonic_health::server::health_reporter();
    let (drain, draining) = watch::channel(false);
    let routes = routes(health_service)?;
    let slots: Vec<Arc<WorkerSlot>> = (0..shards).map(|_| Arc::default()).collect();
    let ends = writers.into_iter().zip(bells).zip(&slots);
    let ends = ends.map(|((writer, bell), slot)| {
        let senses = SensesSetup {
            slot: Arc::clone(slot),
            zone: Arc::clone(&zone),
            every: config.zones.sense_every,
        };
        let rings = exporters.rings(writer.shard());
        ShardEnd {
            writer,
            bell,
            senses,
            rings,
        }
    });
    let workers = start_workers(config, ends.collect(), &budget, &routes, &draining)?;
    let sensor = Sensor::new(
        slots,
        Arc::clone(&zone),
        thresholds(config),
        EnvironmentReader::new("/".as_ref()),
    );
    let environment = sensor.environment();
    let sensing = {
        let (budget, exporters) = (Arc::clone(&budget), Arc::clone(&exporters));
        let inputs = move || Inputs {
            held_bytes: budget.held(),
            budget_bytes: budget.limit(),
            live_ring: exporters.ring_fill(),
        };
        tokio::spawn(sensor.run(inputs))
    };
    let doors = workers.iter().map(Worker::door).collect();
    node.set_running(Running {
        vault: vault.clone(),
        catalogue: Arc::clone(&catalogue),
        budget,
        exporters: Arc::clone(&exporters),
        zone: Arc::clone(&zone),
        environment: Arc::clone(&environment),
        workers: workers.iter().map(Worker::counters).collect(),
    });
    let socket = control::listen(&data_path)?;
    let mut until = stopped.clone();
    let shutdown = async move { drop(until.wait_for(|stop| *stop).await) };
    let context = ControlContext {
        vault: vault.clone(),
        catalogue: Arc::clone(&catalogue),
        node_name: node.name.clone(),
        started_unix_nano: node.started_ns,
        own_addresses: own_addresses(config),
        exporters: Arc::clone(&exporters),
        throttle,
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
        zone: Arc::clone(&zone),
        thresholds: thresholds(config),
        environment,
        on_full: config.vault.on_full.name(),
        ingest: {
            let seen = Arc::clone(&node);
            Arc::new(move || seen.ingest())
        },
    };
    // Set once, here.
    let _ = status_source.set(context.clone());
    let control = tokio::spawn(control::serve(socket, context, shutdown));
    let (close, closed) = watch::channel(false);
    let ports = vec![
        Port {
            listener: grpc.listener,
            protocol: Protocol::Grpc,
            tls: grpc.tls,
        },
        Port {
            listener: http.listener,
            protocol: Protocol::Http,
            tls: http.tls,
        },
    ];
    let accepting = tokio::spawn(ingester::accept(ports, doors, connections_max(), closed));
    node.set_phase(Phase::Serving);
    tracing::info!(node = %config.node.name, epoch = %vault.epoch(), shards, data = %data_path.display(),
        otlp_grpc = %config.listeners.otlp_grpc.address, otlp_http = %config.listeners.otlp_http.address, admin = %config.listeners.admin.address, "node.start.done");

    let reloader = Arc::new(Reloader {
        file: file.map(Path::to_owned),
        running: config.clone(),
        exporters: Arc::clone(&exporters),
        certificates,
        own: own_addresses(config),
        turn: Mutex::default(),
    });
    let end = watch_over(&node, &vault, &health, &mut signals, &reloader).await;
    node.set_phase(Phase::Draining);
    tell_health(&health, false).await;
    let delay = if matches!(end, End::Told) {
        config.shutdown_delay()
    } else {
        Duration::ZERO
    };
    tracing::info!(delay_us = delay.as_micros() as u64, "node.drain.begun");
    tokio::spawn(end_anyway(signals, delay + DRAIN_LIMIT));
    tokio::time::sleep(delay).await;
    close.send_replace(true);
    drain.send_replace(true);
    let joined = tokio::task::spawn_blocking(move || workers.into_iter().filter_map(Worker::join).collect::<Vec<_>>());
    let writers = joined.await.context("waiting for the ingest workers")?;
    sensing.abort();
    zone.end();
    let exporting = Arc::clone(&exporters);
    tokio::task::spawn_blocking(move || exporting.stop())
        .await
        .context("the exporters did not stop")?;
    stop.send_replace(true);
    cursors.await.context("keeping the cursors panicked")?;
    let (controlled, served, accepted) = (control.await, admin.await, accepting.await);
    let failure = vault.failure();
    tokio::task::spawn_blocking(move || vault.close(writers))
        .await
        .context("the vault did not close")?;
    controlled
        .context("the control service panicked")?
        .context("the control socket")?;
    served.context("the admin service panicked")??;
    accepted.context("the acceptor panicked")?.context("the OTLP ports")?;
    match failure {
        None => {
            tracing::info!("node.stop.done");
            Ok(())
        }
        Some(why) => bail!(
            "{why}\nThe node took nothing more and has ended. Everything acknowledged was synced before. Check the disk (dmesg, SMART), then start the node again: \
             it reads the log back from the disk and goes on"
        ),
    }
}

/// What stands on disk, open.
struct Store {
    data_path: PathBuf,
    catalogue: Arc<dyn Catalogue>,
    cursors: Arc<Cursors>,
    vault: Vault,
    writers: Vec<ShardWriter>,
}

fn open_store(config: &Config, shards: u16, bells: &[Bell]) -> anyhow::Result<Store> {
    let data = DataDir::open(&config.node.data_dir, config.vault.any_filesystem)?;
    data.make_room(shards, config.vault.segment_size)?;
    let data_path = data.path().to_path_buf();
    let catalogue = LocalCatalogue::open(&data_path.join("catalogue.redb"), data.identity())?;
    let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
    let seen = data.highest_epoch()?;
    if seen > catalogue.newest_epoch() {
        // It is an older copy: nobody knows how far exporters were that it does not know.
        tracing::warn!(path = %data_path.display(), "catalogue.file.older");
        catalogue.begin_unknown_exporters_at_oldest()?;
    }
    let epoch = catalogue.node_up(Uuid::new_v4(), seen)?;
    let seams = bells.iter().map(|bell| ShardSeam::alone(bell.ringer())).collect();
    let ledger = catalogue.ledger();
    let names = config.export.iter().map(|export| export.name.clone()).collect();
    let cursors = Cursors::new(Arc::clone(&catalogue), names);
    let (vault, writers) = Vault::open(data, &vault_options(config, shards, &cursors), epoch, ledger, seams)?;
    Ok(Store {
        data_path,
        catalogue,
        cursors,
        vault,
        writers,
    })
}

/// Ends the process when it is told so a second time, or when a clean end takes too long (a disk that hangs). What was acknowledged is synced, and what is not sealed is
/// recovered at the next start.
async fn end_anyway(mut signals: Signals, limit: Duration) {
    let why = tokio::select! {
        () = signals.end() => "told to end twice",
        () = tokio::time::sleep(limit) => "a clean end took too long",
    };
    tracing::warn!(why, "node.stop.cut_short");
    std::process::exit(1);
}

async fn start_exporters(
    config: &Config,
    vault: &Vault,
    cursors: Arc<Cursors>,
    zone: &Arc<ZoneCell>,
    throttle: &Throttle,
    memory: u64,
) -> anyhow::Result<Arc<Exporters>> {
    let parts = ExportParts {
        configs: config.export.clone(),
        vault: vault.clone(),
        cursors,
        throttle: throttle.clone(),
        zone: Arc::clone(zone),
        memory,
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
    };
    let unknown = reload::sinks(&config.export, &own_addresses(config)).await;
    let unknown = unknown.map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
    let started = tokio::task::spawn_blocking(move || Exporters::start(parts)).await;
    let exporters = started.context("starting the exporters panicked")??;
    tokio::spawn(reload::look_again(
        Arc::clone(&exporters),
        unknown,
        own_addresses(config),
    ));
    Ok(exporters)
}

/// Where the node takes OTLP.
fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    vec![config.listeners.otlp_grpc.address, config.listeners.otlp_http.address]
}

fn thresholds(config: &Config) -> Thresholds {
    Thresholds {
        yellow: config.zones.yellow,
        red: config.zones.red,
    }
}

fn vault_options(config: &Config, shards: u16, cursors: &Arc<Cursors>) -> VaultOptions {
    VaultOptions {
        shards,
        segment_size: config.vault.segment_size,
        segment_age: config.vault.segment_age,
        spares: usize::from(config.vault.spares),
        disk_limit: config.vault.disk_limit,
        retention: config.vault.retention,
        release: Release::By(Arc::clone(cursors) as _),
        on_full: match config.vault.on_full {
            config::OnFull::Refuse => OnFull::Refuse,
            config::OnFull::DropOldest => OnFull::DropOldest,
        },
    }
}

/// A shard, as its worker gets it.
struct ShardEnd {
    writer: ShardWriter,
    bell: Bell,
    senses: SensesSetup,
    rings: Rings,
}

fn start_workers(
    config: &Config,
    ends: Vec<ShardEnd>,
    budget: &Arc<Budget>,
    routes: &Routes,
    drain: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<Worker>> {
    let limits = IngestLimits {
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
        read_timeout: config.ingest.read_timeout,
        max_connection_age: config.ingest.max_connection_age,
        origins: config.listeners.cors.clone(),
    };
    let start = |(number, end): (usize, ShardEnd)| {
        let setup = WorkerSetup {
            number,
            core: ingester::core_of(number),
            writer: end.writer,
            bell: end.bell,
            senses: end.senses,
            rings: end.rings,
            budget: Arc::clone(budget),
            limits: limits.clone(),
            routes: routes.clone(),
            drain: drain.clone(),
        };
        Worker::start(setup).map_err(anyhow::Error::from)
    };
    ends.into_iter().enumerate().map(start).collect()
}

/// The gRPC services beside OTLP.
fn routes(
    health: tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>,
) -> anyhow::Result<Routes> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(gophership_proto::control::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("opentelemetry.proto.collector.logs.v1.LogsService")
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .context("the descriptors of the gRPC port")?;
    Ok(Routes::new(health).add_service(reflection))
}

/// Why a node ends.
enum End {
    Told,
    Failed,
}

/// Looks after the node until it is to end.
async fn watch_over(
    node: &NodeState,
    vault: &Vault,
    health: &HealthReporter,
    signals: &mut Signals,
    reloader: &Arc<Reloader>,
) -> End {
    let mut looks = tokio::time::interval(LOOK);
    let mut days = tokio::time::interval(DAY);
    let mut stalls = StallWatch::default();
    let mut healthy = None;
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::End => return End::Told,
                Told::Reload => drop(tokio::spawn(Arc::clone(reloader).reload())),
            },
            _ = days.tick() => reloader.certificates.iter().for_each(|tls| tls.warn_of_expiry()),
            _ = looks.tick() => {
                let shards = vault.marks();
                node.set_stalled(stalls.look(Instant::now(), shards.into_iter()));
                let ready = node.ready().is_ok();
                if healthy != Some(ready) {
                    tell_health(health, ready).await;
                    healthy = Some(ready);
                }
                if vault.failure().is_some() {
                    return End::Failed;
                }
            }
        }
    }
}

async fn tell_health(health: &HealthReporter, ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in HEALTH_OF {
        health.set_service_status(service, status).await;
    }
}

/// What a signal says.
#[derive(PartialEq, Eq)]
enum Told {
    End,
    Reload,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::End,
            _ = self.int.recv() => Told::End,
            _ = self.hup.recv() => Told::Reload,
        }
    }

    /// Waits until the process is told to end.
    async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;

    use super::*;
    use crate::config::{Environment, load_text};

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel_version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(kernel_version("6.18.44-fc"), Some((6, 18)));
        assert!(kernel_version("5.4.0").unwrap() < KERNEL_MIN);
        assert_eq!(kernel_version("weird"), None);
    }

    #[test]
    fn an_older_copy_of_the_catalogue_has_unknown_exporters_begin_at_the_oldest_entry() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "node: {{ data_dir: {:?} }}\nvault: {{ any_filesystem: true }}",
            dir.path().join("data")
        );
        let machine = Machine {
            cores: 1,
            memory: 1 << 30,
        };
        let config = load_text(&text, &Environment::default(), &machine).unwrap();
        let run = || {
            let Store {
                catalogue,
                vault,
                writers,
                ..
            } = open_store(&config, 1, &[Bell::default()]).unwrap();
            vault.close(writers);
            catalogue.read(|state| state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some())
        };
        assert!(!run());
        let path = config.node.data_dir.join("catalogue.redb");
        let older = std::fs::read(&path).unwrap();
        assert!(!run(), "its own catalogue is none");
        std::fs::write(&path, older).unwrap();
        assert!(run());
    }
}

//! The ingest workers, and the sensor that merges their readings.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use arc_swap::ArcSwap;
use gophership_somatic::{Thresholds, ZoneCell};
use gophership_vault::ShardWriter;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::process;
use crate::buffer::{Budget, Rings};
use crate::config::Config;
use crate::export::Exporters;
use crate::ingester::{self, AckLimit, IngestLimits, Port, SensesSetup, WatermarkNotify, Worker, WorkerSetup};
use crate::machine::Machine;
use crate::peers::Quorum;
use crate::stochastic::{Environment, EnvironmentReader, Inputs, Sensor, WorkerSlot};

/// Ingest, running.
pub(super) struct Ingest {
    /// The memory budget.
    pub(super) budget: Arc<Budget>,
    pub(super) workers: Vec<Worker>,
    pub(super) sensing: JoinHandle<()>,
    /// The machine's pressure as last read.
    pub(super) environment: Arc<ArcSwap<Environment>>,
    /// Tells the workers to end their connections.
    pub(super) drain: watch::Sender<bool>,
}

/// The ports for OTLP, whose connections are handed to the workers.
pub(super) struct Accepting {
    /// Closes the ports.
    pub(super) close: watch::Sender<bool>,
    pub(super) accepted: JoinHandle<io::Result<()>>,
}

/// The inputs of ingest.
pub(super) struct IngestParts<'a> {
    pub(super) config: &'a Config,
    /// Each shard's writer, and the notification of its watermark.
    pub(super) shards: Vec<(ShardWriter, WatermarkNotify)>,
    pub(super) machine: &'a Machine,
    pub(super) zone: &'a Arc<ZoneCell>,
    pub(super) exporters: &'a Arc<Exporters>,
    /// Services of the gRPC port beside OTLP.
    pub(super) routes: &'a Routes,
    /// True while the node leaves its cluster.
    pub(super) leaving: Arc<AtomicBool>,
    /// The cluster of a member.
    pub(super) quorum: Option<&'a Quorum>,
}

impl Ingest {
    pub(super) fn start(parts: IngestParts<'_>) -> anyhow::Result<Self> {
        let IngestParts {
            config,
            shards,
            machine,
            zone,
            exporters,
            routes,
            leaving,
            quorum,
        } = parts;
        let budget = Budget::new(config.ingest_budget(machine), shards.len());
        let acks = quorum.map_or_else(AckLimit::alone, |quorum| {
            let quorum = quorum.clone();
            AckLimit::replicated(move || quorum.ack_timeout())
        });
        let (drain, draining) = watch::channel(false);
        let slots: Vec<Arc<WorkerSlot>> = shards.iter().map(|_| Arc::default()).collect();
        let ends = shards.into_iter().zip(&slots).map(|((writer, notify), slot)| ShardEnd {
            senses: SensesSetup {
                slot: Arc::clone(slot),
                zone: Arc::clone(zone),
                every: config.zones.sense_every,
            },
            rings: exporters.rings(writer.shard()),
            writer,
            notify,
        });
        let workers = start_workers(config, ends.collect(), &budget, routes, acks, (&leaving, &draining))?;
        let reader = EnvironmentReader::new("/".as_ref());
        let sensor = Sensor::new(slots, Arc::clone(zone), thresholds(config), reader);
        let environment = sensor.environment();
        let (held_by, exporters) = (Arc::clone(&budget), Arc::clone(exporters));
        let inputs = move || Inputs {
            held_bytes: held_by.held(),
            budget_bytes: held_by.limit(),
            live_ring: exporters.ring_fill(),
        };
        Ok(Self {
            budget,
            workers,
            sensing: tokio::spawn(sensor.run(inputs)),
            environment,
            drain,
        })
    }

    /// Takes connections from now on.
    pub(super) fn accept(&self, ports: Vec<Port>) -> Accepting {
        let (close, closed) = watch::channel(false);
        let doors = self.workers.iter().map(Worker::door).collect();
        let accepted = ingester::accept(ports, doors, process::connections_max(), closed);
        Accepting {
            close,
            accepted: tokio::spawn(accepted),
        }
    }
}

pub(super) fn thresholds(config: &Config) -> Thresholds {
    Thresholds {
        yellow: config.zones.yellow,
        red: config.zones.red,
    }
}

/// The parts of a shard for its worker.
struct ShardEnd {
    writer: ShardWriter,
    notify: WatermarkNotify,
    senses: SensesSetup,
    rings: Rings,
}

fn start_workers(
    config: &Config,
    ends: Vec<ShardEnd>,
    budget: &Arc<Budget>,
    routes: &Routes,
    acks: AckLimit,
    (leaving, drain): (&Arc<AtomicBool>, &watch::Receiver<bool>),
) -> anyhow::Result<Vec<Worker>> {
    let limits = IngestLimits {
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
        read_timeout: config.ingest.read_timeout,
        max_connection_age: config.ingest.max_connection_age,
        origins: config.listeners.cors.clone(),
        acks,
    };
    let start = |(number, end): (usize, ShardEnd)| {
        let setup = WorkerSetup {
            number,
            core: ingester::core_of(number),
            writer: end.writer,
            notify: end.notify,
            senses: end.senses,
            rings: end.rings,
            budget: Arc::clone(budget),
            limits: limits.clone(),
            routes: routes.clone(),
            leaving: Arc::clone(leaving),
            drain: drain.clone(),
        };
        Worker::start(setup).map_err(anyhow::Error::from)
    };
    ends.into_iter().enumerate().map(start).collect()
}

//! The surfaces of a node: admin, control, and the services beside OTLP on the gRPC port.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use gophership_somatic::Throttle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::exporters::own_addresses;
use super::ingest::thresholds;
use super::ports::Opened;
use crate::admin::{self, AdminError};
use crate::cluster::Member;
use crate::config::Config;
use crate::context::NodeContext;
use crate::control;
use crate::node_state::{NodeState, Running};
use crate::operate::Viewer;
use crate::settings::Settings;

/// The gRPC services whose health is reported.
const HEALTH_OF: [&str; 2] = ["", "opentelemetry.proto.collector.logs.v1.LogsService"];

/// The admin port, served from the beginning; its status comes later.
pub(super) struct Admin {
    pub(super) served: JoinHandle<Result<(), AdminError>>,
    pub(super) status: admin::StatusSource,
}

impl Admin {
    pub(super) fn start(port: Opened, node: &Arc<NodeState>, stopped: &watch::Receiver<bool>) -> Self {
        let status = admin::StatusSource::default();
        let router = admin::router(Arc::clone(node), Arc::clone(&status));
        let served = tokio::spawn(admin::serve(port.listener, port.tls, router, stopped.clone()));
        Self { served, status }
    }
}

/// Serves control, answers operators of other nodes, and sets the admin port's source of status.
pub(super) fn start_control(
    data: &Path,
    context: NodeContext,
    admin: &Admin,
    member: Option<&Member>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let socket = control::listen(data)?;
    if let Some(member) = member {
        member.operate.begin(context.clone());
    }
    // It is set once, here.
    let _ = admin.status.set(Viewer::new(context.clone()));
    let mut until = stopped.clone();
    let shutdown = async move { drop(until.wait_for(|stop| *stop).await) };
    Ok(tokio::spawn(control::serve(socket, context, shutdown)))
}

/// The inputs of replays and of an operator's verbs.
pub(super) fn context(
    config: &Config,
    node: &Arc<NodeState>,
    running: &Running,
    throttle: Throttle,
    member: Option<&Member>,
    settings: &Arc<Settings>,
) -> anyhow::Result<NodeContext> {
    let seen = Arc::clone(node);
    Ok(NodeContext {
        vault: running.vault.clone(),
        catalogue: Arc::clone(&running.catalogue),
        peers: member.map(|member| Arc::clone(&member.peers)),
        node_name: node.name.clone(),
        started_unix_nano: node.started_ns,
        own_addresses: own_addresses(config),
        cluster: running.cluster.clone(),
        exporters: Arc::clone(&running.exporters),
        archiver: running.archiver.clone(),
        archive: running.exporters.archive().cloned(),
        throttle,
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
        zone: Arc::clone(&running.zone),
        thresholds: thresholds(config),
        environment: Arc::clone(&running.environment),
        end: Arc::clone(&node.end),
        settings: Arc::clone(settings),
        ingest: Arc::new(move || seen.ingest()),
    })
}

/// The gRPC services beside OTLP, and the reporter of their health.
pub(super) fn beside_otlp() -> anyhow::Result<(HealthReporter, Routes)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(gophership_proto::control::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("opentelemetry.proto.collector.logs.v1.LogsService")
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .context("the descriptors of the gRPC port")?;
    Ok((reporter, Routes::new(health).add_service(reflection)))
}

pub(super) async fn set_health(health: &HealthReporter, ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in HEALTH_OF {
        health.set_service_status(service, status).await;
    }
}

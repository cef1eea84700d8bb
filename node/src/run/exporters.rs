//! The exporters, started once their sinks are known not to be the node itself.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::Vault;

use crate::archive::ArchiveReader;
use crate::cluster::Member;
use crate::config::{Config, Export};
use crate::export::{Cursors, ExportParts, Exporters};
use crate::machine::Machine;
use crate::settings::Settings;
use crate::sink_faults::{SinkFaults, sink_faults};

/// Starts the exporters. Returns those, too, whose sink has no address yet.
pub(super) async fn start(
    settings: &Arc<Settings>,
    machine: &Machine,
    vault: &Vault,
    cursors: Arc<Cursors>,
    zone: &Arc<ZoneCell>,
    throttle: &Throttle,
    member: Option<&Member>,
) -> anyhow::Result<(Arc<Exporters>, Vec<Export>)> {
    let config = &settings.config();
    let in_force = Arc::clone(settings);
    let archive = ArchiveReader::new(
        Arc::clone(cursors.catalogue()),
        move || in_force.archive(),
        tokio::runtime::Handle::current(),
    );
    let mut parts = ExportParts {
        archive: Some(archive),
        configs: config.export.clone(),
        vault: vault.clone(),
        cursors,
        throttle: throttle.clone(),
        zone: Arc::clone(zone),
        memory: config.export_budget(machine),
        max_message: usize::try_from(config.ingest.max_message).context("ingest.max_message")?,
        lost: member.map(Member::lost_nodes),
    };
    let found = sink_faults(&config.export, &own_addresses(config)).await;
    found.log_unresolved();
    let SinkFaults { unresolved, loops } = found;
    if member.is_some() {
        parts.configs.retain(|export| !loops.contains_key(&export.name));
        settings.leave_out(loops);
    } else if !loops.is_empty() {
        bail!(loops.into_values().collect::<Vec<_>>().join("\n"));
    }
    let started = tokio::task::spawn_blocking(move || Exporters::start(parts)).await;
    let exporters = started.context("starting the exporters panicked")??;
    settings.leave_out(exporters.refused());
    let (refusing, refused) = (Arc::clone(&exporters), settings.refused_exporters());
    let noted = tokio::task::spawn_blocking(move || refusing.refuse(refused)).await;
    noted.context("starting the exporters panicked")?;
    Ok((exporters, unresolved))
}

/// The addresses at which the node takes OTLP.
pub(super) fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    vec![config.listeners.otlp_grpc.address, config.listeners.otlp_http.address]
}

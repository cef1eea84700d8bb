//! Changes while the node runs: at a SIGHUP its configuration and certificates are read again, and in a cluster its
//! settings are followed. The parts that can change are taken into use.
//!
//! **Invariants**:
//! - I1: a configuration with a fault changes nothing, and all its faults are logged.
//! - I2: every other change is logged as needing a restart, at every SIGHUP until then.
//! - I3: a change of the cluster's settings is tried again until it was taken.
//!
//! **Not here**: the change of exporters (`export`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gophership_vault::Vault;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::cluster::PeerCertificates;
use crate::config::{self, Config, Environment, Export};
use crate::export::Exporters;
use crate::machine::Machine;
use crate::peers::Quorum;
use crate::settings::{Settings, tuning};
use crate::sink_faults::{SinkFaults, sink_faults};
use crate::tls::ServerTls;

/// The reloader (see the module).
pub(crate) struct Reloader {
    /// The configuration file, where there is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) vault: Vault,
    pub(crate) exporters: Arc<Exporters>,
    pub(crate) certificates: Vec<Arc<ServerTls>>,
    /// That of the port for peers.
    pub(crate) peer_certificates: Option<Arc<PeerCertificates>>,
    /// The cluster of a member, by whose settings it goes.
    pub(crate) quorum: Option<Quorum>,
    /// Addresses at which the node takes OTLP.
    pub(crate) own: Vec<SocketAddr>,
    /// Exporters whose sink has no address. Held by the reload under way.
    pub(crate) unresolved: Mutex<Vec<Export>>,
}

impl Reloader {
    /// Takes changes of the node's own files into use. A call during another one waits for its turn.
    pub(crate) async fn reload(self: Arc<Self>) {
        let mut unresolved = self.unresolved.lock().await;
        for tls in &self.certificates {
            match tls.reload() {
                Ok(()) => tracing::info!(listener = tls.listener(), "tls.reload.done"),
                Err(error) => tracing::error!(listener = tls.listener(), %error, "tls.reload.failed"),
            }
        }
        if let Some(peer) = &self.peer_certificates {
            match peer.reload() {
                Ok(()) => tracing::info!(listener = "listeners.peer", "tls.reload.done"),
                Err(error) => tracing::error!(listener = "listeners.peer", %error, "tls.reload.failed"),
            }
        }
        self.take(true, &mut unresolved).await;
    }

    /// Takes changes of the cluster's settings into use, where there are some and no reload is under way.
    pub(crate) async fn follow(self: Arc<Self>) {
        let Ok(mut unresolved) = self.unresolved.try_lock() else {
            return;
        };
        if self.settings.is_behind() {
            self.take(false, &mut unresolved).await;
        }
    }

    /// Resolves the sinks that had no address, and ends the exporter of one that proves to be the node itself. Nothing
    /// is done while a reload is under way.
    pub(crate) async fn resolve(self: Arc<Self>) {
        let Ok(mut unresolved) = self.unresolved.try_lock() else {
            return;
        };
        let found = sink_faults(&unresolved, &self.own).await;
        *unresolved = found.unresolved;
        if found.loops.is_empty() {
            return;
        }
        for (exporter, why) in &found.loops {
            tracing::error!(exporter, why, "export.sink.is_this_node: it is ended on this node");
        }
        self.settings.leave_out(found.loops.clone());
        let exporters = Arc::clone(&self.exporters);
        if let Err(error) = spawn_blocking(move || exporters.refuse(found.loops)).await {
            tracing::error!(%error, "export.refuse.panicked");
        }
    }

    /// Takes what is wanted by now into use: by the configuration as it was read last, or is read again.
    async fn take(self: &Arc<Self>, again: bool, unresolved: &mut Vec<Export>) {
        if let Err(faults) = self.try_to_take(again, unresolved).await {
            let (count, error) = (faults.len(), faults.join("; "));
            tracing::error!(count, error, "config.reload.refused: nothing is changed");
        }
    }

    async fn try_to_take(self: &Arc<Self>, again: bool, unresolved: &mut Vec<Export>) -> Result<(), Vec<String>> {
        let this = Arc::clone(self);
        let read = spawn_blocking(move || {
            let own = if again { Some(this.load()?) } else { None };
            let wanted = this.settings.read_wanted(own.as_ref());
            Ok::<_, Vec<String>>((own, wanted))
        });
        let (own, mut wanted) = read.await.map_err(|panicked| vec![panicked.to_string()])??;
        if own.is_none() && !self.settings.is_new(&wanted) {
            // A setting has changed that is none of the configuration.
            self.settings.set_taken(wanted);
            return Ok(());
        }
        let found = sink_faults(&wanted.config.export, &self.own).await;
        found.log_unresolved();
        let SinkFaults {
            unresolved: unresolved_now,
            loops,
        } = found;
        if self.settings.are_of_cluster() {
            wanted.leave_out(loops);
        } else if !loops.is_empty() {
            return Err(loops.into_values().collect());
        }
        let (exporters, configs) = (Arc::clone(&self.exporters), wanted.config.export.clone());
        let refused = wanted.refused_exporters();
        let mut archive = config::changed_keys(&self.settings.config(), &wanted.config);
        archive.retain(|key| key.starts_with("archive."));
        match spawn_blocking(move || exporters.reload(configs, refused)).await {
            Ok(Ok(done)) => tracing::info!(
                added = done.added.join(", "),
                changed = done.changed.join(", "),
                removed = done.removed.join(", "),
                archive = archive.join(", "),
                "config.reload.done"
            ),
            Ok(Err(error)) => return Err(vec![error.to_string()]),
            Err(error) => tracing::error!(%error, "config.reload.panicked"),
        }
        *unresolved = unresolved_now;
        self.vault.tune(tuning(&wanted.config));
        if let (Some(quorum), Some(cluster)) = (&self.quorum, &wanted.config.cluster) {
            quorum.put_in_force(cluster.clone());
        }
        wanted.leave_out(self.exporters.refused());
        for (key, why) in &wanted.refused {
            tracing::error!(key, why, "config.setting.refused: this node goes on without it");
        }
        if let Some(own) = own {
            self.settings.set_own(own, self.file.as_deref());
        }
        let keys = self.settings.set_taken(wanted).join(", ");
        if !keys.is_empty() {
            tracing::warn!(
                keys,
                "config.reload.needs_restart: the new values count from the next start on"
            );
        }
        Ok(())
    }

    /// Reads the configuration, or returns all its faults.
    fn load(&self) -> Result<Config, Vec<String>> {
        let loaded = config::load(self.file.as_deref(), &Environment::of_process(), &Machine::detect());
        let config = loaded.map_err(|faults| faults.list.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        if self.settings.are_of_cluster() {
            // Its exporters are not those that run.
            return Ok(config);
        }
        let faults = Exporters::faults(&config.export);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults.iter().map(ToString::to_string).collect())
        }
    }
}

#[cfg(test)]
mod tests;

//! Changes while the node runs: at a SIGHUP its configuration and certificates are read again, and in a cluster its
//! settings are followed. The parts that can change are taken into use.
//!
//! **Invariants**:
//! - I1: a configuration with a fault changes nothing, and all its faults are logged.
//! - I2: every other change is logged as needing a restart, at every SIGHUP until then.
//! - I3: a change of the cluster's settings is tried again until it was taken.
//!
//! **Not here**: the change of exporters (`export`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gophership_vault::Vault;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::cluster::PeerCertificates;
use crate::config::{self, Config, Environment, Export};
use crate::export::Exporters;
use crate::machine::Machine;
use crate::settings::{Settings, tuning};
use crate::sink::reaches_self;
use crate::tls::ServerTls;

/// Time for which the addresses of sinks are waited for.
const RESOLVE_TIME: Duration = Duration::from_millis(500);
/// Interval at which unknown addresses are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

/// An exporter and its sink, whose address is not known.
pub(crate) type Unknown = (String, String);

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
    /// Addresses at which the node takes OTLP.
    pub(crate) own: Vec<SocketAddr>,
    /// Held by the reload under way.
    pub(crate) turn: Mutex<()>,
}

impl Reloader {
    /// Takes changes of the node's own files into use. A call during another one waits for its turn.
    pub(crate) async fn reload(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
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
        self.take(true).await;
    }

    /// Takes changes of the cluster's settings into use, where there are some and no reload is under way.
    pub(crate) async fn follow(self: Arc<Self>) {
        let Ok(_turn) = self.turn.try_lock() else { return };
        if self.settings.is_behind() {
            self.take(false).await;
        }
    }

    /// Takes what is wanted by now into use: by the configuration as it was read last, or is read again.
    async fn take(self: &Arc<Self>, again: bool) {
        if let Err(faults) = self.try_to_take(again).await {
            let (count, error) = (faults.len(), faults.join("; "));
            tracing::error!(count, error, "config.reload.refused: nothing is changed");
        }
    }

    async fn try_to_take(self: &Arc<Self>, again: bool) -> Result<(), Vec<String>> {
        let this = Arc::clone(self);
        let looked = spawn_blocking(move || {
            let own = if again { Some(this.load()?) } else { None };
            let wanted = this.settings.look(own.as_ref());
            Ok::<_, Vec<String>>((own, wanted))
        });
        let (own, mut wanted) = looked.await.map_err(|panicked| vec![panicked.to_string()])??;
        if own.is_none() && !self.settings.is_new(&wanted) {
            // A setting has changed that is none of the configuration.
            self.settings.set_taken(wanted);
            return Ok(());
        }
        let Sinks { unknown, circles } = sinks(&wanted.config.export, &self.own).await;
        if self.settings.are_of_cluster() {
            wanted.leave_out(circles);
        } else if !circles.is_empty() {
            return Err(circles.into_values().collect());
        }
        let (exporters, configs) = (Arc::clone(&self.exporters), wanted.config.export.clone());
        match spawn_blocking(move || exporters.reload(configs)).await {
            Ok(Ok(done)) => tracing::info!(
                added = done.added.join(", "),
                changed = done.changed.join(", "),
                removed = done.removed.join(", "),
                "config.reload.done"
            ),
            Ok(Err(error)) => return Err(vec![error.to_string()]),
            Err(error) => tracing::error!(%error, "config.reload.panicked"),
        }
        self.vault.tune(tuning(&wanted.config));
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
        tokio::spawn(resolve_again(Arc::clone(&self.exporters), unknown, self.own.clone()));
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

/// The exporters whose sink has no address now, and why those are refused that would send to the node itself, by name.
#[derive(Default)]
pub(crate) struct Sinks {
    pub(crate) unknown: Vec<Unknown>,
    pub(crate) circles: BTreeMap<String, String>,
}

/// Resolves the sinks of exporters, none of which is to be the node itself unless that was asked for.
pub(crate) async fn sinks(exports: &[Export], own: &[SocketAddr]) -> Sinks {
    // All are resolved at once, and only for a short time: clients wait for a node that starts, and its name service
    // may come back after it.
    let lookups = exports.iter().filter(|e| !e.into_self).map(|export| async move {
        let sink = export.target.endpoint.authority();
        let resolved = tokio::time::timeout(RESOLVE_TIME, reaches_self(&sink, own)).await;
        let found = resolved.unwrap_or_else(|_| Err("the name service does not answer".to_owned()));
        (export, sink, found)
    });
    let mut found_all = Sinks::default();
    for (export, sink, found) in join_all(lookups).await {
        match found {
            Ok(false) => {}
            Ok(true) => {
                let why = format!(
                    "export {:?} sends to {sink}, which is this node itself: everything would go round in a circle. If \
                     that is meant, set `into_self: true` for it",
                    export.name
                );
                found_all.circles.insert(export.name.clone(), why);
            }
            Err(why) => {
                tracing::warn!(exporter = export.name, sink, why, "export.sink.unknown");
                found_all.unknown.push((export.name.clone(), sink));
            }
        }
    }
    found_all
}

/// Resolves sinks whose name had no address, and pauses the exporter of one that proves to be the node itself.
pub(crate) async fn resolve_again(exporters: Arc<Exporters>, mut unknown: Vec<Unknown>, own: Vec<SocketAddr>) {
    while !unknown.is_empty() {
        tokio::time::sleep(RESOLVE_INTERVAL).await;
        let mut still = Vec::new();
        for (name, sink) in unknown {
            match reaches_self(&sink, &own).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::error!(exporter = name, sink, "export.sink.is_this_node");
                    let exporters = Arc::clone(&exporters);
                    let paused = spawn_blocking(move || exporters.set_paused(&name, true, "the node")).await;
                    if !matches!(paused, Ok(Ok(_))) {
                        tracing::error!("export.pause.failed");
                    }
                }
                Err(_) => still.push((name, sink)),
            }
        }
        unknown = still;
    }
}

#[cfg(test)]
mod tests;

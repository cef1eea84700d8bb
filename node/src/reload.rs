//! SIGHUP: reads the configuration and the certificates again, and takes into use the parts that can change while the
//! node runs.
//!
//! **Invariants**:
//! - I1: a configuration with a fault changes nothing, and all its faults are logged.
//! - I2: every other change is logged as needing a restart, at every SIGHUP until then.
//!
//! **Not here**: the change of exporters (`export`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::cluster::PeerCertificates;
use crate::config::{self, Config, Environment, Export};
use crate::export::Exporters;
use crate::machine::Machine;
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
    /// The configuration that the node runs with, except for its exporters.
    pub(crate) running: Config,
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
    /// Takes changes into use. A call during another one waits for its turn.
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
        let this = Arc::clone(&self);
        let loaded = spawn_blocking(move || this.load()).await;
        let found = match loaded {
            Ok(Ok(config)) => sinks(&config.export, &self.own).await.map(|unknown| (config, unknown)),
            Ok(Err(faults)) => Err(faults),
            Err(panicked) => Err(vec![panicked.to_string()]),
        };
        match found {
            Ok((config, unknown)) => self.take(config, unknown).await,
            Err(faults) => {
                let (count, error) = (faults.len(), faults.join("; "));
                tracing::error!(count, error, "config.reload.refused: nothing is changed");
            }
        }
    }

    /// Reads the configuration, or returns all its faults.
    fn load(&self) -> Result<Config, Vec<String>> {
        let loaded = config::load(self.file.as_deref(), &Environment::of_process(), &Machine::detect());
        let config = loaded.map_err(|faults| faults.list.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let faults = Exporters::faults(&config.export);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults.iter().map(ToString::to_string).collect())
        }
    }

    async fn take(&self, config: Config, unknown: Vec<Unknown>) {
        let keys = config::changed_keys(&self.running, &config).join(", ");
        let exporters = Arc::clone(&self.exporters);
        match spawn_blocking(move || exporters.reload(config.export)).await {
            Ok(Ok(done)) => tracing::info!(
                added = done.added.join(", "),
                changed = done.changed.join(", "),
                removed = done.removed.join(", "),
                "config.reload.done"
            ),
            Ok(Err(error)) => {
                tracing::error!(%error, "config.reload.refused: nothing is changed");
                return;
            }
            Err(error) => tracing::error!(%error, "config.reload.panicked"),
        }
        if !keys.is_empty() {
            tracing::warn!(
                keys,
                "config.reload.needs_restart: the new values count from the next start on"
            );
        }
        tokio::spawn(resolve_again(Arc::clone(&self.exporters), unknown, self.own.clone()));
    }
}

/// Checks that no exporter sends to the node itself unless that was asked for. Returns the exporters whose sink has no
/// address now.
///
/// # Errors
///
/// The exporters that would.
pub(crate) async fn sinks(exports: &[Export], own: &[SocketAddr]) -> Result<Vec<Unknown>, Vec<String>> {
    // All are resolved at once, and only for a short time: clients wait for a node that starts, and its name service
    // may come back after it.
    let lookups = exports.iter().filter(|e| !e.into_self).map(|export| async move {
        let sink = export.target.endpoint.authority();
        let resolved = tokio::time::timeout(RESOLVE_TIME, reaches_self(&sink, own)).await;
        let found = resolved.unwrap_or_else(|_| Err("the name service does not answer".to_owned()));
        (export, sink, found)
    });
    let (mut unknown, mut faults) = (Vec::new(), Vec::new());
    for (export, sink, found) in join_all(lookups).await {
        match found {
            Ok(false) => {}
            Ok(true) => faults.push(format!(
                "export {:?} sends to {sink}, which is this node itself: everything would go round in a circle. If \
                 that is meant, set `into_self: true` for it",
                export.name
            )),
            Err(why) => {
                tracing::warn!(exporter = export.name, sink, why, "export.sink.unknown");
                unknown.push((export.name.clone(), sink));
            }
        }
    }
    if faults.is_empty() { Ok(unknown) } else { Err(faults) }
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

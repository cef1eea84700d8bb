//! Checks for obstacles to a node's start on this machine, without starting one.
//!
//! **Owns**: [`inspect`] and [`warnings`].
//!
//! **Invariants**:
//! - I1: nothing is written, and nothing stays open or bound.
//!
//! **Not here**: the check of the configuration in itself (`config`); the start (`run`).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gophership_catalogue::LocalCatalogue;
use gophership_vault::{DataDir, OpenError};
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use self::existing::existing;
use crate::cluster;
use crate::config::{Config, Export, Finding, Listener, TlsFiles, show_size};
use crate::control::{SOCKET_NAME, SOCKET_PATH_BYTES_MAX};
use crate::ingester;
use crate::logging;
use crate::machine::Machine;
use crate::sink::{Sink, reaches_self};
use crate::tls::{self, Protocols, ServerTls, TlsError};

mod archive;
mod existing;

/// Longest time for resolving the address of one sink.
const RESOLVE_TIME: Duration = Duration::from_millis(500);

/// Everything that would keep a node with this configuration from starting here.
#[must_use]
pub fn inspect(config: &Config, machine: &Machine) -> Vec<Finding> {
    let mut found = data_dir(config, machine);
    // A running node holds its ports: that is no fault of its configuration.
    let try_ports = !is_running(config);
    for (path, listener) in config.listeners.all() {
        found.extend(listener_of(path, listener, try_ports));
    }
    if let (Some(cluster), Some(peer)) = (&config.cluster, &config.listeners.peer)
        && let Some(files) = &peer.tls
        && let Err(why) = cluster::check_certificate(files, cluster, &config.node.name)
    {
        found.push(finding("listeners.peer.tls.cert", why));
    }
    let own = [config.listeners.otlp_grpc.address, config.listeners.otlp_http.address];
    for (at, export) in config.export.iter().enumerate() {
        found.extend(exporter(&format!("export[{at}]"), export, &own));
    }
    if config.cluster.is_none() {
        found.extend(
            archive::faults(config)
                .into_iter()
                .map(|why| finding(archive::URL, why)),
        );
    }
    if let Err(error) = logging::check() {
        found.push(finding("GS_LOG", error.to_string()));
    }
    found
}

/// Settings that work, but not as the operator may think.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let data = &config.node.data_dir;
    if is_running(config) {
        warnings.push(format!(
            "node.data_dir {} is in use by a node that runs: its ports, its disk and its catalogue were not looked at",
            data.display()
        ));
    }
    if let Ok(room) = statvfs(existing(data)) {
        let size = room.f_blocks * room.f_frsize;
        if config.vault.disk_limit > size {
            warnings.push(format!(
                "vault.disk_limit {} is more than the whole file system of {} ({}): its own fill will decide, and from \
                 90 % of it ingest is refused",
                show_size(config.vault.disk_limit),
                data.display(),
                show_size(size >> 20 << 20),
            ));
        }
    }
    if config.cluster.is_some() {
        let faults = archive::faults(config).into_iter();
        let first = "it counts where the cluster has no value on record yet";
        warnings.extend(faults.map(|why| format!("{}: {why} ({first})", archive::URL)));
    }
    warnings
}

fn finding(path: &str, reason: impl Into<String>) -> Finding {
    Finding {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn cluster_of(config: &Config) -> Option<&str> {
    config.cluster.as_ref().map(|cluster| cluster.name.as_str())
}

fn is_running(config: &Config) -> bool {
    let data = &config.node.data_dir;
    data.is_dir()
        && matches!(
            DataDir::check(data, true, cluster_of(config)),
            Err(OpenError::InUse { .. })
        )
}

fn data_dir(config: &Config, machine: &Machine) -> Vec<Finding> {
    const PATH: &str = "node.data_dir";
    let data = &config.node.data_dir;
    let mut found = Vec::new();
    let socket = data.join(SOCKET_NAME).as_os_str().len();
    if socket > SOCKET_PATH_BYTES_MAX {
        found.push(finding(
            PATH,
            format!(
                "it is too long: the control socket in it would have a path of {socket} bytes, and Linux takes \
                 {SOCKET_PATH_BYTES_MAX}; choose a shorter or a relative path"
            ),
        ));
    }
    let nearest = existing(data);
    if !nearest.is_dir() {
        found.push(finding(PATH, format!("{} is no folder", nearest.display())));
        return found;
    }
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = accessat(CWD, &nearest, needed, AtFlags::EACCESS) {
        found.push(finding(
            PATH,
            format!(
                "this user cannot write to {}: {}",
                nearest.display(),
                std::io::Error::from(error)
            ),
        ));
        return found;
    }
    match DataDir::check(&nearest, config.vault.any_filesystem, cluster_of(config)) {
        // A node runs there, or in a folder above.
        Ok(None) | Err(OpenError::InUse { .. }) => {}
        Ok(Some(identity)) if config.cluster.is_some() => {
            let checked = cluster::check_folder(&nearest, identity, &config.node.name);
            found.extend(checked.err().map(|why| finding(PATH, why)));
        }
        Ok(Some(identity)) => {
            let catalogue = LocalCatalogue::check(&nearest.join("catalogue.redb"), identity);
            found.extend(catalogue.err().map(|error| finding(PATH, error.to_string())));
        }
        Err(error) => found.push(finding(PATH, error.to_string())),
    }
    // An existing data folder has its WAL files already, or they will be recovered in their place.
    if !data.join("node.json").exists()
        && let Ok(room) = statvfs(&nearest)
    {
        let (free, needed) = (room.f_bavail * room.f_frsize, config.wal_bytes(machine));
        if free < needed {
            found.push(finding(
                PATH,
                format!(
                    "its file system has {} left, and the WAL files alone take {}: use another, fewer ingest.shards or \
                     vault.spares, or a smaller vault.segment_size",
                    show_size(free >> 20 << 20),
                    show_size(needed),
                ),
            ));
        }
    }
    found
}

fn listener_of(path: &str, listener: &Listener, try_port: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if try_port && let Err(error) = ingester::listen(listener.address) {
        found.push(finding(&format!("{path}.address"), error.why()));
    }
    if let Some(files) = &listener.tls {
        found.extend(tls_files(path, files));
    }
    found
}

fn tls_files(path: &str, files: &TlsFiles) -> Vec<Finding> {
    let at = |key: &str, error: TlsError| finding(&format!("{path}.tls.{key}"), error.to_string());
    let mut found = Vec::new();
    // A file that is not set is a fault of the configuration itself.
    let set = |file: &Path| !file.as_os_str().is_empty();
    if set(&files.cert) {
        found.extend(tls::certificates(&files.cert).err().map(|e| at("cert", e)));
    }
    if set(&files.key) {
        found.extend(tls::private_key(&files.key).err().map(|e| at("key", e)));
    }
    if let Some(ca) = &files.client_ca {
        found.extend(tls::certificates(ca).err().map(|e| at("client_ca", e)));
    }
    if found.is_empty()
        && set(&files.cert)
        && set(&files.key)
        && let Err(error) = ServerTls::open(files, Protocols::Http)
    {
        found.push(at(key_of(&error, files), error));
    }
    found
}

/// The key of the file that an error is about.
fn key_of(error: &TlsError, files: &TlsFiles) -> &'static str {
    match error {
        TlsError::KeyRefused { .. } => "key",
        TlsError::ClientCaRefused { .. } => "client_ca",
        TlsError::BadCertificate { file, .. } if Some(file) == files.client_ca.as_ref() => "client_ca",
        TlsError::BadCertificate { .. }
        | TlsError::Unreadable { .. }
        | TlsError::TooLarge { .. }
        | TlsError::NotPem { .. }
        | TlsError::NoTls13 { .. } => "cert",
    }
}

fn exporter(path: &str, export: &Export, own: &[SocketAddr]) -> Vec<Finding> {
    if let Err(error) = Sink::new(&export.target) {
        return vec![finding(path, error.to_string())];
    }
    let authority = export.target.endpoint.authority();
    if export.into_self || !sends_to_self(&authority, own) {
        return Vec::new();
    }
    vec![finding(
        path,
        format!(
            "{authority} is this node itself, and everything would go round in a circle: if that is meant, set \
             `into_self: true`"
        ),
    )]
}

/// True for a sink that is this node. A sink whose address is unknown now is checked again by the node when it runs.
fn sends_to_self(authority: &str, own: &[SocketAddr]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| {
        let resolve = async { tokio::time::timeout(RESOLVE_TIME, reaches_self(authority, own)).await };
        matches!(runtime.block_on(resolve), Ok(Ok(true)))
    })
}

#[cfg(test)]
mod tests;

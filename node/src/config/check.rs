//! The rules between keys, applied to values that are each within their own bounds.
//!
//! **Not here**: the bounds of a single key (`keys.rs`), the rules of exporters (`exporters.rs`).

use gophership_vault::start_bytes;

use super::bounds;
use super::fault::Problem;
use super::keys::PEERS;
use super::reader::Reader;
use super::settings::{Config, Listener};
use super::units::show_size;
use crate::machine::Machine;

/// Applies every rule and adds its faults to the reader's.
pub(super) fn check(reader: &mut Reader<'_>, machine: &Machine) {
    let config = reader.config.clone();
    listeners(reader, &config);
    cluster(reader, &config);
    written_out(reader);
    segment(reader, &config);
    disk(reader, &config, machine);
    memory(reader, &config, machine);
    zones(reader, &config);
    archive(reader, &config);
}

/// The paths of one listener's keys.
struct ListenerKeys {
    address: &'static str,
    cert: &'static str,
    key: &'static str,
    insecure: &'static str,
}

macro_rules! listener_keys {
    ($path:literal) => {
        ListenerKeys {
            address: concat!($path, ".address"),
            cert: concat!($path, ".tls.cert"),
            key: concat!($path, ".tls.key"),
            insecure: concat!($path, ".insecure"),
        }
    };
}

fn listeners(reader: &mut Reader<'_>, config: &Config) {
    let mut all: Vec<(ListenerKeys, &Listener)> = vec![
        (listener_keys!("listeners.otlp_grpc"), &config.listeners.otlp_grpc),
        (listener_keys!("listeners.otlp_http"), &config.listeners.otlp_http),
        (listener_keys!("listeners.admin"), &config.listeners.admin),
    ];
    let peer = config.listeners.peer.as_ref();
    all.extend(peer.map(|peer| (listener_keys!("listeners.peer"), peer)));
    for (at, (keys, listener)) in all.iter().enumerate() {
        let is_peer = peer.is_some_and(|peer| std::ptr::eq(peer, *listener));
        match &listener.tls {
            None if is_peer && !(listener.is_loopback() && listener.insecure) => {
                reader.rule(
                    keys.address,
                    &[keys.cert, keys.key, keys.insecure],
                    Problem::PlaintextPeers,
                );
            }
            None if !listener.is_loopback() && !listener.insecure => {
                reader.rule(
                    keys.address,
                    &[keys.cert, keys.key, keys.insecure],
                    Problem::PlaintextExposed,
                );
            }
            None => {}
            Some(tls) => {
                for (path, file) in [(keys.cert, &tls.cert), (keys.key, &tls.key)] {
                    if file.as_os_str().is_empty() {
                        reader.rule(path, &[], Problem::TlsFileMissing);
                    }
                }
                if listener.insecure {
                    reader.rule(keys.insecure, &[], Problem::InsecureWithTls);
                }
            }
        }
        if let Some((other, _)) = all[..at].iter().find(|(_, earlier)| same_socket(earlier, listener)) {
            reader.rule(
                keys.address,
                &[other.address],
                Problem::AddressTaken { other: other.address },
            );
        }
    }
}

/// True where the kernel would refuse the second listener: one port, and one address or one of them the wildcard. Port
/// 0 is a fresh one each time.
fn same_socket(left: &Listener, right: &Listener) -> bool {
    let (left, right) = (left.address, right.address);
    let overlap = left.ip().to_canonical() == right.ip().to_canonical()
        || left.ip().is_unspecified()
        || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && overlap
}

/// Checks the settings of a node of a cluster against each other, and that a single node has none of them.
fn cluster(reader: &mut Reader<'_>, config: &Config) {
    const PEER: &str = "listeners.peer";
    let Some(cluster) = &config.cluster else {
        if config.listeners.peer.is_some() {
            reader.rule(PEER, &[], Problem::OnlyInCluster);
        }
        if config.node.failure_domain.is_some() {
            reader.rule("node.failure_domain", &[], Problem::OnlyInCluster);
        }
        return;
    };
    let missing = |accepted: &str| Problem::Missing {
        accepted: accepted.into(),
    };
    if cluster.name.is_empty() {
        reader.rule(
            "cluster.name",
            &[],
            missing("a name for the cluster, the same on all its nodes"),
        );
    }
    match config.listeners.peer.as_ref().map(|peer| &peer.tls) {
        None => reader.rule(
            PEER,
            &[],
            missing("an address with tls, or with insecure: true on loopback"),
        ),
        Some(Some(tls)) if tls.client_ca.is_none() => reader.rule(
            "listeners.peer.tls.client_ca",
            &[],
            missing("a PEM file: the authorities of the peers' certificates"),
        ),
        Some(_) => {}
    }
    if cluster.peers.is_empty() {
        return reader.rule(
            PEERS,
            &[],
            missing("the nodes of the cluster, each with name and address"),
        );
    }
    if cluster.peer(&config.node.name).is_none() {
        let names: Vec<&str> = cluster.peers.iter().map(|peer| peer.name.as_str()).collect();
        let names = names.join(", ");
        reader.rule("node.name", &[PEERS], Problem::NotAPeer { names });
    }
    let found = cluster.peers.len();
    if usize::from(cluster.replicas) > found {
        let needed = cluster.replicas;
        reader.rule("cluster.replicas", &[PEERS], Problem::TooFewPeers { needed, found });
    }
}

/// Checks that no header of an exporter has its value written out on a node of a cluster, whose exporters are on
/// record.
fn written_out(reader: &mut Reader<'_>) {
    if reader.config.cluster.is_some() {
        for (path, place) in std::mem::take(&mut reader.written_out) {
            reader.fault_in_file(&path, place, Problem::SecretWrittenOut);
        }
    }
}

fn segment(reader: &mut Reader<'_>, config: &Config) {
    const SEGMENT_SIZE: &str = "vault.segment_size";
    let size = config.vault.segment_size;
    if !size.is_multiple_of(bounds::SEGMENT_SIZE_STEP) {
        let nearest = show_size(size.next_multiple_of(bounds::SEGMENT_SIZE_STEP));
        reader.rule(
            SEGMENT_SIZE,
            &[],
            Problem::NotWholePages {
                step: bounds::SEGMENT_SIZE_STEP,
                nearest,
            },
        );
    }
    let least = (config.ingest.max_message + bounds::SEGMENT_OVERHEAD).next_multiple_of(bounds::SEGMENT_SIZE_STEP);
    if size < least {
        let max_message = show_size(config.ingest.max_message);
        let problem = Problem::SegmentTooSmall {
            max_message,
            least: show_size(least),
        };
        reader.rule(SEGMENT_SIZE, &["ingest.max_message"], problem);
    }
}

/// Checks that the WAL files, the ballast and two segments beside them fit before eviction begins; otherwise a node
/// would refuse ingest for ever.
fn disk(reader: &mut Reader<'_>, config: &Config, machine: &Machine) {
    let vault = &config.vault;
    let ballast = start_bytes(config.shards(machine), vault.segment_size);
    let needed = config.wal_bytes(machine) + ballast + bounds::SEGMENTS_BESIDE_WAL_MIN * vault.segment_size;
    let least = (needed * 100).div_ceil(bounds::DISK_QUIET_PERCENT);
    if vault.disk_limit < least {
        let problem = Problem::DiskLimitTooSmall {
            shards: config.shards(machine),
            spares: vault.spares,
            segment_size: show_size(vault.segment_size),
            least: show_size(least.next_multiple_of(1 << 20)),
        };
        reader.rule(
            "vault.disk_limit",
            &["vault.segment_size", "vault.spares", "ingest.shards"],
            problem,
        );
    }
}

/// Checks that a message fits as sent, inflated and converted into one worker's share of the budget without the
/// exporters' part; otherwise it would be refused for ever, and the client told to try again.
fn memory(reader: &mut Reader<'_>, config: &Config, machine: &Machine) {
    let shards = config.shards(machine);
    let least = u64::from(shards) * config.shard_budget_min();
    if config.export_budget(machine) > config.memory_budget(machine) / 2 {
        let problem = Problem::BudgetBelowExporters {
            need: show_size(config.export_budget_min()),
            least: show_size(2 * config.export_budget_min()),
        };
        reader.rule("memory.budget", &["export", "ingest.max_message"], problem);
    } else if config.ingest_budget(machine) < least {
        let max_message = show_size(config.ingest.max_message);
        let problem = Problem::BudgetTooSmall {
            shards,
            max_message,
            least: show_size(config.budget_for(least).next_multiple_of(1 << 20)),
        };
        reader.rule("memory.budget", &["ingest.shards", "ingest.max_message"], problem);
    }
}

fn zones(reader: &mut Reader<'_>, config: &Config) {
    if config.zones.yellow >= config.zones.red {
        let red = config.zones.red.to_string();
        reader.rule("zones.yellow", &["zones.red"], Problem::ZonesOutOfOrder { red });
    }
}

fn archive(reader: &mut Reader<'_>, config: &Config) {
    const ENDPOINT: &str = "archive.endpoint";
    let archive = &config.archive;
    // Beside a folder they may stand, and count for nothing: a cluster changes one setting at a time, and the URL last.
    if archive.url.is_some()
        && !archive.is_folder()
        && let Some(endpoint) = &archive.endpoint
    {
        if !endpoint.https && !endpoint.is_loopback() && !archive.insecure {
            reader.rule(ENDPOINT, &["archive.insecure"], Problem::PlaintextSink);
        }
        if endpoint.https && archive.insecure {
            reader.rule("archive.insecure", &[ENDPOINT], Problem::InsecureWithHttps);
        }
    }
}

//! The configuration of a node.
//!
//! Start with [`settings::Config`] for the settings, and with [`load`] for their sources.
//!
//! - `settings`, `cluster`, `export`, `archive`, `origins`, `choice`: the settings as typed values, and their defaults.
//! - `keys`, `exporter_keys`: the tables of keys. `field`, `units`: the kinds of values. `bounds`: limits.
//! - `load`: file, environment and rules together. `tree`: YAML. `environment`: variables. `reader`, `exporters`,
//!   `peers`: from both to settings. `check`: rules between keys. `suggest`: "did you mean". `fault`: the faults.
//! - `cluster_settings`: the settings that are the cluster's, and a configuration with them.
//! - `footprint`, `print`, `schema`: answers of `gophership config`.

mod archive;
mod bounds;
mod check;
mod choice;
mod cluster;
mod cluster_settings;
mod environment;
mod export;
mod exporter_keys;
mod exporters;
mod fault;
mod field;
mod footprint;
mod keys;
mod load;
mod origins;
mod peers;
mod print;
mod read;
mod reader;
mod schema;
mod settings;
mod suggest;
mod tree;
mod units;

#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveVerify};
pub use cluster::{Cluster, ClusterPeer};
pub use cluster_settings::{
    Values, cluster_values, is_of_cluster, read_exporter, values, with_changes, with_setting, with_settings,
};
pub use environment::Environment;
pub use export::{Compression, Endpoint, Export, ExportKind, ExportStart, ExportTarget, ExportTls, Secret};
pub use fault::{Fault, Faults, Finding, Origin, Place, Problem};
pub use footprint::Footprint;
pub use load::{check, load, load_text, origins};
pub use origins::Origins;
pub use print::{changed_keys, print};
pub use schema::schema;
pub use settings::{Auto, Config, Ingest, Listener, Listeners, Memory, Node, OnFull, TlsFiles, Vault, Zones};
pub(crate) use units::{show_duration, show_size};

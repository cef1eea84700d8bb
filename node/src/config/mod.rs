//! The configuration of a node.
//!
//! Start with [`settings::Config`] for what can be set, and with [`load`] for how it is found.

mod bounds;
mod check;
mod choice;
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
mod print;
mod reader;
mod schema;
mod settings;
mod suggest;
mod tree;
mod units;

#[cfg(test)]
mod tests;

pub use environment::Environment;
pub use export::{Compression, Endpoint, Export, ExportKind, ExportStart, ExportTarget, ExportTls, Secret};
pub use fault::{Fault, Faults, Finding, Origin, Place, Problem};
pub use footprint::Footprint;
pub use load::{check, load, load_text};
pub use origins::Origins;
pub use print::{changed_keys, print};
pub use schema::schema;
pub use settings::{Auto, Config, Ingest, Listener, Listeners, Memory, Node, OnFull, TlsFiles, Vault, Zones};
pub(crate) use units::show_size;

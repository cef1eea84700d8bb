//! The catalogue: the record of nodes, segments, jobs, exporters and cluster-wide settings.
//!
//! - [`command`]: commands and their answers. [`actor`]: their submitters. [`refusal`]: reasons for a refusal.
//!   [`state`]: the state. [`mod@apply`]: the pure transition from state and command to the next state.
//! - [`segment`]: the life of a segment, as a table. [`node`], [`job`], [`exporter`], [`dropped`], [`setting`],
//!   [`archive`], [`restore`]: the other records.
//! - [`row`]: the stored form (bytes in `docs/formats.md`).
//! - [`catalogue`]: the trait that all code above a catalogue uses; through it a catalogue is the vault's
//!   [`Ledger`](gophership_vault::ledger::Ledger).
//! - [`local`]: the catalogue of one node, over redb. [`memory`]: a catalogue that keeps nothing, for tests and
//!   benches. Both pass one suite, `conformance`, behind the feature `testkit`.

pub mod actor;
pub mod apply;
pub mod archive;
pub mod catalogue;
pub mod command;
pub mod dropped;
pub mod error;
pub mod event;
pub mod exporter;
pub mod job;
mod ledger;
pub mod limits;
pub mod local;
pub mod memory;
pub mod node;
pub mod refusal;
pub mod restore;
pub mod row;
pub mod segment;
pub mod setting;
pub mod state;
mod wire;

pub use actor::Actor;
pub use apply::{apply, apply_request, decide, decide_request};
pub use catalogue::Catalogue;
pub use command::{Command, Outcome, Refusal, Reply, Request};
pub use error::{CatalogueError, Disposition};
pub use local::LocalCatalogue;
pub use memory::MemoryCatalogue;
pub use node::NodeFacts;
pub use state::{Counts, State};
pub use wire::WireError;

#[cfg(any(test, feature = "testkit"))]
pub mod conformance;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

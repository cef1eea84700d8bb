//! The catalogue: what is known about nodes, segments, jobs, exporters and cluster-wide settings.
//!
//! - [`command`]: what can be said to it, and its answers; [`actor`]: who says it; [`refusal`]: those that say no. [`state`]: what it knows. [`mod@apply`]: the pure transition between them.
//! - [`segment`]: the life of a segment, as a table. [`node`], [`job`], [`exporter`], [`dropped`]: the other records.
//! - [`row`]: the stored form (bytes in `docs/formats.md`).
//! - [`catalogue`]: the trait that everything above a catalogue uses; through it a catalogue is the vault's
//!   [`Ledger`](gophership_vault::ledger::Ledger).
//! - [`local`]: the catalogue of one node, over redb. [`memory`]: one that keeps nothing, for tests and benches. What
//!   both must do is one suite, `conformance`, behind the feature `testkit`.

pub mod actor;
pub mod apply;
pub mod catalogue;
pub mod command;
pub mod dropped;
pub mod error;
pub mod exporter;
pub mod job;
mod ledger;
pub mod limits;
pub mod local;
pub mod memory;
pub mod node;
pub mod refusal;
pub mod row;
pub mod segment;
pub mod state;

pub use actor::Actor;
pub use apply::apply;
pub use catalogue::Catalogue;
pub use command::{Command, Outcome, Refusal, Reply, Request};
pub use error::{CatalogueError, Disposition};
pub use local::LocalCatalogue;
pub use memory::MemoryCatalogue;
pub use state::{Counts, State};

#[cfg(any(test, feature = "testkit"))]
pub mod conformance;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

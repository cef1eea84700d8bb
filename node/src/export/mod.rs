//! Export: every acknowledged entry is sent on to each configured sink, in order, at least once.
//!
//! ```text
//! worker -> live ring --+
//!                       +-> lane (one per exporter and shard) -> batch -> sink -> cursor
//! vault  -> cursor -----+
//! ```
//!
//! Each exporter has a thread of its own, so that one that hangs holds up no other.
//!
//! - `begin`, `configure`: the exporters of the file, put on record. `exporters`: all of them ([`Exporters::start`]).
//!   `reload`, `not_configured`: exporters that come, change and go.
//! - `exporter`, `control`: one exporter, and its instructions. `lane`: its path through a shard. `lane_source`,
//!   `source`: where that reads. `expire`: expiry of entries. `cursors`: its cursors, committed.
//! - `lost_exports`, `takeover`: the export of what lost nodes owe, and the decision who sends it. `lost_nodes`: the
//!   lost nodes. `lost_source`: where that reads. `told_debts`: what other nodes say that they owe an exporter.
//! - `seek`: cursors moved. `letters`, `dead_letters`, `letter_store`: entries that a sink refused.
//! - `status`, `error`, `limits`: their state, errors and bounds.
//!
//! **Not here**: the wire protocols (`sink`), the rate that zones allow (`gophership_somatic`), the record of cursors
//! and dead letters (the catalogue).

mod begin;
mod configure;
mod control;
mod cursors;
mod dead_letters;
mod error;
mod expire;
mod exporter;
mod exporters;
mod lane;
mod lane_source;
mod letter_store;
mod letters;
mod limits;
mod lost_exports;
mod lost_nodes;
mod lost_source;
mod not_configured;
mod reload;
mod seek;
mod source;
mod status;
mod takeover;
mod told_debts;

pub use begin::{begin, own_ends_on_record};
pub use configure::configure;
pub use cursors::Cursors;
pub use dead_letters::{ReplayedLetters, SendLetters};
pub use error::{ExportError, Forgotten};
pub use exporters::{ExportParts, Exporters, Refused};
pub use lost_exports::LostDebt;
pub use lost_nodes::LostNodes;
pub use reload::Reloaded;
pub use seek::SeekTo;
pub use status::{ExporterView, LaneState};
pub use told_debts::ToldDebts;

#[cfg(test)]
mod lost_tests;
#[cfg(test)]
mod poison_tests;
#[cfg(test)]
mod tests;

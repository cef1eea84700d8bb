//! Export: everything that is acknowledged, sent on to each configured sink, in order, at least once.
//!
//! ```text
//! worker -> live ring --+
//!                       +-> lane (one per exporter and shard) -> batch -> sink -> cursor
//! vault  -> cursor -----+
//! ```
//!
//! Start with [`Exporters::start`]. Each exporter has a thread of its own, so that one that hangs holds up nobody. **Not here**: what is said over the wire (`sink`), the rate that zones allow
//! (`somatic`), what is kept about cursors and dead letters (the catalogue).

mod cursors;
mod dead_letters;
mod expire;
mod exporter;
mod exporters;
mod lane;
mod letter_store;
mod limits;
mod not_configured;
mod orders;
mod reload;
mod source;
mod status;

pub use cursors::Cursors;
pub use dead_letters::{ReplayedLetters, SendLetters};
pub use exporters::{ExportError, ExportParts, Exporters, Forgotten, SeekTo};
pub use reload::Reloaded;
pub use status::{ExporterView, LaneState};

#[cfg(test)]
mod poison_tests;
#[cfg(test)]
mod tests;

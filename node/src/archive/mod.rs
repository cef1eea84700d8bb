//! The archive: sealed segments copied to a store, before they may go.
//!
//! In the order in which a segment passes them:
//!
//! - `record`: the archive and its store on record, which holds segments back from removal.
//! - `parts`: what all of it uses. `opening`: the store opened, and known to be the one on record.
//! - `due`: what this node is to do, by the catalogue alone.
//! - `object`: one object, from its lease to its commit. `manifest`: the manifest that lists it.
//! - `doomed`: objects that never count: dooms those left behind in a former store, and deletes duplicates.
//! - `left_alone`: segments that are tried again only later. `pause`: archiving paused by an operator.
//! - `archiver`: the thread that does all this. `status`: how it fares. `tally`: what is archived, and what is not yet.
//! - `reader`: archived segments read back, for replays and exporters. It needs none of the above but the record.
//! - `words`: names of objects, and errors in words. `limits`: every bound.
//!
//! **Not here**: the format of objects, the rounds and the store (crate `archiver`); the rules of the record (crate
//! `catalogue`).

mod archiver;
mod doomed;
mod due;
mod left_alone;
mod limits;
mod manifest;
mod object;
mod opening;
mod parts;
pub(crate) mod pause;
mod reader;
mod record;
mod status;
mod tally;
#[cfg(test)]
mod two_nodes;
mod words;

pub use archiver::{Archiver, ArchiverSeen};
pub(crate) use parts::ArchiveParts;
pub use reader::ArchiveReader;
pub(crate) use reader::Unread;
pub(crate) use record::put_on_record;
pub(crate) use status::ArchiveView;
pub(crate) use words::key_of;

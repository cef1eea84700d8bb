//! Reading what is stored.
//!
//! - `slot`: what is known of a segment. `holdings`: the segments that this node holds; `debt`: what of them lies
//!   behind a position; `bad_copy`: what is wrong with copies.
//! - `cursor`: the one reader, of WAL files and segments alike. `stored_entry`: what it gives. `sealed_file`: its
//!   position in the file of a sealed segment. `open_sealed`: that file, opened and checked.
//! - `frames`: a segment as frames of a tail stream, for a replica that is behind.
//! - `quarantine`: bytes that were found damaged. `kept_entries`: copies of single entries that outlive their segment.
//! - `segment_file`: a sealed segment's file by its path, block by block. `dump`: a file, for people.
//!
//! *Follower*: a cursor that waits for what may be read later, and passes only what is on record as damaged.

pub(crate) mod bad_copy;
pub(crate) mod cursor;
pub(crate) mod debt;
pub mod dump;
pub(crate) mod frames;
pub(crate) mod holdings;
pub(crate) mod kept_entries;
pub(crate) mod open_sealed;
pub(crate) mod quarantine;
mod sealed_file;
pub(crate) mod segment_file;
pub(crate) mod slot;
pub(crate) mod stored_entry;

//! Reading what is stored.
//!
//! - `table`: which segments there are, and how each stands.
//! - `cursor`: the one reader, of WAL files and segments alike.
//! - `quarantine`: bytes that were found damaged. `kept_entries`: copies of single entries that outlive their segment.
//! - `dump`: a file, for people.
//!
//! *Follower*: a cursor that waits for what may be read later, and passes only what is on record as damaged.

pub(crate) mod cursor;
pub mod dump;
pub(crate) mod kept_entries;
pub(crate) mod quarantine;
pub(crate) mod table;

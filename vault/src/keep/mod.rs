//! Maintenance of files over time.
//!
//! - `sealer`: the thread that puts the changes of segments on record; it may wait for the ledger. `spares`: WAL files
//!   kept ready. `trim`: released segments, and segments dropped to make room, are put on record as trimmed;
//!   `retention` chooses them.
//! - `housekeeper`: the thread that watches the disk and removes files; it never waits for the ledger. `unlink`: the
//!   files of trimmed segments.
//! - `disk_tier`: the fill of the disk. `ballast`: space held back for starts and removals.
//! - `vault_clock`: the clock of retention and expiry. `parts`: the state that all of them share.
//!
//! Key terms: a segment is *released* when no reader needs it any more; *trimmed* when it is on record as removed, and
//! only then its files go; *gone* when no file of it can come back.

pub(crate) mod ballast;
pub(crate) mod disk_tier;
pub(crate) mod housekeeper;
pub(crate) mod parts;
pub(crate) mod retention;
pub(crate) mod sealer;
pub(crate) mod spares;
mod trim;
pub(crate) mod unlink;
pub(crate) mod vault_clock;

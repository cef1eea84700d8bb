//! Maintenance of files over time.
//!
//! - `sealer`: the thread that puts on record what happens to segments; it may wait for the ledger. `spares`: WAL files
//!   kept ready. `trim`: what is released, or dropped to make room, and put on record as trimmed; `retention` says
//!   which.
//! - `sealed_file`: puts the file of a sealed segment in place. `renewal`: the state between a fenced epoch and the
//!   next (`crate::renew`).
//! - `housekeeper`: the thread that watches the disk and removes files; it never waits for the ledger. `to_unlink`,
//!   `unlink`: trimmed segments, and the removal of their files.
//! - `ballast`: space held back for starts and removals. `vault_clock`: the clock that retention and expiry go by.
//!
//! Key terms: a segment is *released* when no reader needs it any more; *trimmed* when it is on record as removed, and
//! only then its files go; *gone* when no file of it can come back.

pub(crate) mod ballast;
pub(crate) mod housekeeper;
mod renewal;
pub(crate) mod retention;
pub(crate) mod sealed_file;
pub(crate) mod sealer;
pub(crate) mod spares;
pub(crate) mod to_unlink;
mod trim;
mod unlink;
pub(crate) mod vault_clock;

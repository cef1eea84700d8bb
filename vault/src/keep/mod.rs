//! What happens to files over time.
//!
//! - `keeper`: the thread that seals what is cut, keeps WAL files ready, watches the disk and removes what is released.
//! - `retention`: which sealed segments may go. `unlink`: their files, removed and confirmed.
//! - `disk_tier`: how full the disk is. `ballast`: space held back for starts and removals.
//! - `vault_clock`: the clock that retention and expiry go by.
//!
//! *Released*: nobody needs the segment any more. *Trimmed*: on record as removed; only then its files go.

pub(crate) mod ballast;
pub(crate) mod disk_tier;
pub(crate) mod keeper;
pub(crate) mod retention;
pub(crate) mod unlink;
pub(crate) mod vault_clock;

//! Recovery: the files that earlier boots left are found, reported, decided on, and sealed. The unit of recovery is a
//! segment.
//!
//! - `left`: the WAL files that exist, and their comparison with the record.
//! - `recovery`: each shard's files in their order, until all are done. `patience`: the length of its waits for
//!   temporary faults.
//! - `report`: the content of this disk for a segment, as plain values. `entries`: the entries of a file. `cuts`:
//!   segment files that an earlier boot cut from a WAL file.
//! - `decide`: the decision on a segment, by the reports of all who hold something of it. It is made of pure functions:
//!   `union` (the entries that are kept, and the files that have them), `marks` (the part that was synced),
//!   `unsynced_tail` (missing numbers: corruption, or never synced), `evidence` (damaged bytes: to quarantine, or never
//!   synced).
//! - `held`: reports of several nodes on a segment. `segment_end`: the end of the segment by their reports.
//! - `execute`: executes the decision: quarantine, seal, removal. `recut`: cuts the segment anew.
//! - `own`: the same files as the leader of a cluster sees them. `own_recoveries`: the recoveries that it leads of this
//!   node's segments (`crate::take_part`). `by_leader`: the wait for them, and their consequences here.
//! - `sealed_content`: what a segment was sealed with, as a holder reports it.
//! - `adopt`: segment files that are complete although the record does not say so. `inventory`: records made from the
//!   files alone.
//!
//! Key terms: a *cut* is a segment file made from a WAL file, whole or not. A *rescued* entry is one that the WAL has
//! lost and a cut still has. A *hole* is a range of numbers that no file holds. *Void* entries are those that were
//! never synced.

mod adopt;
mod by_leader;
mod cuts;
mod decide;
mod entries;
mod evidence;
mod execute;
mod held;
mod inventory;
mod left;
pub(crate) mod marks;
pub(crate) mod own;
mod own_recoveries;
mod patience;
mod recovery;
mod recut;
mod report;
pub(crate) mod sealed_content;
mod segment_end;
mod union;
pub(crate) mod unsynced_tail;

pub(crate) use adopt::adopt_sealed;
pub(crate) use by_leader::wait_for_leader;
pub(crate) use entries::RangeCrc;
pub use entries::{Entries, EntryRange};
pub use held::{Conflict, HeldRange, HeldReport, SegmentEnd};
pub use inventory::{Inventory, take_inventory};
pub(crate) use left::{LeftWal, announce, compare_with_record, list_left};
pub use marks::Durable;
pub(crate) use own_recoveries::OwnRecoveries;
pub(crate) use recovery::{recover_all, recover_now};
pub use segment_end::segment_end;

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
//! - `held`: reports of several nodes on a segment, and the end of the segment by their reports.
//! - `execute`: executes the decision: quarantine, seal, removal. `recut`: cuts the segment anew.
//! - `own`: the same files as the leader of a cluster sees them. `take_part`: what this node does in the recovery that
//!   the leader leads. `by_leader`: the wait for it, and its consequences here.
//!   `restore`: the file of a sealed segment, from what another node has of it.
//! - `adopt`: segment files that are complete although the record does not say so. `inventory`: records made from the
//!   files alone.
//!
//! Key terms: a *cut* is a segment file made from a WAL file, whole or not. A *copy* is an entry that the WAL has lost
//! and a cut still has. A *hole* is a run of numbers that no file holds. *Void* entries are those that were never
//! synced.

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
mod own;
mod patience;
mod recovery;
mod recut;
mod report;
pub(crate) mod restore;
mod take_part;
mod union;
pub(crate) mod unsynced_tail;

pub(crate) use adopt::adopt_sealed;
pub(crate) use by_leader::wait_for_leader;
pub(crate) use entries::RangeCrc;
pub use entries::{Entries, Run};
pub use held::{Conflict, HeldRange, HeldReport, SegmentEnd, segment_end};
pub use inventory::{Inventory, take_inventory};
pub(crate) use left::{LeftWal, announce, compare_with_record, highest_epoch, list_left, segment_files};
pub use marks::Durable;
pub(crate) use recovery::{recover_all, recover_now};
pub(crate) use take_part::OwnRecoveries;

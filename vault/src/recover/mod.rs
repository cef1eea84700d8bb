//! What earlier boots left: found, judged, sealed.
//!
//! - `left`: the files that are there, and how they compare with the record.
//! - `recovery`: each shard's WAL files are scanned, judged oldest first, cut to their end and sealed.
//! - `unsynced_tail`: whether entries that are missing at a file's end were acknowledged, or never synced.
//! - `recut`: a segment cut anew. `evidence`: damaged bytes put into quarantine before their file goes.
//! - `adopt`: segment files that are complete although the record does not say so. `inventory`: the files' own word, for a new record.

mod adopt;
mod evidence;
mod inventory;
mod left;
mod recovery;
mod recut;
pub(crate) mod unsynced_tail;

pub(crate) use adopt::adopt_sealed;
pub use inventory::{Inventory, take_inventory};
pub(crate) use left::{LeftWal, announce, compare_with_record, highest_epoch, list_left, segment_files};
pub(crate) use recovery::{recover_all, recover_now};

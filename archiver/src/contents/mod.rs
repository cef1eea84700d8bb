//! What a store holds, read without a node and without a catalogue.
//!
//! - `chain`: which manifests of a cluster count, by their numbers and hashes (pure). `listed`: they are fetched, and
//!   give their objects. `scan`: all objects there are, whether or not a manifest lists them.
//! - `index`: members and blocks of an object. `check`: one object, by its length or by every byte.
//! - `survey`: the numbers that are given in it. `restorable`: an object that a new cluster can take in.
//! - `range`: the entries of a range of time, by the blocks that can have them.
//!
//! The newest manifests of a chain can be gone without a trace in the others: only the catalogue knows its end.

mod chain;
mod check;
mod index;
mod listed;
mod range;
mod restorable;
mod scan;
mod survey;
#[cfg(test)]
#[cfg(feature = "s3")]
mod tests;

pub use chain::ContentsFault;
pub use check::{Condition, ObjectFault, check_bytes, check_length};
pub use index::{ReadError, index_of};
pub use listed::{clusters, listed, manifests};
pub use range::{Part, PlanFault, RangePlan};
pub use restorable::{Restorable, restorable};
pub use scan::scan;
pub use survey::{Survey, survey};

use crate::round::Listed;

/// An object in a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its name in the store.
    pub key: String,
    /// Its bytes, as the manifest or the store says.
    pub bytes: u64,
    /// What a manifest says of it; `None` where it was found by a scan.
    pub listed: Option<Listed>,
}

impl Found {
    /// The object that a manifest lists.
    pub fn of(listed: Listed) -> Self {
        Self {
            key: listed.key.clone(),
            bytes: listed.bytes,
            listed: Some(listed),
        }
    }
}

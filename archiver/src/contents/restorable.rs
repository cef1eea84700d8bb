//! Objects that a cluster can take in: checked, and with the numbers that its record of them needs.
//!
//! **Invariants**:
//! - I1: the record of an object leads back to its name, or the object is not restorable.
//! - I2: of an object that no manifest lists, every byte was read and every segment compared with its seal.

use gophership_vault::ids::{ClusterId, SegmentId};
use gophership_vault::time::TimeRange;

use super::Found;
use super::check::{Condition, ObjectFault, condition, has_segments, read_all};
use super::index::{index_of, same_length};
use crate::object::ObjectIndex;
use crate::round::Listed;
use crate::store::{ObjectName, StoreReader, object_key};

/// An object that can be taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restorable {
    /// The lease that made it.
    pub lease: u64,
    /// The attempt that made it.
    pub attempt: u32,
    /// What its manifest says of it, or what its own index says where none lists it.
    pub listed: Listed,
}

/// Checks an object. With `full`, and where no manifest lists it, every byte is read, and `read` is told how many more
/// were; else its length and its index. The error is its condition, which is never [`Condition::Whole`].
///
/// # Errors
///
/// It is missing, damaged, or not read.
pub async fn restorable(
    store: &StoreReader,
    cluster: ClusterId,
    found: &Found,
    full: bool,
    mut read: impl FnMut(u64),
) -> Result<Restorable, Condition> {
    let (index, listed) = match &found.listed {
        Some(listed) if !full => {
            let index = look(store, found, &listed.segments).await?;
            read(found.bytes);
            (index, listed.clone())
        }
        listed => {
            let all = read_all(store, found, &mut read).await.map_err(condition)?;
            if !all.faults.is_empty() {
                return Err(Condition::Damaged(all.faults));
            }
            let listed = match listed {
                Some(listed) => listed.clone(),
                None => by_index(found, &all.index, all.digest).ok_or_else(no_segments)?,
            };
            (all.index, listed)
        }
    };
    if index.members().iter().any(|member| member.header.cluster_id != cluster) {
        return Err(Condition::Damaged(vec![ObjectFault::OtherCluster]));
    }
    named(cluster, listed)
}

/// The index of an object that has its length, and the segments that its manifest says.
async fn look(store: &StoreReader, found: &Found, segments: &[SegmentId]) -> Result<ObjectIndex, Condition> {
    let read = async {
        same_length(store, found).await?;
        index_of(store, found).await
    };
    let index: ObjectIndex = read.await.map_err(condition)?;
    match has_segments(&index, segments) {
        true => Ok(index),
        false => Err(Condition::Damaged(vec![ObjectFault::Segments])),
    }
}

fn no_segments() -> Condition {
    Condition::Damaged(vec![ObjectFault::Segments])
}

/// What a manifest would say of an object, by its own index. `None` where there is no entry in it.
fn by_index(found: &Found, index: &ObjectIndex, digest: [u8; 32]) -> Option<Listed> {
    let stats = || index.members().iter().map(|member| &member.stats);
    let union = |ranges: &mut dyn Iterator<Item = TimeRange>| ranges.reduce(TimeRange::union);
    Some(Listed {
        key: found.key.clone(),
        bytes: found.bytes,
        digest,
        entries: stats().map(|stats| stats.entries).sum(),
        records: stats().map(|stats| stats.records).sum(),
        received: union(&mut stats().filter_map(|stats| stats.received))?,
        event: union(&mut stats().filter_map(|stats| stats.event.or(stats.received)))?,
        segments: index.members().iter().map(|member| member.header.id).collect(),
    })
}

/// Takes the lease and the attempt out of its name.
fn named(cluster: ClusterId, listed: Listed) -> Result<Restorable, Condition> {
    let name = ObjectName::parse(&listed.key).filter(|name| name.lease > 0 && name.attempt > 0);
    let first = listed
        .segments
        .first()
        .filter(|first| listed.segments.iter().all(|id| id.node == first.node));
    if let (Some(name), Some(first)) = (name, first) {
        let received = listed.received.min;
        if object_key(cluster, first.node, first.index, name.lease, name.attempt, received) == listed.key {
            return Ok(Restorable {
                lease: name.lease,
                attempt: name.attempt,
                listed,
            });
        }
    }
    Err(Condition::Damaged(vec![ObjectFault::Name]))
}

//! The entries of a range of time, out of many objects, by ranged reads of the blocks that can have some.
//!
//! **Invariants**:
//! - I1: entries of a log (a node's shard) are given in the order of their positions, whole and as they were
//!   acknowledged.
//! - I2: a member counts once by cluster, segment and digest, whatever object has it.
//! - I3: what cannot be read is named, and costs no other block.
//!
//! Two members of one segment with different digests are both given, one after the other.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use futures_util::{Stream, StreamExt};
use gophership_vault::ids::{ClusterId, EntryNumber, SegmentId};
use gophership_vault::time::TimeRange;

use super::Found;
use super::chain::ContentsFault;
use super::index::{ReadError, index_of, same_length};
use crate::limits::{INDEX_ROWS_KEPT, LOOKS_AT_ONCE};
use crate::object::{Member, ObjectEntry, ObjectIndex};
use crate::store::StoreReader;

/// Members with entries of a range of time, in the order in which they are read. Some 80 bytes for each of them, and a
/// bounded number of indexes.
pub struct RangePlan {
    range: TimeRange,
    objects: Vec<Found>,
    members: Vec<PlannedMember>,
    indexes: Indexes,
}

/// A member, by the place of its object in the plan and its own in the object.
struct PlannedMember {
    cluster: ClusterId,
    segment: SegmentId,
    digest: [u8; 32],
    object: u32,
    number: u32,
}

/// What a range gives.
pub enum Part<'a> {
    /// Entries of a member with events in the range, in order.
    Entries(&'a Member, Vec<ObjectEntry<'a>>),
    /// Entries that cannot be read, some of which may be of the range.
    Lost {
        /// The object's name.
        key: &'a str,
        /// Their segment.
        segment: SegmentId,
        /// The numbers of the first and the last of them; `None` for all of the segment.
        entries: Option<(EntryNumber, EntryNumber)>,
        /// The cause.
        error: ReadError,
    },
}

impl RangePlan {
    /// Finds out which members of `objects` have entries of a range of event times, by manifests and indexes. `cluster`
    /// is the only one of which members count, unless it is `None`. `fault` is told what is not in the plan: what is
    /// wrong with the manifests, and the objects whose index cannot be read.
    pub async fn of(
        store: &StoreReader,
        objects: impl Stream<Item = Result<Found, ContentsFault>>,
        cluster: Option<ClusterId>,
        range: TimeRange,
        mut fault: impl FnMut(PlanFault),
    ) -> Self {
        let mut plan = Self {
            range,
            objects: Vec::new(),
            members: Vec::new(),
            indexes: Indexes::default(),
        };
        let opened = objects.filter_map(async |found| match found {
            Ok(object) => object.may_have(range).then_some(Ok(object)),
            Err(error) => Some(Err(error)),
        });
        let opened = opened.map(async |found| match found {
            Ok(object) => Ok((checked_index(store, &object).await, object)),
            Err(error) => Err(error),
        });
        let mut opened = std::pin::pin!(opened.buffer_unordered(LOOKS_AT_ONCE));
        while let Some(index) = opened.next().await {
            match index {
                Ok((Ok(index), object)) => plan.add(object, index, cluster),
                Ok((Err(error), object)) => fault(PlanFault::Object(object.key, error)),
                Err(error) => fault(PlanFault::Contents(error)),
            }
        }
        let key = |member: &PlannedMember| (member.cluster.0, member.segment, member.digest);
        plan.members.sort_by_key(|member| (key(member), member.object));
        plan.members.dedup_by_key(|member| key(member));
        plan
    }

    /// The clusters of its members.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let mut clusters: Vec<_> = self.members.iter().map(|member| member.cluster).collect();
        clusters.dedup();
        clusters
    }

    /// Reads the entries. `each` gets them, and what cannot be read, and ends the reading with a break.
    pub async fn read(mut self, store: &StoreReader, mut each: impl FnMut(Part<'_>) -> ControlFlow<()>) {
        for member in &self.members {
            let object = &self.objects[member.object as usize];
            let index = match self.indexes.get(store, member.object, object).await {
                Ok(index) => index,
                Err(error) => {
                    let lost = Part::Lost {
                        key: &object.key,
                        segment: member.segment,
                        entries: None,
                        error,
                    };
                    if each(lost).is_break() {
                        return;
                    }
                    continue;
                }
            };
            let mut left = index.blocks_of(member.number as usize);
            while let Some(hit) = hits(index, left.clone(), self.range) {
                left.start = hit.end;
                if read_run(store, object, index, hit, self.range, &mut each)
                    .await
                    .is_break()
                {
                    return;
                }
            }
        }
    }

    fn add(&mut self, object: Found, index: ObjectIndex, cluster: Option<ClusterId>) {
        let place = u32::try_from(self.objects.len()).expect("objects in memory");
        let before = self.members.len();
        for (number, member) in index.members().iter().enumerate() {
            let is_wanted = cluster.is_none_or(|cluster| cluster == member.header.cluster_id)
                && hits(&index, index.blocks_of(number), self.range).is_some();
            if is_wanted {
                self.members.push(PlannedMember {
                    cluster: member.header.cluster_id,
                    segment: member.header.id,
                    digest: member.digest,
                    object: place,
                    number: u32::try_from(number).expect("bounded by the limit of members"),
                });
            }
        }
        if self.members.len() > before {
            // Of an object that is read only name and length matter.
            self.objects.push(Found { listed: None, ..object });
            self.indexes.keep(place, index);
        }
    }
}

/// A part of the contents that is in no plan.
pub enum PlanFault {
    /// Manifests, or the list of objects.
    Contents(ContentsFault),
    /// An object of this name, all of it.
    Object(String, ReadError),
}

impl Found {
    /// True unless the manifest says that it has no events of this range.
    fn may_have(&self, range: TimeRange) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.event.overlaps(range))
    }
}

async fn checked_index(store: &StoreReader, object: &Found) -> Result<ObjectIndex, ReadError> {
    if object.listed.is_some() {
        same_length(store, object).await?;
    }
    index_of(store, object).await
}

/// The first blocks of `blocks` that can have events of a range and follow one another, as many as one request reads.
fn hits(index: &ObjectIndex, blocks: Range<usize>, range: TimeRange) -> Option<Range<usize>> {
    let is_hit = |block: &usize| index.blocks()[*block].event.overlaps(range);
    let first = blocks.clone().find(is_hit)?;
    let end = (first..blocks.end).find(|block| !is_hit(block)).unwrap_or(blocks.end);
    Some(index.run(first..end))
}

/// Reads blocks that follow one another.
async fn read_run(
    store: &StoreReader,
    object: &Found,
    index: &ObjectIndex,
    run: Range<usize>,
    range: TimeRange,
    each: &mut impl FnMut(Part<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let from = index.range(run.start).start;
    let rows = &index.blocks()[run.clone()];
    let member = index.member_of(run.start);
    let lost = |first, last, error| Part::Lost {
        key: &object.key,
        segment: member.header.id,
        entries: Some((first, last)),
        error,
    };
    let bytes = match store.range(&object.key, from..index.range(run.end - 1).end).await {
        Ok(bytes) => bytes,
        Err(error) => return each(lost(rows[0].first, rows[rows.len() - 1].last, error.into())),
    };
    for (number, row) in run.zip(rows) {
        let at = index.range(number);
        let part = match index.decode(number, &bytes[(at.start - from) as usize..(at.end - from) as usize]) {
            Ok(block) => {
                let inside = block.entries().filter(|entry| entry.meta.event_range().overlaps(range));
                each(Part::Entries(member, inside.collect()))
            }
            Err(error) => each(lost(row.first, row.last, error.into())),
        };
        part?;
    }
    ControlFlow::Continue(())
}

/// The indexes of some objects of a plan, by their place in it.
#[derive(Default)]
struct Indexes {
    kept: HashMap<u32, ObjectIndex>,
    rows: usize,
}

impl Indexes {
    async fn get(&mut self, store: &StoreReader, place: u32, object: &Found) -> Result<&ObjectIndex, ReadError> {
        if !self.kept.contains_key(&place) {
            let index = index_of(store, object).await?;
            if self.rows + rows(&index) > INDEX_ROWS_KEPT {
                (self.kept, self.rows) = (HashMap::new(), 0);
            }
            self.keep(place, index);
        }
        Ok(&self.kept[&place])
    }

    /// Keeps an index, if there is room for it or nothing else.
    fn keep(&mut self, place: u32, index: ObjectIndex) {
        let rows = rows(&index);
        if self.kept.is_empty() || self.rows + rows <= INDEX_ROWS_KEPT {
            self.rows += rows;
            self.kept.insert(place, index);
        }
    }
}

fn rows(index: &ObjectIndex) -> usize {
    index.members().len() + index.blocks().len()
}

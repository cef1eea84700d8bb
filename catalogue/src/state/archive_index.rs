//! The index of what is archived, and of what is not yet (`archive` keeps it).

use std::collections::{BTreeMap, BTreeSet};

use gophership_vault::ids::SegmentId;

use crate::archive::LeaseNumber;

/// What is derived of segments and objects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ArchiveIndex {
    /// The object that each segment is in. Doomed objects have none.
    pub(super) leases: BTreeMap<SegmentId, LeaseNumber>,
    /// Sealed segments in no object that is listed. Where there is no archive, none.
    pub(super) unarchived: BTreeSet<SegmentId>,
    /// Objects that are leased or committed.
    pub(super) unlisted: BTreeSet<LeaseNumber>,
    /// The number and the bytes of those that are listed.
    pub(super) listed: (u64, u64),
}

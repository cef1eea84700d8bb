//! The archive as a whole, by the catalogue: what is in it, and what is to be in it and is not yet.

use gophership_catalogue::State;
use gophership_catalogue::archive::{ManifestHead, ObjectState};
use uuid::Uuid;

/// The archive of the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ArchiveTally {
    /// Sealed segments that are in no manifest yet, without those whose loss was accepted.
    pub(crate) debt_segments: u64,
    /// Entries in them.
    pub(crate) debt_entries: u64,
    /// Bytes of their files.
    pub(crate) debt_bytes: u64,
    /// Time of the oldest seal among them, nanoseconds since the Unix epoch: on the vault's clock as [`tally`] finds
    /// it.
    pub(crate) debt_oldest_ns: Option<u64>,
    /// Objects that manifests list.
    pub(crate) listed: u64,
    /// Their bytes.
    pub(crate) listed_bytes: u64,
    /// Objects that are in the store, and in no manifest yet.
    pub(crate) committed: u64,
    /// The store of the oldest of them that is in another one than that of now.
    pub(crate) elsewhere: Option<Uuid>,
    /// Objects that are being made, or are to be gone on with.
    pub(crate) leased: u64,
    /// The newest manifest.
    pub(crate) head: ManifestHead,
}

/// Counts all of it. What is archived costs nothing.
pub(super) fn tally(state: &State) -> ArchiveTally {
    let (listed, listed_bytes) = state.listed_objects();
    let mut all = ArchiveTally {
        head: state.manifest_head(),
        listed,
        listed_bytes,
        ..ArchiveTally::default()
    };
    for (_, object) in state.unlisted_objects() {
        match object.state {
            ObjectState::Leased => all.leased += 1,
            ObjectState::Committed(_) | ObjectState::Listed { .. } | ObjectState::Doomed => {
                all.committed += 1;
                let other = Some(object.store).filter(|of| state.archive_store() != Some(*of));
                all.elsewhere = all.elsewhere.or(other);
            }
        }
    }
    for seal in state.unarchived().filter(|seal| state.owes_archive(seal)) {
        all.debt_segments += 1;
        all.debt_entries += seal.stats.entries;
        all.debt_bytes += seal.stats.stored_bytes;
        let oldest = all.debt_oldest_ns.unwrap_or(u64::MAX);
        all.debt_oldest_ns = Some(oldest.min(seal.sealed_ns));
    }
    all
}

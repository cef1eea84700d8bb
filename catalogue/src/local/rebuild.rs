//! Makes a catalogue anew from the files of a data folder, or adds to an older backup the segments that it does not
//! know.
//!
//! **Invariants**:
//! - I1: everything readable in the existing catalogue is kept: cursors, dead letters, settings, trims under way.
//! - I2: the existing file is never overwritten: it is kept under another name.
//! - I3: exporters that the new catalogue does not know begin at the oldest entry, whatever their settings say, since
//!   their cursors are unknown.
//! - I4: no adopted seal is younger than the times that the catalogue knew, or the vault's clock would jump to the wall
//!   clock and expire older segments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::{KnownSegment, SealRecord};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{Identity, Inventory};

use super::disk;
use super::open::{check_identity, check_single, new_state, put_in_place};
use super::store::{OpenBackend, Store};
use crate::catalogue::EXPORTERS_BEGIN_AT_OLDEST;
use crate::error::CatalogueError;
use crate::segment::SegmentRecord;
use crate::state::{Change, Counters, Setting, State};

/// A catalogue that was made anew.
#[derive(Debug)]
pub struct Rebuilt {
    /// Segments that it knows now and did not know before.
    pub taken_in: Vec<SegmentId>,
    /// Segments that are on record as open and have no file: trimmed after this backup of the catalogue was made, or
    /// lost. Readers wait for them.
    pub gone: Vec<SegmentId>,
    /// The reason for which nothing of the former file could be used, if so.
    pub lost: Option<String>,
    /// The path of the former file now, if there was one.
    pub former: Option<PathBuf>,
}

/// Writes a catalogue that knows all segments in `found` beside everything that the one at `path` still holds.
///
/// # Errors
///
/// The existing catalogue is in use, of another version or of another storage; or the new one cannot be written.
pub fn rebuild(path: &Path, identity: &Identity, found: &Inventory) -> Result<Rebuilt, CatalogueError> {
    let backend = || -> OpenBackend { Box::new(disk::open) };
    let exists = fs::metadata(path).is_ok_and(|m| m.len() > 0);
    let (mut state, lost) = match exists.then(|| Store::open_on(path, backend())) {
        Some(Ok((store, stored, state))) => {
            check_single(&store)?;
            drop(store);
            check_identity(path, &stored, identity, &state)?;
            (state, None)
        }
        // The text of the error itself is not used: it says to do this.
        Some(Err(CatalogueError::Corrupt { path: damaged, why })) => (
            new_state(path, identity)?,
            Some(format!("{} is damaged: {why}", damaged.display())),
        ),
        Some(Err(error)) => return Err(error),
        None => (
            new_state(path, identity)?,
            Some(format!("{} is missing", path.display())),
        ),
    };
    let now_ns = now_unix_nano();
    let gone = gone(&state, identity, found);
    let newest_ns = newest_ns(&state, identity);
    let taken_in = take_in(&mut state, &found.segments, now_ns, newest_ns);
    if lost.is_some() {
        let setting = Setting {
            value: "true".to_owned(),
            set_ns: now_ns,
            version: state.counters.settings_version + 1,
        };
        let counters = Counters {
            settings_version: setting.version,
            ..state.counters
        };
        state.install(Change::Counters(counters));
        state.install(Change::Setting(EXPORTERS_BEGIN_AT_OLDEST.to_owned(), setting));
    }
    let former = path.with_extension(format!("redb.before-{now_ns}"));
    let kept = match fs::hard_link(path, &former) {
        Ok(()) => Some(former),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(CatalogueError::io("keep the former file as", &former, e)),
    };
    put_in_place(path, &backend(), identity, &state)?;
    Ok(Rebuilt {
        taken_in,
        gone,
        lost,
        former: kept,
    })
}

/// Segments on record as open of which there is no file.
fn gone(state: &State, identity: &Identity, found: &Inventory) -> Vec<SegmentId> {
    let open = state
        .segments()
        .filter(|segment| matches!(segment, SegmentRecord::Open { .. }));
    let own = open
        .map(|segment| segment.id())
        .filter(|id| id.node == identity.node_id);
    own.filter(|id| !found.named.contains(id)).collect()
}

/// The newest time of the vault's clock that is on record; `None` where there is none.
fn newest_ns(state: &State, identity: &Identity) -> Option<u64> {
    let seals = state.segments().filter_map(|segment| match segment {
        SegmentRecord::Sealed(seal) if seal.id.node == identity.node_id => Some(seal.sealed_ns),
        _ => None,
    });
    seals.chain(state.clock(identity.node_id).map(|mark| mark.now_ns)).max()
}

/// Puts segments on record that have no record; returns their ids.
fn take_in(state: &mut State, found: &[KnownSegment], now_ns: u64, newest_ns: Option<u64>) -> Vec<SegmentId> {
    let mut taken = Vec::new();
    for segment in found {
        let id = segment.id();
        let record = match segment {
            KnownSegment::Open(open) => SegmentRecord::Open {
                open: *open,
                opened_ns: now_ns,
            },
            KnownSegment::Sealed(seal) => SegmentRecord::Sealed(SealRecord {
                sealed_ns: newest_ns.map_or(seal.sealed_ns, |newest| newest.min(seal.sealed_ns)),
                ..*seal
            }),
            KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => continue,
        };
        let mut shard = state.shard(id.node, id.shard);
        let Some(next) = id.index.checked_next().filter(|_| state.segment(id).is_none()) else {
            continue;
        };
        shard.next_index = shard.next_index.max(next);
        state.install(Change::Shard((id.node, id.shard), shard));
        state.install(Change::Segment(record));
        taken.push(id);
    }
    taken
}

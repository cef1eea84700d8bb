//! Segments that earlier epochs left, in a cluster: their files stay as reports, the leader's recovery ends the
//! segments, and here that is waited for.
//!
//! **Invariants**:
//! - I1: nothing is decided here; a WAL file goes only when its segment is on record as sealed, trimmed or empty.
//! - I2: a segment's file counts only when all of it was read and has the digest on record.
//! - I3: a WAL file goes only when every older one of its shard and epoch is settled: its marks are about those.
//! - I4: the segments that are waited for are shown as being recovered.
//!
//! **Not here**: what the leader asks for (`take_part`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::slice;
use std::sync::atomic::Ordering;

use super::execute::quarantine_damage;
use super::left::{LeftWal, NOT_ON_RECORD};
use super::own::{OwnReport, own_entries, own_header, report_own};
use super::patience::{Patience, RETRY};
use super::recovery::remove_wal;
use super::segment_end::{cut_off, segment_end};
use crate::copies::decided::write_decided;
use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::{Epoch, Lsn, SegmentId, ShardId};
use crate::keep::sealed_file::log_sealed;
use crate::ledger::{KnownSegment, SealRecord, TrimReason};
use crate::parts::KeepParts;
use crate::read::quarantine::Quarantined;
use crate::read::slot::Slot;
use crate::segment::reader::SegmentReader;
use crate::segment::verify::verify_segment;
use crate::segment::{make_segment_dir, segment_path};

/// A segment that is waited for.
struct Left {
    id: SegmentId,
    epoch: Option<Epoch>,
    /// Its WAL file, where it is here.
    wal: Option<LeftWal>,
    state: State,
    /// The last error, which is logged once.
    error: Option<String>,
}

impl Left {
    fn is_done(&self) -> bool {
        match self.state {
            State::Waiting => false,
            State::Settled => self.wal.is_none(),
            State::Kept => true,
        }
    }

    /// Logs an error, once while it is the same.
    fn log_once(&mut self, error: &VaultError) {
        let error = error.to_string();
        if self.error.as_ref() != Some(&error) {
            tracing::warn!(segment = %self.id, %error, "segment.recover.waiting");
        }
        self.error = Some(error);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is not on record as ended, or what follows from that is not done.
    Waiting,
    /// It needs nothing more. Its WAL file goes when no older one needs its marks.
    Settled,
    /// It needs nothing more, and its files stay.
    Kept,
}

/// Waits until the segments of `left` and the open ones of `known` are on record as ended, and does what follows from
/// that, until `stopping` returns true. Calls `tried` once, when all that is on record was done.
pub(crate) fn wait_for_leader(
    parts: &KeepParts,
    left: Vec<LeftWal>,
    known: &[KnownSegment],
    stopping: &dyn Fn() -> bool,
    tried: impl FnOnce(),
) {
    let mut all = waited_for(parts, left, known);
    let patience = Patience::Until(stopping);
    let mut tried = Some(tried);
    loop {
        let mut record: BTreeMap<SegmentId, KnownSegment> = BTreeMap::new();
        record.extend(parts.ledger.known().into_iter().map(|known| (known.id(), known)));
        for left in all.iter_mut().filter(|left| left.state == State::Waiting) {
            if stopping() {
                return;
            }
            match settle(parts, left, record.get(&left.id).copied()) {
                Ok(state) => left.state = state,
                Err(error) => left.log_once(&error),
            }
        }
        remove_settled(parts, &mut all);
        if let Some(tried) = tried.take() {
            tried();
        }
        if all.iter().all(Left::is_done) || !patience.wait(RETRY) {
            return;
        }
    }
}

/// The segments to wait for, in order: those with a WAL file, and without one those that are open, or sealed as empty
/// and not trimmed yet.
fn waited_for(parts: &KeepParts, left: Vec<LeftWal>, known: &[KnownSegment]) -> Vec<Left> {
    let mut all: BTreeMap<SegmentId, Left> = BTreeMap::new();
    let new = |id, epoch, wal| Left {
        id,
        epoch,
        wal,
        state: State::Waiting,
        error: None,
    };
    for wal in left {
        all.insert(wal.id, new(wal.id, wal.recorded_epoch(), Some(wal)));
    }
    for segment in known {
        let is_unsettled = match segment {
            KnownSegment::Open(_) => true,
            KnownSegment::Sealed(record) => record.stats.entries == 0,
            KnownSegment::Trimmed(_) | KnownSegment::Lost(_) => false,
        };
        let id = segment.id();
        if id.node == parts.node && is_unsettled {
            all.entry(id).or_insert_with(|| new(id, None, None));
        }
    }
    for id in all.keys().filter(|id| parts.holdings.get(**id).is_none()) {
        parts.holdings.set(*id, Slot::Recovering);
    }
    all.into_values().collect()
}

/// Does what follows from a segment's record.
fn settle(parts: &KeepParts, left: &Left, record: Option<KnownSegment>) -> Result<State, VaultError> {
    let id = left.id;
    match record {
        Some(KnownSegment::Open(_)) => Ok(State::Waiting),
        Some(KnownSegment::Sealed(record)) => settle_sealed(parts, left, record),
        Some(KnownSegment::Trimmed(_)) => {
            parts.to_unlink.add(id);
            parts.holdings.remove(id);
            Ok(State::Settled)
        }
        Some(KnownSegment::Lost(_)) => {
            parts.holdings.set(id, Slot::Lost);
            Ok(State::Kept)
        }
        None => {
            parts.holdings.cannot_be_read(id, NOT_ON_RECORD.to_owned());
            Ok(State::Kept)
        }
    }
}

fn settle_sealed(parts: &KeepParts, left: &Left, record: SealRecord) -> Result<State, VaultError> {
    let id = record.id;
    if record.stats.entries == 0 {
        parts.ledger.trim_segment(id, TrimReason::Empty)?;
        parts.to_unlink.add(id);
        parts.holdings.remove(id);
        count_dropped(parts, left, &record);
        return Ok(State::Settled);
    }
    let _making = parts.own.make(id)?;
    let path = segment_path(&parts.data, id);
    let exists = path.try_exists().map_err(VaultError::io("look at", &path))?;
    let is_here = exists && is_whole(&path, &record);
    if !is_here && !cut_sealed(parts, left, &record)? {
        return if exists && is_of_seal(&path, &record) {
            // Damage costs the blocks that it hits. What may mend them stays.
            parts.holdings.set(id, Slot::Sealed(record));
            Ok(State::Kept)
        } else {
            not_here(parts, left, &record)
        };
    }
    if !record.holders.contains(parts.node) {
        parts.ledger.holds_copy(id, record.digest)?;
    }
    count_dropped(parts, left, &record);
    let holders = record.holders.with(parts.node).unwrap_or(record.holders);
    parts.holdings.set(id, Slot::Sealed(SealRecord { holders, ..record }));
    parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
    log_sealed(&record);
    Ok(State::Settled)
}

/// Says that all of a file can be read, and is what was sealed.
fn is_whole(path: &Path, record: &SealRecord) -> bool {
    let verified = verify_segment(path, record.id, Some(record.digest), &mut |_, _| {});
    verified.is_ok_and(|report| report.ok)
}

/// Says that a file is the one that was sealed, by its footer alone.
fn is_of_seal(path: &Path, record: &SealRecord) -> bool {
    let segment = SegmentReader::open(path, record.id, true);
    segment.is_ok_and(|segment| segment.footer().is_some_and(|footer| footer.digest == record.digest))
}

/// The segment was sealed with what this disk does not have. Its readers wait for a copy of another node. A WAL file
/// that the record counts on stays, since it is evidence.
fn not_here(parts: &KeepParts, left: &Left, record: &SealRecord) -> Result<State, VaultError> {
    let id = record.id;
    let path = segment_path(&parts.data, id);
    if path.try_exists().map_err(VaultError::io("look at", &path))? {
        let len = path.metadata().map_err(VaultError::io("look at", &path))?.len();
        let why = "its segment is sealed with another content".to_owned();
        let reason = Quarantined::new(&path, 0, len, id, None, why);
        parts.quarantine.keep_file(reason)?;
    }
    let why = format!(
        "it was sealed with what this node does not have, and is on nodes {:?}",
        record.holders
    );
    tracing::error!(segment = %id, error = %why, "segment.recover.not_here");
    let sealed = Some(*record);
    parts.holdings.set(id, Slot::Unreadable { why, sealed });
    if record.holders.contains(parts.node) {
        return Ok(State::Kept);
    }
    count_dropped(parts, left, record);
    Ok(State::Settled)
}

/// Logs and counts the entries that this node has past the end that was decided without it: nobody was answered for
/// them.
fn count_dropped(parts: &KeepParts, left: &Left, record: &SealRecord) {
    // What cannot be read now is not needed either.
    let Some(Ok(Some(report))) = left.wal.as_ref().map(|_| report_own(parts, left.id)) else {
        return;
    };
    let last = record.stats.last_lsn.map_or(0, |lsn| lsn.number().get());
    let ranges = report.held().entries;
    let past = ranges.ranges().iter().map(|range| {
        let first = range.first.get().max(last.saturating_add(1));
        u64::from((range.last.get() + 1).saturating_sub(first))
    });
    let entries: u64 = past.sum();
    if entries > 0 {
        tracing::warn!(segment = %left.id, entries, "segment.recover.unacknowledged_dropped");
        parts.counts.unacknowledged.fetch_add(entries, Ordering::Relaxed);
    }
}

/// Cuts the segment from this node's own files up to the end on record; says whether that is what was sealed. It is put
/// in place then.
fn cut_sealed(parts: &KeepParts, left: &Left, record: &SealRecord) -> Result<bool, VaultError> {
    let id = record.id;
    let Some((report, header)) = report_own(parts, id)?.zip(own_header(parts, id)?) else {
        return Ok(false);
    };
    let held = report.held();
    let Some((last, end)) = record
        .stats
        .last_lsn
        .map(Lsn::number)
        .zip(segment_end(slice::from_ref(&held)).ok())
    else {
        return Ok(false);
    };
    let whole = segment_path(&parts.data, id);
    make_segment_dir(file_io::parent(&whole))?;
    let tmp = file_io::with_suffix(&whole, ".new");
    let end = cut_off(&held, end, last);
    let cut = write_decided(&tmp, header, &end, &mut |range, take| {
        own_entries(parts, id, range.first, range.last, take)
    })?;
    if cut.digest != record.digest {
        tracing::warn!(segment = %id, has_wal = left.wal.is_some(), "segment.recover.differs");
        file_io::remove(&tmp)?;
        return Ok(false);
    }
    file_io::rename(&tmp, &whole)?;
    Ok(true)
}

/// Removes the WAL files that no older one needs, each after its damaged bytes are kept.
fn remove_settled(parts: &KeepParts, all: &mut [Left]) {
    let mut needed: BTreeSet<(ShardId, Option<Epoch>)> = BTreeSet::new();
    for left in all {
        let of_epoch = (left.id.shard, left.epoch);
        match left.state {
            State::Waiting => _ = needed.insert(of_epoch),
            State::Settled if !needed.contains(&of_epoch) => {
                let removed = left.wal.as_ref().map_or(Ok(State::Settled), |wal| remove(parts, wal));
                match removed {
                    Ok(State::Settled) => left.wal = None,
                    Ok(state @ (State::Kept | State::Waiting)) => left.state = state,
                    Err(error) => left.log_once(&error),
                }
            }
            State::Settled | State::Kept => {}
        }
    }
}

/// Removes a WAL file. One that is not the segment's stays.
fn remove(parts: &KeepParts, wal: &LeftWal) -> Result<State, VaultError> {
    let Some(OwnReport { files, plan, .. }) = report_own(parts, wal.id)? else {
        return Ok(State::Kept);
    };
    quarantine_damage(parts, wal, &mut DiskReader::direct(&wal.path)?, &plan)?;
    remove_wal(parts, wal, files.wal.as_ref())?;
    Ok(State::Settled)
}

//! Recovery of the files that earlier boots left: each WAL file is scanned, cut to its end, and sealed, while new files
//! already take entries.
//!
//! **Invariants**:
//! - I1: the WAL is the truth until its segment is sealed; a segment file that is not on record is only asked for
//!   entries that the WAL has lost.
//! - I2: damaged bytes that were durable are kept in quarantine before the file they stand in goes.
//! - I3: a file that cannot be read is kept where it is, shown, tried again, and does not stop the rest.
//! - I4: all files of a shard are scanned before the recovery of one of them is decided, the decisions are made oldest
//!   first, and a file goes only when every older one of its boot is done: durable marks are about their own file and
//!   older ones, so an interruption at any point leaves every mark that is still needed.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fail::fail_point;

use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{Epoch, SegmentId, SegmentIndex, ShardId};
use crate::keep::sealer::may_pass;
use crate::ledger::KnownSegment;
use crate::parts::KeepParts;
use crate::read::quarantine::Quarantined;
use crate::read::slot::Slot;
use crate::segment::{open_path, segment_path};

use super::cuts::report_cuts;
use super::decide::decide;
use super::execute::execute;
use super::left::LeftWal;
use super::marks::BootMarks;
use super::patience::{Patience, RETRY};
use super::report::{SegmentReport, WalReport, report_wal};

/// Time between two attempts at a file that could not be read.
const UNREAD_RETRY: Duration = Duration::from_secs(5);

/// A file to recover, with what is known of it so far.
struct Task {
    wal: LeftWal,
    report: Option<SegmentReport>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The segment is to be recovered; a file that could not be read may become readable later.
    ToDo,
    /// The segment cannot be recovered; the file stays.
    Failed,
    /// The segment needs nothing more. The file goes when no older one of its boot needs its marks.
    Done,
    /// An operator accepted the loss of the segment. The file stays, and its marks still serve the decisions on older
    /// ones.
    LossAccepted,
}

impl Task {
    fn new(wal: LeftWal) -> Self {
        Self {
            wal,
            report: None,
            progress: Progress::ToDo,
        }
    }

    /// The boot that wrote the file, where that is known.
    fn epoch(&self) -> Option<Epoch> {
        let reported = self.report.as_ref().map(|report| report.epoch);
        reported.or_else(|| self.wal.recorded_epoch())
    }
}

/// Recovers the segments that it can at once, and returns those that are left.
pub(crate) fn recover_now(parts: &KeepParts, left: Vec<LeftWal>) -> Vec<LeftWal> {
    let mut shards = by_shard(left);
    // The start of the vault waits for this, so it waits for nothing itself.
    shards
        .values_mut()
        .for_each(|tasks| recover_shard(parts, tasks, &Patience::None));
    let tasks = shards.into_values().flatten();
    tasks.map(|task| task.wal).collect()
}

fn by_shard(left: Vec<LeftWal>) -> BTreeMap<ShardId, Vec<Task>> {
    let mut shards: BTreeMap<ShardId, Vec<Task>> = BTreeMap::new();
    for wal in left {
        shards.entry(wal.id.shard).or_default().push(Task::new(wal));
    }
    shards
}

/// Recovers all segments, and tries files that could not be read again until that succeeds or `stopping` returns true.
/// Calls `tried` once, when every file was tried.
pub(crate) fn recover_all(parts: &KeepParts, left: Vec<LeftWal>, stopping: &dyn Fn() -> bool, tried: impl FnOnce()) {
    let mut shards = by_shard(left);
    let patience = Patience::Until(stopping);
    let mut tried = Some(tried);
    loop {
        for tasks in shards.values_mut() {
            recover_shard(parts, tasks, &patience);
        }
        if let Some(tried) = tried.take() {
            tried();
        }
        let mut tasks = shards.values().flatten();
        if !tasks.any(|t| t.progress == Progress::ToDo) || !patience.wait(UNREAD_RETRY) {
            return;
        }
    }
}

/// Recovers the files of one shard, oldest first. `tasks` keeps those that are not done, and the files whose marks they
/// need.
fn recover_shard(parts: &KeepParts, tasks: &mut Vec<Task>, patience: &Patience<'_>) {
    for task in tasks.iter_mut() {
        if task.progress != Progress::Done && parts.holdings.is_lost(task.wal.id) {
            task.progress = Progress::LossAccepted;
        }
    }
    let unread = report_all(parts, tasks, patience);
    let mut marks: BTreeMap<Epoch, BootMarks> = BTreeMap::new();
    for report in tasks.iter().filter_map(|t| t.report.as_ref()) {
        let scans = report.wal.iter().map(|wal| &wal.scan);
        scans.for_each(|scan| marks.entry(report.epoch).or_default().add(scan));
    }
    let mut boots_to_do: BTreeSet<Epoch> = BTreeSet::new();
    let mut left = Vec::new();
    let mut rest = std::mem::take(tasks).into_iter();
    for mut task in rest.by_ref() {
        if patience.is_stopping() {
            left.push(task);
            break;
        }
        if task.progress == Progress::ToDo {
            let tried = match unread.get(&task.wal.id.index) {
                Some(why) => Err(VaultError::Unreadable {
                    id: task.wal.id,
                    why: why.clone(),
                }),
                None => {
                    let tried = recover_patiently(parts, &mut task, &marks, patience);
                    if matches!(tried, Err(VaultError::Unreadable { .. })) {
                        // The disk returns other bytes now than when it was scanned.
                        task.report = None;
                    }
                    tried
                }
            };
            task.progress = progress_after(parts, &task, tried, patience);
        }
        let is_needed = task.epoch().is_some_and(|epoch| boots_to_do.contains(&epoch));
        match task.progress {
            Progress::Done if !is_needed && remove_done(parts, &task) => continue,
            Progress::ToDo | Progress::Failed => boots_to_do.extend(task.epoch()),
            Progress::Done | Progress::LossAccepted => {}
        }
        left.push(task);
    }
    left.extend(rest);
    *tasks = left;
}

/// Scans the files that are to be recovered, and those whose marks they need. Returns, for each that cannot be decided
/// on now, the reason.
fn report_all(parts: &KeepParts, tasks: &mut [Task], patience: &Patience<'_>) -> BTreeMap<SegmentIndex, String> {
    let mut unread: BTreeMap<SegmentIndex, String> = BTreeMap::new();
    let mut older_to_do = false;
    for task in tasks.iter_mut() {
        if task.progress == Progress::ToDo && needs_nothing(parts, &task.wal) {
            task.progress = Progress::Done;
        }
        older_to_do |= task.progress == Progress::ToDo;
        if task.progress == Progress::Failed || task.report.is_some() || !older_to_do {
            continue;
        }
        match report_wal(parts, &task.wal, patience) {
            Ok(report) => task.report = Some(report),
            Err(error) if error.disposition() == Disposition::Corrupt => {
                // A file that is only kept for its marks has none then; its segment is complete.
                if task.progress == Progress::ToDo {
                    task.progress = progress_after(parts, task, Err(error), patience);
                }
            }
            Err(_) if task.progress == Progress::LossAccepted => {}
            Err(error) => drop(unread.insert(task.wal.id.index, error.to_string())),
        }
    }
    // A file that cannot be read now may hold marks of older ones of its boot.
    let mut newer: Vec<(Option<Epoch>, SegmentId)> = Vec::new();
    for task in tasks.iter().rev() {
        let epoch = task.epoch();
        let is_unread = unread.contains_key(&task.wal.id.index);
        if is_unread {
            newer.push((epoch, task.wal.id));
        }
        let of_boot = newer.iter().find(|(other, _)| other.is_none() || *other == epoch);
        if let Some((_, id)) = of_boot.filter(|_| !is_unread) {
            let why =
                format!("it waits for segment {id}, which cannot be read now and may say how far this one was synced");
            unread.insert(task.wal.id.index, why);
        }
    }
    unread
}

/// The progress of a file after an attempt; a failure is shown.
fn progress_after(parts: &KeepParts, task: &Task, tried: Result<(), VaultError>, patience: &Patience<'_>) -> Progress {
    let Err(error) = tried else { return Progress::Done };
    if patience.is_stopping() {
        return Progress::ToDo;
    }
    let id = task.wal.id;
    let known_before = parts.holdings.get(id);
    if !matches!(known_before, Some(Slot::Unreadable { why, .. }) if why == error.to_string()) {
        tracing::error!(segment = %id, path = %task.wal.path.display(), %error, "segment.recover.failed");
    }
    parts.holdings.cannot_be_read(id, error.to_string());
    match error {
        VaultError::Damaged { .. } | VaultError::Format { .. } => Progress::Failed,
        _ => Progress::ToDo,
    }
}

/// True where a file has only to be removed: its segment is sealed and in place, or trimmed.
fn needs_nothing(parts: &KeepParts, wal: &LeftWal) -> bool {
    match wal.known {
        Some(KnownSegment::Sealed(_)) => {
            // Where that cannot be determined the file stays: recovery cuts it again, with the same result.
            segment_path(&parts.data, wal.id).try_exists().unwrap_or(false) || parts.holdings.get(wal.id).is_none()
        }
        Some(KnownSegment::Trimmed(_)) => true,
        Some(KnownSegment::Open(_) | KnownSegment::Lost(_)) | None => false,
    }
}

/// Removes a file whose segment needs nothing more, and the frames that were cut of it for replicas. One of which pages
/// could not be read is kept in quarantine: the disk may give them another time.
///
/// # Errors
///
/// It could not be removed.
pub(super) fn remove_wal(parts: &KeepParts, wal: &LeftWal, report: Option<&WalReport>) -> Result<(), VaultError> {
    if report.is_some_and(|report| report.misses_pages) {
        let why = "the disk did not give all of its pages when it was recovered".to_owned();
        let reason = Quarantined::new(&wal.path, 0, wal.bytes, wal.id, None, why);
        parts.quarantine.keep_file(reason)?;
    } else {
        file_io::remove(&wal.path)?;
    }
    file_io::remove(&open_path(&parts.data, wal.id))?;
    let before = parts.counts.wal_bytes.fetch_sub(wal.bytes, Ordering::Relaxed);
    assert!(
        before >= wal.bytes,
        "the bytes of every WAL file are counted before it goes"
    );
    Ok(())
}

/// Removes the file of a task; says whether it went.
fn remove_done(parts: &KeepParts, task: &Task) -> bool {
    let report = task.report.as_ref().and_then(|report| report.wal.as_ref());
    let removed = remove_wal(parts, &task.wal, report);
    if let Err(error) = &removed {
        tracing::warn!(segment = %task.wal.id, %error, "wal.file.leftover");
    }
    removed.is_ok()
}

/// Recovers one file, and waits for temporary faults to pass: a full disk, the ledger.
fn recover_patiently(
    parts: &KeepParts,
    task: &mut Task,
    marks: &BTreeMap<Epoch, BootMarks>,
    patience: &Patience<'_>,
) -> Result<(), VaultError> {
    loop {
        let tried = recover_one(parts, task, marks);
        let short = matches!(&tried, Err(error) if error.disposition() == Disposition::Overloaded);
        parts.recovery_is_short.store(short, Ordering::Relaxed);
        match tried {
            Err(error) if (may_pass(&error) || is_of_ledger(&error)) => {
                tracing::warn!(segment = %task.wal.id, %error, "segment.recover.waiting");
                if !patience.wait(RETRY) {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// True for an error that is about the ledger's state, and not about the file.
fn is_of_ledger(error: &VaultError) -> bool {
    matches!(error, VaultError::Ledger(said) if said.disposition != Disposition::Invalid)
}

/// Recovers one file with the marks of its boot's files.
fn recover_one(parts: &KeepParts, task: &mut Task, marks: &BTreeMap<Epoch, BootMarks>) -> Result<(), VaultError> {
    let report = task.report.as_mut().expect("a file is scanned before it is recovered");
    fail_point!("recovery.reported");
    report.cuts = report_cuts(&parts.data, report);
    let boot = marks.get(&report.epoch);
    let durable = boot.map(|boot| boot.of(report.id.index)).unwrap_or_default();
    let plan = decide(slice::from_ref(report), durable).map_err(|undecided| VaultError::Unreadable {
        id: report.id,
        why: undecided.to_string(),
    })?;
    fail_point!("recovery.decided");
    execute(parts, &task.wal, report, &plan)
}

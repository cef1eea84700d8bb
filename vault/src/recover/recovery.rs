//! Recovery of what earlier boots left: each WAL file is scanned, cut to its end, and sealed, while new files already take entries.
//!
//! **Invariants.** I1: the WAL is the truth until its segment is sealed; a segment file that is not on record is only asked for entries that the WAL has lost. I2: bytes that were durable and
//! are damaged are kept in quarantine before the file they stand in goes. I3: what cannot be read is kept where it is, shown, tried again, and does not stop the rest. I4: all files of a
//! shard are scanned before one of them is judged, they are judged oldest first, and a file goes only when every older one of its boot is done: durable marks speak of their own file
//! and of older ones, so an interruption at any point leaves every mark that is still needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use fail::fail_point;

use crate::error::{Disposition, VaultError};
use crate::file_io::{self, DiskReader};
use crate::ids::{EntryNumber, Epoch, SegmentId, SegmentIndex, ShardId};
use crate::keep::parts::KeepParts;
use crate::keep::sealer::{log_sealed, may_pass, put_in_place};
use crate::ledger::{KnownSegment, SealRecord, TrimReason};
use crate::limits::PAGE;
use crate::read::holdings::Slot;
use crate::read::quarantine::Quarantined;
use crate::recover::unsynced_tail::{Durable, judge_missing};
use crate::replicas::NodeSet;
use crate::segment::footer::HoleReason;
use crate::segment::writer::FinishedSegment;
use crate::segment::{open_path, segment_path};
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::scan::{WalScan, damaged_headers, read_header, scan};

use super::evidence::{keep_bytes, keep_damaged};
use super::left::LeftWal;
use super::recut::{EarlierCuts, cut_again, earlier_cuts, two_reads_differ, without};

/// How long recovery waits before it tries again what may pass (a full disk, a catalogue without a leader).
const RETRY: Duration = Duration::from_secs(1);
/// How long it waits before it tries again a file that could not be read.
const UNREAD_RETRY: Duration = Duration::from_secs(5);
/// How often a wait looks whether the vault is stopping.
const STOP_LOOK: Duration = Duration::from_millis(50);
/// How often a file with pages that the disk does not give is scanned before it is cut around them.
const UNREAD_SCANS: u32 = 3;

/// A file to recover, as far as it is understood.
struct Task {
    wal: LeftWal,
    survey: Option<Survey>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// To be recovered; what could not be read may be read later.
    ToDo,
    /// It cannot be recovered; the file stays.
    Failed,
    /// Its segment needs nothing more. The file goes when no older one of its boot needs its marks.
    Done,
    /// An operator gave its segment up. The file stays, and older ones are judged with what it still says.
    GivenUp,
}

/// A file's header and contents, as one scan found them.
struct Survey {
    header: WalHeader,
    header_is_whole: bool,
    found: WalScan,
    /// Whether the disk did not give pages that may hold something.
    misses_pages: bool,
}

/// For the segments of one boot: how far durable marks say that each was synced, and where each ended according to the file after it.
#[derive(Default)]
struct BootMarks {
    durable: BTreeMap<SegmentIndex, EntryNumber>,
    ends: BTreeMap<SegmentIndex, EntryNumber>,
}

impl BootMarks {
    fn add(&mut self, found: &WalScan) {
        for (index, number) in &found.marks {
            let highest = self.durable.entry(*index).or_insert(*number);
            *highest = (*number).max(*highest);
        }
        self.ends.extend(found.before.map(|last| (last.index(), last.number())));
    }

    fn of(&self, own: SegmentIndex) -> Durable {
        Durable {
            to: self.durable.get(&own).copied(),
            all: self.durable.keys().any(|index| *index > own),
            end: self.ends.get(&own).copied(),
        }
    }
}

impl Task {
    fn new(wal: LeftWal) -> Self {
        Self {
            wal,
            survey: None,
            progress: Progress::ToDo,
        }
    }

    /// The boot that wrote the file, where that is known.
    fn epoch(&self) -> Option<Epoch> {
        let surveyed = self.survey.as_ref().map(|s| s.header.epoch);
        surveyed.or_else(|| self.wal.recorded_epoch())
    }
}

/// Recovers what it can at once, and gives back what is left to do.
pub(crate) fn recover_now(parts: &KeepParts, left: Vec<LeftWal>) -> Vec<LeftWal> {
    let mut shards = by_shard(left);
    // The start waits for this, so it waits for nothing itself.
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

/// Recovers all of it, and tries again what could not be read until that succeeds or `stopping` says so. `tried` is called once, when everything was.
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

/// For how long a recovery waits for what passes.
enum Patience<'a> {
    /// Not at all.
    None,
    /// Until this says that the vault is stopping.
    Until(&'a dyn Fn() -> bool),
}

impl Patience<'_> {
    fn is_stopping(&self) -> bool {
        match self {
            Self::None => false,
            Self::Until(stopping) => stopping(),
        }
    }

    /// Waits; says whether it did, to the end.
    fn wait(&self, time: Duration) -> bool {
        let Self::Until(stopping) = self else { return false };
        let until = Instant::now() + time;
        while Instant::now() < until && !stopping() {
            thread::sleep(STOP_LOOK);
        }
        !stopping()
    }
}

/// Recovers the files of one shard, oldest first. In `tasks` is left what is not done, and the files whose marks it needs.
fn recover_shard(parts: &KeepParts, tasks: &mut Vec<Task>, patience: &Patience<'_>) {
    for task in tasks.iter_mut() {
        if task.progress != Progress::Done && parts.holdings.is_lost(task.wal.id) {
            task.progress = Progress::GivenUp;
        }
    }
    let unread = survey_all(parts, tasks, patience);
    let mut marks: BTreeMap<Epoch, BootMarks> = BTreeMap::new();
    for Survey { header, found, .. } in tasks.iter().filter_map(|t| t.survey.as_ref()) {
        marks.entry(header.epoch).or_default().add(found);
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
                    let tried = recover_patiently(parts, &task, &marks, patience);
                    if matches!(tried, Err(VaultError::Unreadable { .. })) {
                        // The disk gives other bytes now than when it was scanned.
                        task.survey = None;
                    }
                    tried
                }
            };
            task.progress = progress_after(parts, &task, tried, patience);
        }
        let is_needed = task.epoch().is_some_and(|epoch| boots_to_do.contains(&epoch));
        match task.progress {
            Progress::Done if !is_needed && remove_wal(parts, &task) => continue,
            Progress::ToDo | Progress::Failed => boots_to_do.extend(task.epoch()),
            Progress::Done | Progress::GivenUp => {}
        }
        left.push(task);
    }
    left.extend(rest);
    *tasks = left;
}

/// Scans the files that are to be recovered, and those whose marks they need. Says of each that cannot be judged now why not.
fn survey_all(parts: &KeepParts, tasks: &mut [Task], patience: &Patience<'_>) -> BTreeMap<SegmentIndex, String> {
    let mut unread: BTreeMap<SegmentIndex, String> = BTreeMap::new();
    let mut older_to_do = false;
    for task in tasks.iter_mut() {
        if task.progress == Progress::ToDo && needs_nothing(parts, &task.wal) {
            task.progress = Progress::Done;
        }
        older_to_do |= task.progress == Progress::ToDo;
        if task.progress == Progress::Failed || task.survey.is_some() || !older_to_do {
            continue;
        }
        match survey(parts, &task.wal, patience) {
            Ok(survey) => task.survey = Some(survey),
            Err(error) if error.disposition() == Disposition::Corrupt => {
                // One that is only kept for its marks has none then; its segment is whole.
                if task.progress == Progress::ToDo {
                    task.progress = progress_after(parts, task, Err(error), patience);
                }
            }
            Err(_) if task.progress == Progress::GivenUp => {}
            Err(error) => drop(unread.insert(task.wal.id.index, error.to_string())),
        }
    }
    // A file that cannot be read now may say how far older ones of its boot were synced.
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

/// What a try means for a file; a failure is shown.
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

/// Whether a file is only still to be removed: its segment is sealed and in place, or trimmed.
fn needs_nothing(parts: &KeepParts, wal: &LeftWal) -> bool {
    match wal.known {
        Some(KnownSegment::Sealed(_)) => {
            // Where that cannot be told the file stays: recovery cuts it again and finds the same.
            segment_path(&parts.data, wal.id).try_exists().unwrap_or(false) || parts.holdings.get(wal.id).is_none()
        }
        Some(KnownSegment::Trimmed(_)) => true,
        Some(KnownSegment::Open(_) | KnownSegment::Lost(_)) | None => false,
    }
}

/// Removes a file; says whether it went. One of which pages could not be read is kept in quarantine: the disk may give them another time.
fn remove_wal(parts: &KeepParts, task: &Task) -> bool {
    let wal = &task.wal;
    let removed = if task.survey.as_ref().is_some_and(|s| s.misses_pages) {
        let why = "the disk did not give all of its pages when it was recovered".to_owned();
        let reason = Quarantined::new(&wal.path, 0, wal.bytes, wal.id, None, why);
        parts.quarantine.keep_file(reason)
    } else {
        file_io::remove(&wal.path)
    };
    if let Err(error) = removed {
        tracing::warn!(segment = %wal.id, %error, "wal.file.leftover");
        return false;
    }
    parts.counts.wal_bytes.fetch_sub(wal.bytes, Ordering::Relaxed);
    true
}

/// Scans a file. Pages that the disk does not give are asked for a few times before the scan stands.
fn survey(parts: &KeepParts, wal: &LeftWal, patience: &Patience<'_>) -> Result<Survey, VaultError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut reader = DiskReader::direct(&wal.path)?;
        let (header, header_is_whole) = header_of(parts, wal, &mut reader)?;
        let found = scan(&mut reader, &header, &mut |_, _| Ok(()))?;
        // Pages behind the end hold nothing.
        let misses_pages = reader.met_bad_pages() && (found.end_is_unread || !found.bad.is_empty());
        if !misses_pages || tries == UNREAD_SCANS || !patience.wait(RETRY) {
            return Ok(Survey {
                header,
                header_is_whole,
                found,
                misses_pages,
            });
        }
    }
}

/// Recovers one file, and waits for what passes: room on the disk, the ledger.
fn recover_patiently(
    parts: &KeepParts,
    task: &Task,
    marks: &BTreeMap<Epoch, BootMarks>,
    patience: &Patience<'_>,
) -> Result<(), VaultError> {
    let wal = &task.wal;
    loop {
        let tried = recover_one(parts, task, marks);
        let short = matches!(&tried, Err(error) if error.disposition() == Disposition::Overloaded);
        parts.recovery_is_short.store(short, Ordering::Relaxed);
        match tried {
            Err(error) if (may_pass(&error) || is_of_ledger(&error)) => {
                tracing::warn!(segment = %wal.id, %error, "segment.recover.waiting");
                if !patience.wait(RETRY) {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// Whether it tells of the ledger's state, and nothing of the file.
fn is_of_ledger(error: &VaultError) -> bool {
    matches!(error, VaultError::Ledger(said) if said.disposition != Disposition::Invalid)
}

/// Recovers one file with what its boot's files say of it.
fn recover_one(parts: &KeepParts, task: &Task, marks: &BTreeMap<Epoch, BootMarks>) -> Result<(), VaultError> {
    let Task {
        wal,
        survey: Some(survey),
        ..
    } = task
    else {
        unreachable!("a file that was not surveyed is not recovered");
    };
    let Survey {
        header,
        header_is_whole,
        found,
        ..
    } = survey;
    fail_point!("recovery.surveyed");
    let mut reader = DiskReader::direct(&wal.path)?;
    let durable = marks
        .get(&header.epoch)
        .map(|boot| boot.of(header.id.index))
        .unwrap_or_default();
    // Both header pages were synced before the file was on record: a file without them is not one that was never written to.
    let end_is_unread = found.end_is_unread || (!header_is_whole && found.present.is_empty());
    let judged = judge_missing(&found.present, durable, end_is_unread);
    let EarlierCuts {
        copies,
        not_opened,
        half_read,
    } = earlier_cuts(parts, header, found);
    let holes = without(&judged, &copies);
    let lost = holes.iter().any(|h| h.reason == HoleReason::Quarantined);
    if let Some(error) = not_opened.filter(|_| lost) {
        let why = format!("the WAL file has lost entries that may stand in an earlier cut of it: {error}");
        return Err(VaultError::Unreadable { id: wal.id, why });
    }
    for path in half_read.iter().filter(|_| lost) {
        let why = "the disk did not give all of its pages, and the WAL file has lost entries".to_owned();
        let bytes = path.metadata().map_or(0, |file| file.len());
        parts
            .quarantine
            .keep_file(Quarantined::new(path, 0, bytes, wal.id, None, why))?;
    }
    keep_damaged(parts, wal, &mut reader, found, &judged, durable, &copies)?;
    for at in damaged_headers(&mut reader, header.size) {
        keep_bytes(
            parts,
            wal,
            &mut reader,
            (at, PAGE),
            None,
            "a header page of the WAL file is damaged; the other copy or the catalogue served",
        )?;
    }
    let nothing = found.present.is_empty() && copies.is_empty() && !lost;
    if wal.known.is_none() && !nothing {
        return Err(VaultError::Damaged {
            path: wal.path.clone(),
            offset: 0,
            what: "it holds entries, and its segment is not on record: take it in with `gophership catalogue rebuild`",
        });
    }
    if nothing && !matches!(wal.known, Some(KnownSegment::Sealed(_))) {
        drop_empty(parts, wal, header, found)
    } else {
        let segment = cut_again(parts, header, &mut reader, found, &copies, holes)?;
        seal(parts, wal, &segment)
    }
}

/// The file's header, and whether it is its own: where both pages are damaged it is what the ledger knows.
fn header_of(parts: &KeepParts, wal: &LeftWal, reader: &mut DiskReader) -> Result<(WalHeader, bool), VaultError> {
    let open = match wal.known {
        Some(KnownSegment::Open(open)) => Some(open),
        Some(KnownSegment::Sealed(_) | KnownSegment::Trimmed(_) | KnownSegment::Lost(_)) | None => None,
    };
    match (read_header(reader), open) {
        (Ok(header), open) if header.id != wal.id || open.is_some_and(|open| header.uuid != open.file_uuid) => {
            Err(VaultError::Damaged {
                path: wal.path.clone(),
                offset: 0,
                what: "it is not the file that is on record for this segment",
            })
        }
        (Ok(header), _) => Ok((header, true)),
        (Err(VaultError::Damaged { .. }), Some(open)) => {
            let header = WalHeader {
                id: wal.id,
                epoch: open.epoch,
                uuid: open.file_uuid,
                cluster_id: parts.plan.cluster_id,
                size: parts.plan.size.max(reader.len()),
                created_ns: 0,
                tenants: vec![Tenant::default_tenant()],
            };
            Ok((header, false))
        }
        (Err(error), _) => Err(error),
    }
}

/// Ends a segment that never held an entry. Its file was read twice when this is called done: one read may be wrong.
fn drop_empty(parts: &KeepParts, wal: &LeftWal, header: &WalHeader, found: &WalScan) -> Result<(), VaultError> {
    let mut reader = DiskReader::direct(&wal.path)?;
    if scan(&mut reader, header, &mut |_, _| Ok(()))? != *found {
        return Err(two_reads_differ(wal.id));
    }
    if matches!(wal.known, Some(KnownSegment::Open(_))) {
        parts.ledger.trim_segment(wal.id, TrimReason::Empty)?;
        parts.to_unlink.add(wal.id);
    }
    parts.holdings.remove(wal.id);
    Ok(())
}

fn seal(parts: &KeepParts, wal: &LeftWal, segment: &FinishedSegment) -> Result<(), VaultError> {
    if let Some(KnownSegment::Sealed(before)) = wal.known {
        // Its segment file is gone, and its WAL was still there.
        if before.digest != segment.digest {
            let what = "its segment file is gone, and what it holds is not what was sealed";
            return Err(VaultError::Damaged {
                path: wal.path.clone(),
                offset: 0,
                what,
            });
        }
        file_io::rename(&segment.path, &segment_path(&parts.data, wal.id))?;
        parts.holdings.set(wal.id, Slot::Sealed(before));
        return Ok(());
    }
    let record = SealRecord {
        id: wal.id,
        epoch: segment.header.epoch,
        stats: segment.stats,
        digest: segment.digest,
        sealed_ns: parts.clock.now_ns(),
        holders: NodeSet::of(parts.node),
    };
    put_in_place(parts, &segment.path, wal.id)?;
    parts.ledger.seal_segment(&record)?;
    log_sealed(&record);
    file_io::remove(&open_path(&parts.data, wal.id))?;
    parts.holdings.set(wal.id, Slot::Sealed(record));
    parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

//! Recovery of what earlier boots left: each WAL file is scanned, cut to its end, and sealed, while new files already take entries.
//!
//! **Invariants.** I1: the WAL is the truth until its segment is sealed; a segment file that is not on record is only asked for entries that the WAL has lost. I2: bytes that were durable and
//! are damaged are kept in quarantine before the file they stand in goes. I3: what cannot be read is kept where it is, shown, and does not stop the rest. I4: files go newest first, so that
//! the durable marks of later files are known when an earlier one is judged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::entry::EntryMeta;
use crate::error::{Disposition, VaultError};
use crate::file_io::{self, DiskReader};
use crate::ids::{EntryNumber, Epoch, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::keeper::{KeeperParts, may_pass, seal_on_record};
use crate::ledger::{KnownSegment, OpenRecord, SealRecord, TrimReason};
use crate::limits::PAGE;
use crate::quarantine::Quarantined;
use crate::recovery_end::{Durable, judge_missing};
use crate::segment::block::BlockBuilder;
use crate::segment::footer::{Hole, HoleReason};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};
use crate::segment::{open_path, segment_path};
use crate::table::Slot;
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::scan::{WalScan, damaged_headers, read_header, scan};

/// How long recovery waits before it tries again what may pass (a full disk, a catalogue without a leader).
const RETRY: Duration = Duration::from_secs(1);

/// A WAL file that an earlier boot left.
#[derive(Clone, Debug)]
pub(crate) struct LeftWal {
    pub(crate) id: SegmentId,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// What is on record of its segment.
    pub(crate) known: Option<KnownSegment>,
}

/// For each boot of each shard, how far its durable marks say that a segment was synced. A mark speaks of its own boot only: that a later boot
/// synced something proves nothing about an earlier one's tail.
type Marks = BTreeMap<(ShardId, Epoch), BTreeMap<SegmentIndex, EntryNumber>>;

/// Recovers all of it. `stopping` is asked between files and while waiting.
pub(crate) fn recover_all(parts: &KeeperParts, mut left: Vec<LeftWal>, stopping: &dyn Fn() -> bool) {
    left.sort_by_key(|l| std::cmp::Reverse((l.id.shard, l.id.index)));
    let mut marks = Marks::new();
    for wal in left {
        loop {
            if stopping() {
                return;
            }
            match recover_one(parts, &wal, &mut marks) {
                Ok(()) => {
                    parts.counts.wal_bytes.fetch_sub(wal.bytes, Ordering::Relaxed);
                    parts.recovery_is_short.store(false, Ordering::Relaxed);
                    break;
                }
                Err(error) if may_pass(&error) || is_of_ledger(&error) => {
                    let short = error.disposition() == Disposition::Overloaded;
                    parts.recovery_is_short.store(short, Ordering::Relaxed);
                    tracing::warn!(segment = %wal.id, %error, "segment.recover.waiting");
                    thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!(segment = %wal.id, path = %wal.path.display(), %error, "segment.recover.failed");
                    parts
                        .table
                        .set(wal.id.shard, wal.id.index, Slot::Unreadable(error.to_string()));
                    break;
                }
            }
        }
    }
}

/// Whether it tells of the ledger's state, and nothing of the file.
fn is_of_ledger(error: &VaultError) -> bool {
    matches!(error, VaultError::Ledger(said) if said.disposition != Disposition::Invalid)
}

/// Recovers one file, and adds the durable marks it carries to `marks`.
fn recover_one(parts: &KeeperParts, wal: &LeftWal, marks: &mut Marks) -> Result<(), VaultError> {
    let open = match wal.known {
        // Sealed, and trimmed too if the table does not have it any more: the file was only still to be removed.
        Some(KnownSegment::Sealed(_))
            if segment_path(&parts.data, wal.id).exists() || parts.table.get(wal.id.shard, wal.id.index).is_none() =>
        {
            return file_io::remove(&wal.path);
        }
        // Its record was trimmed before this start.
        None if parts.was_trimmed(wal.id) => return file_io::remove(&wal.path),
        Some(KnownSegment::Open(open)) => Some(open),
        Some(KnownSegment::Sealed(_)) | None => None,
    };
    let mut reader = DiskReader::direct(&wal.path)?;
    let (header, header_is_whole) = header_of(parts, wal, open, &mut reader)?;
    let found = scan(&mut reader, &header, &mut |_, _| Ok(()))?;
    let durable = add_marks(marks, &header, &found);
    // Both header pages were synced before the file was on record: a file without them is not one that was never written to.
    let end_is_unread = found.end_is_unread || (!header_is_whole && found.present.is_empty());
    let judged = judge_missing(&found.present, durable, end_is_unread);
    let copies = copies_of(parts, &header, &found);
    keep_damaged(parts, wal, &mut reader, &found, &judged, durable, &copies)?;
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
    let holes = without(&judged, &copies);
    let nothing =
        found.present.is_empty() && copies.is_empty() && !holes.iter().any(|h| h.reason == HoleReason::Quarantined);
    if wal.known.is_none() && !nothing {
        return Err(VaultError::Damaged {
            path: wal.path.clone(),
            offset: 0,
            what: "it holds entries, and its segment is not on record",
        });
    }
    if nothing && !matches!(wal.known, Some(KnownSegment::Sealed(_))) {
        drop_empty(parts, wal, open)?;
    } else {
        let segment = cut_again(parts, &header, &mut reader, &found, &copies, holes)?;
        seal(parts, wal, &segment)?;
    }
    file_io::remove(&wal.path)
}

/// Adds the marks of one file to those known, and says what is known of its own segment.
fn add_marks(marks: &mut Marks, header: &WalHeader, found: &WalScan) -> Durable {
    let of_boot = marks.entry((header.id.shard, header.epoch)).or_default();
    for (index, number) in &found.marks {
        let highest = of_boot.entry(*index).or_insert(*number);
        *highest = (*number).max(*highest);
    }
    let own = header.id.index;
    Durable {
        to: of_boot.get(&own).copied(),
        all: of_boot.keys().any(|index| *index > own),
    }
}

/// The file's header, and whether it is its own: where both pages are damaged it is what the ledger knows.
fn header_of(
    parts: &KeeperParts,
    wal: &LeftWal,
    open: Option<OpenRecord>,
    reader: &mut DiskReader,
) -> Result<(WalHeader, bool), VaultError> {
    let read = read_header(reader);
    match (read, open) {
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

/// Entries that the WAL has lost and a segment file cut from it still has, right by their CRC.
type Copies = BTreeMap<EntryNumber, (EntryMeta, Vec<u8>)>;

/// Whether an entry was synced does not matter here: what has its right CRC was appended.
fn copies_of(parts: &KeeperParts, header: &WalHeader, found: &WalScan) -> Copies {
    let mut copies = Copies::new();
    for path in [segment_path(&parts.data, header.id), open_path(&parts.data, header.id)] {
        let Ok(mut segment) = SegmentReader::open(&path, header.id, true) else {
            continue;
        };
        if segment.header().is_some_and(|h| h.file_uuid != header.uuid) {
            continue;
        }
        for i in 0..segment.blocks().len() {
            let row = segment.blocks()[i];
            if found
                .present
                .iter()
                .any(|(first, last)| *first <= row.first && row.last <= *last)
            {
                continue;
            }
            let Ok(block) = segment.block(i) else { continue };
            for e in 0..block.len() {
                let number = block.header(e).lsn.number();
                if !found.has(number) {
                    copies
                        .entry(number)
                        .or_insert_with(|| (block.header(e).meta, block.payload(e).to_vec()));
                }
            }
        }
    }
    copies
}

/// The holes that are left when the copies are put back.
fn without(judged: &[Hole], copies: &Copies) -> Vec<Hole> {
    let mut left: Vec<Hole> = Vec::new();
    for hole in judged {
        let mut first = Some(hole.first);
        for (number, _) in copies.range(hole.first..=hole.last) {
            if let Some((f, l)) = first.zip(EntryNumber::new(number.get() - 1)).filter(|(f, l)| f <= l) {
                left.push(Hole {
                    first: f,
                    last: l,
                    reason: hole.reason,
                });
            }
            first = number.checked_next();
        }
        if let Some(f) = first.filter(|f| *f <= hole.last) {
            left.push(Hole {
                first: f,
                last: hole.last,
                reason: hole.reason,
            });
        }
    }
    left
}

/// Quarantines the byte ranges that were durable; says of the others that they were not.
fn keep_damaged(
    parts: &KeeperParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
    found: &WalScan,
    judged: &[Hole],
    durable: Durable,
    copies: &Copies,
) -> Result<(), VaultError> {
    let corrupt: Vec<&Hole> = judged.iter().filter(|h| h.reason == HoleReason::Quarantined).collect();
    for bad in &found.bad {
        let was_durable = match bad.missing {
            Some((first, last)) => corrupt.iter().any(|h| h.first <= last && first <= h.last),
            // An idle mark is gone. It was written before what follows it.
            None => durable.all || durable.to >= Some(bad.before),
        };
        if was_durable {
            let at = (bad.offset, bad.len);
            keep_bytes(
                parts,
                wal,
                reader,
                at,
                lost(bad.missing, copies),
                "bytes of the WAL that were durable are not what was written",
            )?;
        } else {
            tracing::info!(segment = %wal.id, offset = bad.offset, bytes = bad.len, numbers = ?bad.missing, "wal.scan.void");
        }
    }
    let last = found.present.last().map(|(_, last)| *last);
    let Some(tail) = corrupt.last().filter(|h| {
        last.is_none_or(|last| h.first > last) && found.bad.iter().all(|b| b.missing != Some((h.first, h.last)))
    }) else {
        return Ok(());
    };
    // The last durable entries are gone, and nothing after them says where they ended: a first stretch of what stands there is kept as a witness.
    let len = reader.len().saturating_sub(found.end).min(PAGE * 16);
    keep_bytes(
        parts,
        wal,
        reader,
        (found.end, len),
        lost(Some((tail.first, tail.last)), copies),
        "the last durable entries of the WAL are missing",
    )
}

/// The numbers that are missing, unless copies of all of them are there.
fn lost(missing: Option<(EntryNumber, EntryNumber)>, copies: &Copies) -> Option<(EntryNumber, EntryNumber)> {
    missing.filter(|(first, last)| copies.range(*first..=*last).count() as u64 <= u64::from(last.get() - first.get()))
}

fn keep_bytes(
    parts: &KeeperParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
    (offset, len): (u64, u64),
    numbers: Option<(EntryNumber, EntryNumber)>,
    why: &str,
) -> Result<(), VaultError> {
    let bytes = reader.get_readable(offset, len);
    let reason = Quarantined::new(&wal.path, offset, len, wal.id, numbers, why.to_owned());
    parts.quarantine.keep("wal", &bytes, reason)
}

/// A file that never held an entry leaves nothing but its index.
fn drop_empty(parts: &KeeperParts, wal: &LeftWal, open: Option<OpenRecord>) -> Result<(), VaultError> {
    if open.is_some() {
        parts.ledger.trim_segment(wal.id, TrimReason::Empty)?;
    }
    file_io::remove(&open_path(&parts.data, wal.id))?;
    parts.table.remove(wal.id.shard, wal.id.index);
    Ok(())
}

/// Cuts the segment anew from the WAL, with the copies put back.
fn cut_again(
    parts: &KeeperParts,
    header: &WalHeader,
    reader: &mut DiskReader,
    found: &WalScan,
    copies: &Copies,
    holes: Vec<Hole>,
) -> Result<FinishedSegment, VaultError> {
    let path = file_io::with_suffix(&open_path(&parts.data, header.id), ".recut");
    file_io::remove(&path)?;
    let mut file = SegmentWriter::create(&path, SegmentHeader::of_wal(header))?;
    let mut builder = BlockBuilder::new();
    let mut copies = copies.iter().peekable();
    let again = scan(reader, header, &mut |entry, payload| {
        while let Some((number, (meta, copy))) = copies.next_if(|(n, _)| **n < entry.lsn.number()) {
            add(&mut builder, &mut file, Lsn::at(header.id.index, *number), meta, copy)?;
        }
        add(&mut builder, &mut file, entry.lsn, &entry.meta, payload)
    })?;
    if again != *found {
        return Err(VaultError::Damaged {
            path: reader.path().to_path_buf(),
            offset: 0,
            what: "two reads of it found different entries",
        });
    }
    for (number, (meta, payload)) in copies {
        add(
            &mut builder,
            &mut file,
            Lsn::at(header.id.index, *number),
            meta,
            payload,
        )?;
    }
    if let Some(block) = builder.cut() {
        file.append(&block)?;
    }
    file.finish(holes)
}

fn add(
    builder: &mut BlockBuilder,
    file: &mut SegmentWriter,
    lsn: Lsn,
    meta: &EntryMeta,
    payload: &[u8],
) -> Result<(), VaultError> {
    builder.add(lsn, meta, payload);
    if builder.is_full()
        && let Some(block) = builder.cut()
    {
        file.append(&block)?;
    }
    Ok(())
}

fn seal(parts: &KeeperParts, wal: &LeftWal, segment: &FinishedSegment) -> Result<(), VaultError> {
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
        return file_io::rename(&segment.path, &segment_path(&parts.data, wal.id));
    }
    let record = seal_on_record(
        parts,
        &segment.path,
        SealRecord {
            id: wal.id,
            epoch: segment.header.epoch,
            stats: segment.stats,
            digest: segment.digest,
            sealed_ns: parts.clock.now_ns(),
        },
    )?;
    file_io::remove(&open_path(&parts.data, wal.id))?;
    parts.table.set(wal.id.shard, wal.id.index, Slot::Sealed(record));
    parts.counts.sealed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Finds what earlier boots left in `wal/`: half-made files are removed, the others listed.
pub(crate) fn list_left(data: &Path, node: NodeId, known: &[KnownSegment]) -> Result<Vec<LeftWal>, VaultError> {
    let root = data.join("wal");
    let mut left = Vec::new();
    for shard in file_io::list(&root)? {
        let Some(number) = shard
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.parse::<u16>().ok())
        else {
            continue;
        };
        for path in file_io::list(&shard)? {
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                continue;
            };
            if name.ends_with(".wal.new") {
                file_io::remove(&path)?;
                continue;
            }
            let Some(index) = name
                .strip_suffix(".wal")
                .and_then(|n| n.parse().ok())
                .and_then(SegmentIndex::new)
            else {
                tracing::warn!(path = %path.display(), "wal.list.unknown");
                continue;
            };
            let id = SegmentId {
                node,
                shard: ShardId::new(number),
                index,
            };
            let bytes = path.metadata().map_err(VaultError::io("look at", &path))?.len();
            let known = known.iter().find(|k| k.id() == id).copied();
            left.push(LeftWal { id, path, bytes, known });
        }
    }
    Ok(left)
}

/// Marks everything that is to be recovered in the table, so that readers wait for it.
pub(crate) fn announce(parts: &KeeperParts, left: &[LeftWal], known: &[KnownSegment]) {
    for segment in known {
        let id = segment.id();
        match segment {
            KnownSegment::Sealed(record) => parts.table.set(id.shard, id.index, Slot::Sealed(*record)),
            KnownSegment::Open(_) if left.iter().any(|l| l.id == id) => {
                parts.table.set(id.shard, id.index, Slot::Recovering)
            }
            KnownSegment::Open(_) => {
                tracing::error!(segment = %id, error = "the segment is on record as open, and its WAL file is gone; whatever segment file there is of it is kept", "wal.file.missing");
                parts
                    .table
                    .set(id.shard, id.index, Slot::Unreadable("its WAL file is gone".to_owned()));
            }
        }
    }
    let bytes: u64 = left.iter().map(|l| l.bytes).sum();
    parts.counts.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// Says which sealed segments have lost their file, and which files stand in `segments/` that are not on record. Nothing is removed.
pub(crate) fn take_inventory(parts: &KeeperParts) {
    for (shard, index, slot) in parts.table.all() {
        let id = SegmentId {
            node: parts.node,
            shard,
            index,
        };
        if matches!(slot, Slot::Sealed(_))
            && !segment_path(&parts.data, id).exists()
            && parts
                .table
                .sealed_is_unreadable(shard, index, "its segment file is gone")
        {
            tracing::error!(segment = %id, error = "the segment is on record as sealed, and its file is gone", "segment.file.missing");
        }
    }
    for (path, id) in segment_files(&parts.data, parts.node) {
        if parts.table.get(id.shard, id.index).is_some() {
            continue;
        }
        if parts.was_trimmed(id) {
            // The file was only still to be removed.
            if let Err(error) = file_io::remove(&path) {
                tracing::warn!(%error, "segment.file.leftover");
            }
            continue;
        }
        tracing::error!(path = %path.display(), error = "no such segment is on record; the file is left where it is", "segment.file.unknown");
    }
}

/// Every file in `segments/` that is named after a segment of the node. A folder that cannot be listed has none.
pub(crate) fn segment_files(data: &Path, node: NodeId) -> impl Iterator<Item = (PathBuf, SegmentId)> {
    let own = data.join("segments").join(format!("{:010}", node));
    let shards = file_io::list(&own).unwrap_or_default();
    let files = shards
        .into_iter()
        .filter_map(|shard| file_io::list(&shard).ok())
        .flatten();
    files.filter_map(move |path| id_of(node, &path).map(|id| (path, id)))
}

/// The segment that a file in `segments/` is named after.
fn id_of(node: NodeId, path: &Path) -> Option<SegmentId> {
    let shard = path.parent()?.file_name()?.to_str()?.parse().ok().map(ShardId::new)?;
    let index = path
        .file_name()?
        .to_str()?
        .split('.')
        .next()?
        .parse()
        .ok()
        .and_then(SegmentIndex::new)?;
    Some(SegmentId { node, shard, index })
}

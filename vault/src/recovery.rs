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

use crate::entry::{EntryMeta, WAL_ENTRY_HEADER, WalSeal};
use crate::error::VaultError;
use crate::file_io::{self, DiskReader};
use crate::ids::{EntryNumber, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::keeper::{KeeperParts, may_pass, seal_on_record};
use crate::ledger::{KnownSegment, OpenRecord, SealRecord, TrimReason};
use crate::limits::PAGE;
use crate::quarantine::Quarantined;
use crate::recovery_end::judge_missing;
use crate::segment::block::BlockBuilder;
use crate::segment::footer::{Hole, HoleReason};
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::{FinishedSegment, SegmentWriter};
use crate::segment::{open_path, segment_path};
use crate::table::Slot;
use crate::wal::header::{Tenant, WalHeader};
use crate::wal::scan::{BadRange, WalScan, damaged_headers, read_header, scan};

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

/// Recovers all of it. `stopping` is asked between files and while waiting.
pub(crate) fn recover_all(parts: &KeeperParts, mut left: Vec<LeftWal>, stopping: &dyn Fn() -> bool) {
    left.sort_by_key(|l| std::cmp::Reverse((l.id.shard, l.id.index)));
    let mut marks: BTreeMap<_, Option<Lsn>> = BTreeMap::new();
    for wal in left {
        let mark = marks.entry(wal.id.shard).or_default();
        loop {
            match recover_one(parts, &wal, *mark) {
                Ok(found) => {
                    *mark = (*mark).max(found);
                    parts.counts.wal_bytes.fetch_sub(wal.bytes, Ordering::Relaxed);
                    break;
                }
                Err(error) if may_pass(&error) && !stopping() => {
                    tracing::warn!(name: "segment.recover.waiting", segment = %wal.id, %error);
                    thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!(name: "segment.recover.failed", segment = %wal.id, path = %wal.path.display(), %error);
                    parts.table.set(wal.id.shard, wal.id.index, Slot::Unreadable(error.to_string()));
                    break;
                }
            }
        }
        if stopping() {
            return;
        }
    }
}

/// Recovers one file; returns the highest durable mark it carries.
fn recover_one(parts: &KeeperParts, wal: &LeftWal, later_mark: Option<Lsn>) -> Result<Option<Lsn>, VaultError> {
    let open = match wal.known {
        Some(KnownSegment::Sealed(record)) if segment_path(&parts.data, wal.id).exists() => {
            parts.table.set(wal.id.shard, wal.id.index, Slot::Sealed(record));
            file_io::remove(&wal.path)?;
            return Ok(None);
        }
        Some(KnownSegment::Open(open)) => Some(open),
        // Its record was trimmed: the file was only still to be removed.
        None if wal.id.index < parts.ledger.next_index(wal.id.shard) => {
            file_io::remove(&wal.path)?;
            return Ok(None);
        }
        Some(KnownSegment::Sealed(_)) | None => None,
    };
    let mut reader = DiskReader::direct(&wal.path)?;
    let header = header_of(parts, wal, open, &mut reader)?;
    let found = scan(&mut reader, &WalSeal::new(header.uuid), wal.id.index);
    let mark = later_mark.max(found.durable);
    let present: Vec<EntryNumber> = found.entries.iter().map(|e| e.header.lsn.number()).collect();
    let judged = judge_missing(&present, wal.id.index, mark);
    let copies = copies_of(parts, wal.id, &judged);
    keep_damaged(parts, wal, &mut reader, &found, &judged, &copies)?;
    for at in damaged_headers(&mut reader) {
        keep_bytes(parts, wal, &mut reader, BadRange { offset: at, len: PAGE, missing: None }, "a header page of the WAL file is damaged; the other copy served")?;
    }
    let holes = without(&judged, &copies);
    if wal.known.is_none() && !found.entries.is_empty() {
        return Err(VaultError::Damaged { path: wal.path.clone(), offset: 0, what: "it holds entries, and its segment is not on record" });
    }
    if found.entries.is_empty() && copies.is_empty() && !holes.iter().any(|h| h.reason == HoleReason::Quarantined) {
        drop_empty(parts, wal, open)?;
    } else {
        let segment = cut_again(parts, &header, &mut reader, &found, &copies, holes)?;
        seal(parts, wal, &segment)?;
    }
    file_io::remove(&wal.path)?;
    Ok(found.durable)
}

/// The file's header: its own, or, where both pages are damaged, what the ledger knows.
fn header_of(parts: &KeeperParts, wal: &LeftWal, open: Option<OpenRecord>, reader: &mut DiskReader) -> Result<WalHeader, VaultError> {
    let read = read_header(reader);
    match (read, open) {
        (Ok(header), Some(open)) if header.uuid != open.file_uuid => Err(VaultError::Damaged {
            path: wal.path.clone(),
            offset: 0,
            what: "it is not the file that is on record for this segment",
        }),
        (Ok(header), _) => Ok(header),
        (Err(VaultError::Damaged { .. }), Some(open)) => Ok(WalHeader {
            id: wal.id,
            epoch: open.epoch,
            uuid: open.file_uuid,
            cluster_id: parts.plan.cluster_id,
            size: reader.len(),
            created_ns: 0,
            tenants: vec![Tenant::default_tenant()],
        }),
        (Err(error), _) => Err(error),
    }
}

/// Entries that the WAL has lost and a segment file of the same segment still has, right by their CRC.
type Copies = BTreeMap<EntryNumber, (EntryMeta, Vec<u8>)>;

fn copies_of(parts: &KeeperParts, id: SegmentId, judged: &[Hole]) -> Copies {
    let mut copies = Copies::new();
    let wanted: Vec<&Hole> = judged.iter().filter(|h| h.reason == HoleReason::Quarantined).collect();
    if wanted.is_empty() {
        return copies;
    }
    for path in [segment_path(&parts.data, id), open_path(&parts.data, id)] {
        let Ok(mut segment) = SegmentReader::open(&path, id, true) else { continue };
        for i in 0..segment.blocks().len() {
            let row = segment.blocks()[i];
            if !wanted.iter().any(|h| h.first <= row.last && row.first <= h.last) {
                continue;
            }
            let Ok(block) = segment.block(i) else { continue };
            for e in 0..block.len() {
                let number = block.header(e).lsn.number();
                if wanted.iter().any(|h| h.first <= number && number <= h.last) {
                    copies.entry(number).or_insert_with(|| (block.header(e).meta, block.payload(e).to_vec()));
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
                left.push(Hole { first: f, last: l, reason: hole.reason });
            }
            first = number.checked_next();
        }
        if let Some(f) = first.filter(|f| *f <= hole.last) {
            left.push(Hole { first: f, last: hole.last, reason: hole.reason });
        }
    }
    left
}

/// Quarantines the byte ranges whose entries were durable; says of the others that they were not.
fn keep_damaged(
    parts: &KeeperParts,
    wal: &LeftWal,
    reader: &mut DiskReader,
    found: &WalScan,
    judged: &[Hole],
    copies: &Copies,
) -> Result<(), VaultError> {
    for bad in &found.bad {
        let corrupt = bad.missing.is_some_and(|(first, last)| {
            judged.iter().any(|h| h.reason == HoleReason::Quarantined && h.first <= last && first <= h.last)
        });
        if corrupt {
            keep_bytes(parts, wal, reader, *bad, "bytes of the WAL that were durable are not what was written")?;
        } else {
            tracing::info!(name: "wal.scan.void", segment = %wal.id, offset = bad.offset, bytes = bad.len, numbers = ?bad.missing);
        }
    }
    let Some(tail) = judged.iter().find(|h| h.reason == HoleReason::Quarantined && found.entries.last().is_none_or(|e| h.first > e.header.lsn.number()))
    else {
        return Ok(());
    };
    // The last durable entries are gone, and nothing after them says where they ended: a first stretch of what stands there is kept as a witness.
    let len = (reader.len() - PAGE).saturating_sub(found.end).min(PAGE * 16);
    let bad = BadRange { offset: found.end, len, missing: Some((tail.first, tail.last)) };
    if copies.contains_key(&tail.first) { Ok(()) } else { keep_bytes(parts, wal, reader, bad, "the last durable entries of the WAL are missing") }
}

fn keep_bytes(parts: &KeeperParts, wal: &LeftWal, reader: &mut DiskReader, bad: BadRange, why: &str) -> Result<(), VaultError> {
    let bytes = readable(reader, bad.offset, bad.len);
    let reason = Quarantined::new(&wal.path, bad.offset, bad.len, wal.id, bad.missing, why.to_owned());
    parts.quarantine.keep("wal", &bytes, reason)
}

/// What can be read of a range; pages that the disk refuses are zeros.
fn readable(reader: &mut DiskReader, offset: u64, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let n = (end - at).min(PAGE - at % PAGE) as usize;
        match reader.get(at, n) {
            Ok(bytes) => out.extend_from_slice(bytes),
            Err(_) => out.resize(out.len() + n, 0),
        }
        at += n as u64;
    }
    out
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
    let source = reader.path().to_path_buf();
    let path = file_io::with_suffix(&open_path(&parts.data, header.id), ".recut");
    file_io::remove(&path)?;
    let mut file = SegmentWriter::create(&path, SegmentHeader::of_wal(header))?;
    let mut builder = BlockBuilder::new();
    let mut copies = copies.iter().peekable();
    for entry in &found.entries {
        while let Some((number, (meta, payload))) = copies.next_if(|(n, _)| **n < entry.header.lsn.number()) {
            add(&mut builder, &mut file, Lsn::at(header.id.index, *number), meta, payload)?;
        }
        let at = entry.offset + WAL_ENTRY_HEADER as u64;
        let payload = reader.get(at, entry.header.payload_len as usize).map_err(|_| VaultError::Damaged {
            path: source.clone(),
            offset: at,
            what: "an entry that could be read a moment ago cannot be read any more",
        })?;
        add(&mut builder, &mut file, entry.header.lsn, &entry.header.meta, payload)?;
    }
    for (number, (meta, payload)) in copies {
        add(&mut builder, &mut file, Lsn::at(header.id.index, *number), meta, payload)?;
    }
    if let Some(block) = builder.cut() {
        file.append(&block)?;
    }
    file.finish(holes)
}

fn add(builder: &mut BlockBuilder, file: &mut SegmentWriter, lsn: Lsn, meta: &EntryMeta, payload: &[u8]) -> Result<(), VaultError> {
    builder.add(lsn, meta, payload);
    if builder.is_full() && let Some(block) = builder.cut() {
        file.append(&block)?;
    }
    Ok(())
}

fn seal(parts: &KeeperParts, wal: &LeftWal, segment: &FinishedSegment) -> Result<(), VaultError> {
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
        let Some(number) = shard.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u16>().ok()) else { continue };
        for path in file_io::list(&shard)? {
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            if name.ends_with(".wal.new") {
                file_io::remove(&path)?;
                continue;
            }
            let Some(index) = name.strip_suffix(".wal").and_then(|n| n.parse().ok()).and_then(SegmentIndex::new) else {
                tracing::warn!(name: "wal.list.unknown", path = %path.display());
                continue;
            };
            let id = SegmentId { node, shard: ShardId::new(number), index };
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
            KnownSegment::Open(_) if left.iter().any(|l| l.id == id) => parts.table.set(id.shard, id.index, Slot::Recovering),
            KnownSegment::Open(_) => {
                tracing::error!(name: "wal.file.missing", segment = %id, error = "the segment is on record as open, and its WAL file is gone; whatever segment file there is of it is kept");
                parts.table.set(id.shard, id.index, Slot::Unreadable("its WAL file is gone".to_owned()));
            }
        }
    }
    let bytes: u64 = left.iter().map(|l| l.bytes).sum();
    parts.counts.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// Says which sealed segments have lost their file, and which files stand in `segments/` that are not on record. Nothing is removed.
pub(crate) fn take_inventory(parts: &KeeperParts) {
    for (shard, index, slot) in parts.table.all() {
        let id = SegmentId { node: parts.node, shard, index };
        if matches!(slot, Slot::Sealed(_)) && !segment_path(&parts.data, id).exists() {
            tracing::error!(name: "segment.file.missing", segment = %id, error = "the segment is on record as sealed, and its file is gone");
            parts.table.set(shard, index, Slot::Unreadable("its segment file is gone".to_owned()));
        }
    }
    let own = parts.data.join("segments").join(format!("{:010}", parts.node));
    let Ok(shards) = file_io::list(&own) else { return };
    for path in shards.iter().filter_map(|shard| file_io::list(shard).ok()).flatten() {
        if let Some(id) = id_of(parts.node, &path) && parts.table.get(id.shard, id.index).is_none() {
            tracing::error!(name: "segment.file.unknown", path = %path.display(), error = "no such segment is on record; the file is left where it is");
        }
    }
}

/// The segment that a file in `segments/` is named after.
fn id_of(node: NodeId, path: &Path) -> Option<SegmentId> {
    let shard = path.parent()?.file_name()?.to_str()?.parse().ok().map(ShardId::new)?;
    let index = path.file_name()?.to_str()?.split('.').next()?.parse().ok().and_then(SegmentIndex::new)?;
    Some(SegmentId { node, shard, index })
}

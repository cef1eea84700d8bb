//! Access to the inside for a simulation of several nodes; no part of the crate's interface.
//!
//! - [`disk`]: a look at every file operation that makes something durable, before it is done.
//! - The rest: what an owner does (its watermark, the frames it sends) without its threads and files, and what stands
//!   in a segment file, looked at without a change.

use std::path::Path;

use crate::entry::{EntryMeta, SegmentEntryHeader, u32_at};
use crate::error::VaultError;
use crate::ids::{EntryNumber, Lsn, SegmentId, SegmentIndex};
use crate::ledger::SegmentStats;
use crate::replicas::ReplicaSet;
use crate::segment::block::{BlockBuilder, BlockRow, add_stats};
use crate::segment::footer::Hole;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::SegmentReader;
use crate::segment::writer::SegmentWriter;
use crate::wal::watermark::{Notify, Watermark};

pub mod disk {
    //! File operations as they are about to be done, told to an observer of the thread. It may fail them, or panic, as
    //! a crash at this point would.

    use std::cell::RefCell;
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// An operation that is about to be done.
    #[derive(Clone, Copy, Debug)]
    pub enum DiskOp<'a> {
        /// The data of a file are synced.
        Sync(&'a File),
        /// The names in a folder are synced.
        SyncFolder(&'a Path),
        /// A file gets another name.
        Rename(&'a Path, &'a Path),
        /// A file is removed, if it is there.
        Remove(&'a Path),
    }

    /// The one who is notified before an operation, and can fail it.
    pub type Observer = Box<dyn FnMut(DiskOp<'_>) -> io::Result<()>>;

    thread_local! {
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    /// Has every file operation of this thread told to `observer` from now on, or to nobody.
    pub fn observe(observer: Option<Observer>) {
        OBSERVER.with_borrow_mut(|place| *place = observer);
    }

    pub(crate) fn notify(op: DiskOp<'_>) -> io::Result<()> {
        // An observer that panics stays in its place.
        OBSERVER.with_borrow_mut(|observer| observer.as_mut().map_or(Ok(()), |observer| observer(op)))
    }
}

/// An entry as a simulation has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place.
    pub lsn: Lsn,
    /// Its description.
    pub meta: EntryMeta,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl Entry {
    /// The CRC that it carries in a segment.
    pub fn crc(&self) -> u32 {
        u32_at(&SegmentEntryHeader::encode(self.lsn, &self.meta, &self.payload), 0)
    }
}

/// A frame as it leaves for a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The block whole.
    pub bytes: Vec<u8>,
    /// CRC32 of `bytes`.
    pub crc: u32,
    /// Its last entry.
    pub last_lsn: Lsn,
}

/// The frame of this number, with `entries`, on a replica that has the entries `before`.
///
/// # Panics
/// There are no entries, or they do not follow each other.
pub fn frame<'a>(
    before: impl IntoIterator<Item = &'a Entry>,
    entries: impl IntoIterator<Item = &'a Entry>,
    frame_no: u32,
    owner_synced: Option<Lsn>,
) -> Frame {
    let mut builder = BlockBuilder::new();
    let add = |builder: &mut BlockBuilder, entry: &Entry| builder.add(entry.lsn, &entry.meta, &entry.payload);
    before.into_iter().for_each(|entry| add(&mut builder, entry));
    builder.skip(frame_no);
    entries.into_iter().for_each(|entry| add(&mut builder, entry));
    let block = builder.cut(owner_synced).expect("a frame has entries");
    Frame {
        crc: crc32fast::hash(&block.bytes),
        last_lsn: block.stats.last_lsn.expect("a frame has entries"),
        bytes: block.bytes,
    }
}

/// The counts of a segment of these entries, and the digest over them. Its stored bytes are not known.
pub fn content<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> (SegmentStats, [u8; 32]) {
    let mut builder = BlockBuilder::new();
    for entry in entries {
        builder.add(entry.lsn, &entry.meta, &entry.payload);
    }
    let mut stats = SegmentStats::default();
    if let Some(block) = builder.cut(None) {
        add_stats(&mut stats, &block.stats);
    }
    (stats, builder.digest())
}

/// The blocks of a segment file that is whole or being written, and whether it has its footer.
///
/// # Errors
/// It cannot be opened, or is of another segment.
pub fn blocks(path: &Path, id: SegmentId) -> Result<(Vec<BlockRow>, bool), VaultError> {
    let reader = SegmentReader::open(path, id, false)?;
    Ok((reader.blocks().to_vec(), reader.footer().is_some()))
}

/// The entries of a segment file that are whole, with the CRC of each.
///
/// # Errors
/// It cannot be opened, or is of another segment.
pub fn entries(path: &Path, id: SegmentId) -> Result<Vec<(EntryNumber, u32)>, VaultError> {
    let mut reader = SegmentReader::open(path, id, false)?;
    let mut found = Vec::new();
    for i in 0..reader.blocks().len() {
        if let Ok(block) = reader.block(i) {
            found.extend((0..block.len()).map(|e| (block.header(e).lsn.number(), block.header(e).crc)));
        }
    }
    Ok(found)
}

/// A watermark of a shard without a segment.
pub fn watermark(notify: Notify) -> Watermark {
    Watermark::new(notify)
}

/// [`Watermark`]: a segment is about to take entries.
pub fn segment_opened(mark: &Watermark, index: SegmentIndex, replicas: ReplicaSet) {
    mark.segment_opened(index, replicas);
}

/// [`Watermark`]: a segment takes no more entries, and all of it is synced here.
pub fn segment_ended(mark: &Watermark, index: SegmentIndex, last: u32) {
    mark.segment_ended(index, last);
}

/// [`Watermark`]: a segment is on record as sealed.
pub fn segment_sealed(mark: &Watermark, index: SegmentIndex) {
    mark.segment_sealed(index);
}

/// [`Watermark`]: this node has synced everything up to there.
pub fn own_synced(mark: &Watermark, lsn: Lsn) {
    mark.own_synced(lsn);
}

/// Writes the file of a sealed segment with these entries and holes, blocks cut as the cutter cuts them.
///
/// # Errors
///
/// It could not be written.
pub fn write_segment<'a>(
    path: &Path,
    header: SegmentHeader,
    entries: impl IntoIterator<Item = (EntryNumber, &'a EntryMeta, &'a [u8])>,
    holes: Vec<Hole>,
) -> Result<[u8; 32], VaultError> {
    let index = header.id.index;
    let mut file = SegmentWriter::create(path, header)?;
    let mut builder = BlockBuilder::new();
    for (number, meta, payload) in entries {
        builder.add(Lsn::at(index, number), meta, payload);
        if builder.is_full() {
            file.append(&builder.cut(None).expect("an entry was added"))?;
        }
    }
    if let Some(block) = builder.cut(None) {
        file.append(&block)?;
    }
    Ok(file.finish(holes)?.digest)
}

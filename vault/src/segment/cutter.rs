//! The cutter: reads appended entries from the map, compresses them once into blocks, and writes the shard's `.open`
//! segment. It does not wait for the sync.
//!
//! **Invariants**:
//! - I1: every entry of a WAL file goes into its segment, in order.
//! - I2: a segment is handed on only when its WAL file is complete and the segment file is synced.
//! - I3: after any failure the WAL is still there: the segment is cut again from its start.
//! - I4: a block that was given to the sink is the same whenever it is cut again.
//!
//! **Not here**: naming, recording and reuse (`keep`); files of an earlier boot (`recover`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use crate::disposition::Disposition;
use crate::entry::{EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::limits::{FORGET_BYTES, PAGE};
use crate::segment::block::{BlockBuilder, BuiltBlock};
use crate::segment::header::SegmentHeader;
use crate::segment::merge::merge;
use crate::segment::seal_queue::{CutSegment, SealRequest};
use crate::segment::writer::{FinishedSegment, SegmentWriter};
use crate::segment::{make_segment_dir, open_path};
use crate::wal::file::WalFile;
use crate::wal::shard::ShardShared;
use crate::wal::writer::{Roll, room_for};

/// Interval at which an idle cutter checks for work by itself.
const IDLE: Duration = Duration::from_secs(1);
/// Pause after a failure before it cuts again.
const RETRY: Duration = Duration::from_millis(500);

/// Entries as they are sent to a replica: a block, full or not, with the mark of how far its owner had synced.
#[derive(Clone, Copy, Debug)]
pub struct TailFrame<'a> {
    /// The segment.
    pub id: SegmentId,
    /// The only boot that may write that segment.
    pub epoch: Epoch,
    /// The frame's number in the segment, from 0.
    pub frame_no: u32,
    /// The whole block, as it stands in the file.
    pub bytes: &'a [u8],
    /// CRC32 of `bytes`.
    pub crc: u32,
    /// The last entry.
    pub last_lsn: Lsn,
}

/// The receiver of a shard's blocks beside its own file. The cutter calls it, and it must not block for long.
///
/// A block is a frame of the tail stream, and may be cut before it is full. A file with such blocks is cut anew into
/// full ones when the segment is complete, unless they are large all the same.
pub trait BlockSink: Send {
    /// True where a replica waits for more, so that a block is cut before it is full. The code that makes it true wakes
    /// the cutter by [`Vault::wake_cutter`](crate::Vault::wake_cutter).
    fn wants_frame(&self) -> bool;
    /// Notes that a segment begins.
    fn begin(&mut self, header: &SegmentHeader);
    /// Takes the segment's next frame.
    fn frame(&mut self, frame: TailFrame<'_>);
    /// Notes that nothing follows in the segment, which ends with entry `last` and has this digest.
    fn complete(&mut self, id: SegmentId, last: Option<Lsn>, digest: [u8; 32]);
}

/// Cuts one shard until it is stopped.
pub(crate) struct Cutter {
    data: PathBuf,
    shared: Arc<ShardShared>,
    wal: Arc<WalFile>,
    rolls: Receiver<Roll>,
    sealer: Sender<SealRequest>,
    sink: Option<Box<dyn BlockSink>>,
    builder: BlockBuilder,
    file: Option<SegmentWriter>,
    /// Offset in the map at which the next entry begins.
    offset: usize,
    /// Offset up to which the pages of the map were released.
    forgotten: usize,
    /// The last entry of each block of this segment that the sink was given, with the last entry that was synced then.
    sent: Vec<(Lsn, Option<Lsn>)>,
    /// The last cut failed, and the shard says so.
    is_faulty: bool,
}

impl Cutter {
    pub(crate) fn new(
        data: PathBuf,
        shared: Arc<ShardShared>,
        first: Arc<WalFile>,
        rolls: Receiver<Roll>,
        sealer: Sender<SealRequest>,
        sink: Option<Box<dyn BlockSink>>,
    ) -> Self {
        Self {
            data,
            shared,
            wal: first,
            rolls,
            sealer,
            sink,
            builder: BlockBuilder::new(),
            file: None,
            offset: PAGE as usize,
            forgotten: 0,
            sent: Vec::new(),
            is_faulty: false,
        }
    }

    /// Runs until the shard stops. Entries that are not sealed then are recovered from their WAL file at the next
    /// start.
    pub(crate) fn run(mut self) {
        let mut filled: Option<Roll> = None;
        loop {
            let stopping = self.shared.stopping();
            if filled.is_none() {
                filled = match self.rolls.try_recv() {
                    Ok(roll) => Some(roll),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) if stopping => return,
                    Err(TryRecvError::Disconnected) => None,
                };
            }
            match self.advance(&mut filled) {
                Ok(true) if filled.is_none() && self.file.is_some() => self.can_cut(),
                Ok(true) => {}
                Ok(false) if stopping => return,
                Ok(false) => thread::park_timeout(IDLE),
                Err(error) => {
                    tracing::warn!(segment = %self.wal.header.id, %error, "segment.cut.failed");
                    if error.disposition() == Disposition::Corrupt {
                        // A second cut would have the same result. The next start reads the file, and keeps its good
                        // parts.
                        self.shared.watermark.fail(error.to_string());
                        return;
                    }
                    self.is_faulty = true;
                    self.shared.set_cut_fault(Some(error.to_string()));
                    self.restart();
                    if stopping {
                        return;
                    }
                    thread::park_timeout(RETRY);
                }
            }
        }
    }

    /// Notes that the segment can be written.
    fn can_cut(&mut self) {
        if std::mem::take(&mut self.is_faulty) {
            self.shared.set_cut_fault(None);
        }
    }

    /// Cuts all appended entries; ends the segment when its file was rolled. Returns false when there was nothing to
    /// do.
    fn advance(&mut self, filled: &mut Option<Roll>) -> Result<bool, VaultError> {
        let before = self.offset;
        self.take_entries()?;
        let mut has_cut = false;
        if filled.is_some() || self.sink.as_ref().is_some_and(|sink| sink.wants_frame()) {
            has_cut = self.cut_block()?;
        }
        if filled.is_none() {
            return Ok(has_cut || self.offset > before);
        }
        let segment = self.finish()?;
        self.can_cut();
        let Some(Roll { filled: map, next }) = filled.take() else {
            return Ok(true);
        };
        if let Some(sink) = &mut self.sink {
            sink.complete(self.wal.header.id, segment.stats.last_lsn, segment.digest);
        }
        self.forget();
        let wal = std::mem::replace(&mut self.wal, next);
        // The sealer outlives the cutters, so it takes this.
        let _ = self.sealer.send(SealRequest::Cut(
            wal.header.id.shard,
            Box::new(CutSegment { segment, wal, map }),
        ));
        self.sent.clear();
        self.restart();
        Ok(true)
    }

    /// Adds every appended entry to the block, and cuts each time it is full.
    fn take_entries(&mut self) -> Result<(), VaultError> {
        let wal = Arc::clone(&self.wal);
        let bytes = wal.map.published();
        while self.offset < bytes.len() {
            let (header, payload) = entry_at(&wal, bytes, self.offset)?;
            self.offset += room_for(payload.len());
            if header.meta.state.contains(EntryState::IDLE) {
                continue;
            }
            self.builder.add(header.lsn, &header.meta, payload);
            if self.builder.is_full() || self.sent_before().is_some_and(|(last, _)| last == header.lsn) {
                self.cut_block()?;
            }
            if self.offset - self.forgotten >= FORGET_BYTES {
                self.forget();
            }
        }
        Ok(())
    }

    /// Releases the pages of the map that were cut.
    fn forget(&mut self) {
        self.wal.map.forget(self.forgotten, self.offset);
        self.forgotten = self.offset - self.offset % PAGE as usize;
    }

    /// Ends the segment's file. Where its blocks are small another file replaces it; the frames stay for replicas
    /// that do not have them yet, until the segment is on record as sealed.
    fn finish(&mut self) -> Result<FinishedSegment, VaultError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.create()?,
        };
        if file.has_large_blocks() {
            return file.finish(Vec::new());
        }
        let header = SegmentHeader::of_wal(&self.wal.header);
        let (from, digest) = (open_path(&self.data, header.id), self.builder.digest());
        match merge(&from, &file_io::with_suffix(&from, ".recut"), &header) {
            Ok(merged) if merged.digest == digest => Ok(merged),
            Err(error) if error.disposition() != Disposition::Corrupt => Err(error),
            // The frames on the disk are not what was written. The WAL file is whole: the segment is cut again from it.
            Ok(_) | Err(_) => Err(VaultError::NotSealed(header.id)),
        }
    }

    /// Cuts a block from the added entries. Returns false when there were none.
    fn cut_block(&mut self) -> Result<bool, VaultError> {
        if self.builder.is_empty() {
            return Ok(false);
        }
        if self.file.is_none() {
            let file = self.create()?;
            self.file = Some(file);
        }
        // A block that was sent before must be the same when it is cut again.
        let owner_synced = match self.sent_before() {
            Some((_, synced)) => synced,
            None => self.sink.as_ref().and_then(|_| self.shared.watermark.durable()),
        };
        let (Some(block), Some(file)) = (self.builder.cut(owner_synced), &mut self.file) else {
            return Ok(false);
        };
        file.append(&block)?;
        self.shared.set_open_bytes(file.written_bytes());
        self.send(&block, owner_synced);
        Ok(true)
    }

    /// The end and mark with which the next block was sent before, where it is cut again.
    fn sent_before(&self) -> Option<(Lsn, Option<Lsn>)> {
        self.sent.get(self.builder.next_block() as usize).copied()
    }

    fn send(&mut self, block: &BuiltBlock, owner_synced: Option<Lsn>) {
        let (Some(sink), Some(last_lsn)) = (&mut self.sink, block.stats.last_lsn) else {
            return;
        };
        let (id, epoch) = (self.wal.header.id, self.wal.header.epoch);
        let crc = crc32fast::hash(&block.bytes);
        sink.frame(TailFrame {
            id,
            epoch,
            frame_no: block.block_no,
            bytes: &block.bytes,
            crc,
            last_lsn,
        });
        if self.sent.len() == block.block_no as usize {
            self.sent.push((last_lsn, owner_synced));
        }
    }

    fn create(&mut self) -> Result<SegmentWriter, VaultError> {
        let header = SegmentHeader::of_wal(&self.wal.header);
        let path = open_path(&self.data, header.id);
        // A file whose sync failed must not be written again: a new one takes its name.
        file_io::remove(&path)?;
        if let Some(sink) = &mut self.sink {
            sink.begin(&header);
        }
        make_segment_dir(file_io::parent(&path))?;
        SegmentWriter::create(&path, header)
    }

    /// Begins the current WAL file's segment, from its first entry.
    fn restart(&mut self) {
        self.file = None;
        self.builder.reset();
        self.offset = PAGE as usize;
        self.forgotten = 0;
        self.shared.set_open_bytes(0);
    }
}

/// The entry at `offset` of a map. This process wrote the bytes of the map: if they are no entry, memory is not to be
/// trusted.
fn entry_at<'a>(wal: &WalFile, bytes: &'a [u8], offset: usize) -> Result<(WalEntryHeader, &'a [u8]), VaultError> {
    let damaged = || VaultError::Damaged {
        path: wal.path.clone(),
        offset: offset as u64,
        what: "an entry in the map is not what was appended",
    };
    let raw = bytes
        .get(offset..offset + WAL_ENTRY_HEADER)
        .and_then(|b| <&[u8; WAL_ENTRY_HEADER]>::try_from(b).ok())
        .ok_or_else(damaged)?;
    let header = WalEntryHeader::decode(raw, wal.entry_crc.tag()).ok_or_else(damaged)?;
    let from = offset + WAL_ENTRY_HEADER;
    let payload = bytes
        .get(from..from + header.payload_len as usize)
        .ok_or_else(damaged)?;
    if wal.entry_crc.crc(raw, std::iter::once(payload)) != header.crc {
        return Err(damaged());
    }
    Ok((header, payload))
}

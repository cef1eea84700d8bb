//! The receiving end of a tail stream: a copy of a segment that its owner is still writing.
//!
//! **Invariants**:
//! - I1: frames are taken in order and only once; one that is already here and equal is accepted again, one that
//!   differs is kept as evidence and refused.
//! - I2: only synced frames are acknowledged; after a failed write or sync nothing more is acknowledged until the copy
//!   is opened again.
//! - I3: every entry of a frame was checked before the frame was written.
//! - I4: once a recovery has fenced the segment nothing more is taken from its owner, whatever its epoch.
//! - I5: damaged bytes of a copy are kept as evidence, and a note of the damage stays on the disk until the copy is
//!   complete.
//!
//! **Not here**: the tail stream itself.

use std::path::Path;

use super::mark::{CopyMarkFile, remove_notes, write_doubt, write_lost};
use super::parts::CopyParts;
use super::promise::{RecoveryNumber, promise, promised};
use crate::error::{FrameFault, VaultError};
use crate::file_io;
use crate::ids::{Lsn, SegmentId, SegmentIndex};
use crate::read::quarantine::Quarantined;
use crate::segment::block::{BlockFrame, BuiltBlock, DecodedBlock, block_frame_len, is_cut_off};
use crate::segment::cutter::TailFrame;
use crate::segment::frame::FRAME_HEADER;
use crate::segment::header::SegmentHeader;
use crate::segment::merge::merge;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::segment::verify::verify_segment;
use crate::segment::writer::SegmentWriter;
use crate::segment::{make_segment_dir, open_path, segment_path};

/// The acknowledgement of a replica: how far its copy is synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaAck {
    /// Number of the last frame that is synced, with all before it.
    pub frame_no: u32,
    /// The last entry in that frame.
    pub last_lsn: Lsn,
    /// The digest over all entries up to `last_lsn`.
    pub digest: [u8; 32],
}

/// The report of a replica to a recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaReport {
    /// The synced part of the copy; `None` where nothing is synced.
    pub synced: Option<ReplicaAck>,
    /// The last entry that the owner itself had synced, as its frames say. An entry up to there that is missing is a
    /// loss.
    pub owner_synced: Option<Lsn>,
}

/// A frame that was checked and written.
struct Taken {
    crc: u32,
    ack: ReplicaAck,
}

/// A copy of a segment that its owner is still writing.
pub struct ReplicaSegment {
    parts: CopyParts,
    header: SegmentHeader,
    file: CopyFile,
    digest: blake3::Hasher,
    taken: Vec<Taken>,
    /// Number of frames that are synced.
    synced: usize,
    mark: CopyMarkFile,
    owner_synced: Option<Lsn>,
    fence: RecoveryNumber,
    /// True after a failed write or sync, when the content of the file is unknown.
    broken: bool,
}

/// The file of a copy.
enum CopyFile {
    /// It takes frames.
    Open(Box<SegmentWriter>),
    /// The file has the whole segment, though its owner may not know that. The field is the last acknowledgement,
    /// `None` for an empty segment.
    Complete(Option<ReplicaAck>),
}

impl ReplicaSegment {
    pub(super) fn open(parts: CopyParts, header: SegmentHeader) -> Result<Self, VaultError> {
        let fence = promised(&parts.data, header.id)?;
        let (path, whole) = (open_path(&parts.data, header.id), segment_path(&parts.data, header.id));
        let mark = CopyMarkFile::open(&parts.data, header.id);
        let mut replica = Self {
            // A placeholder until a file is made below.
            file: CopyFile::Complete(None),
            parts,
            header,
            digest: blake3::Hasher::new(),
            taken: Vec::new(),
            synced: 0,
            mark,
            owner_synced: None,
            fence,
            broken: false,
        };
        if !path.exists()
            && whole.exists()
            && let Some(complete) = complete_copy(&replica.parts, &whole, &replica.header)?
        {
            replica.file = complete;
            return Ok(replica);
        }
        let kept = if path.exists() {
            whole_frames(&replica.parts, &path, &replica.header)?
        } else {
            Vec::new()
        };
        let tmp = file_io::with_suffix(&path, ".new");
        file_io::remove(&tmp)?;
        replica
            .parts
            .shared
            .used
            .set(replica.header.id, replica.header.encode().len() as u64);
        make_segment_dir(file_io::parent(&tmp))?;
        replica.file = CopyFile::Open(Box::new(SegmentWriter::create(&tmp, replica.header.clone())?));
        for bytes in kept {
            replica.take(&bytes, crc32fast::hash(&bytes))?;
        }
        if let CopyFile::Open(file) = &replica.file {
            file.sync()?;
        }
        replica
            .parts
            .shared
            .put_in_place(replica.header.id, &tmp, &path, &tmp)?;
        replica.synced = replica.taken.len();
        // Where a complete copy was found damaged, there is another mark on the disk by now.
        replica.mark = CopyMarkFile::open(&replica.parts.data, replica.header.id);
        replica.note_synced();
        Ok(replica)
    }

    /// Checks and writes a frame. It may be acknowledged once [`Self::sync`] has returned, which syncs all frames that
    /// came meanwhile.
    ///
    /// # Errors
    /// [`VaultError::FrameRefused`] when the segment is fenced or trimmed, when the copy ends before this frame and is
    /// complete, when an earlier write or sync failed, when the disk is too full for copies, or when the frame is of
    /// another segment or epoch, is not the next one, is damaged, or differs from the one that is here; a file
    /// operation failed.
    pub fn append(&mut self, frame: TailFrame<'_>) -> Result<(), VaultError> {
        if self.broken {
            return Err(self.refused(frame.frame_no, FrameFault::Broken));
        }
        if self.fence > 0 {
            return Err(self.refused(frame.frame_no, FrameFault::Fenced));
        }
        if frame.id != self.header.id || frame.epoch != self.header.epoch {
            return Err(self.refused(frame.frame_no, FrameFault::OtherSegment));
        }
        if crc32fast::hash(frame.bytes) != frame.crc {
            return Err(self.refused(frame.frame_no, FrameFault::Crc));
        }
        if let CopyFile::Complete(last) = &self.file {
            return match last {
                Some(last) if frame.last_lsn <= last.last_lsn => Ok(()),
                Some(_) | None => Err(self.refused(frame.frame_no, FrameFault::Complete)),
            };
        }
        self.parts.shared.takes(self.header.id, frame.frame_no)?;
        match self.taken.get(frame.frame_no as usize) {
            Some(taken) if taken.crc == frame.crc => return Ok(()),
            Some(_) => {
                self.keep_evidence(u64::from(frame.frame_no), frame.bytes, FrameFault::Differs)?;
                return Err(self.refused(frame.frame_no, FrameFault::Differs));
            }
            None => {}
        }
        let written = self.take(frame.bytes, frame.crc);
        self.broken = matches!(written, Err(VaultError::Io { .. }));
        written
    }

    /// Syncs every frame that was written, and returns the acknowledgement; `None` where nothing is synced.
    ///
    /// # Errors
    /// The sync failed: nothing more is acknowledged until the copy is opened again.
    pub fn sync(&mut self) -> Result<Option<ReplicaAck>, VaultError> {
        if let CopyFile::Open(file) = &self.file
            && self.synced < self.taken.len()
            && !self.broken
        {
            let synced = if cfg!(feature = "mutant-answer-before-sync") {
                Ok(())
            } else {
                file.sync()
            };
            self.broken = synced.is_err();
            synced?;
            self.synced = self.taken.len();
            self.note_synced();
        }
        Ok(self.last_ack())
    }

    /// Notes how far the copy is synced, where that is further than what was noted before.
    fn note_synced(&mut self) {
        if let Some(ack) = self.last_ack() {
            self.mark.note(ack.last_lsn.number());
        }
    }

    /// The acknowledgement for the synced part of the copy; `None` where nothing is synced.
    pub fn last_ack(&self) -> Option<ReplicaAck> {
        match &self.file {
            CopyFile::Open(_) => self.taken[..self.synced].last().map(|taken| taken.ack),
            CopyFile::Complete(last) => *last,
        }
    }

    /// Takes nothing more from the owner, obeys no recovery below `number`, and reports the copy. Both the promise and
    /// the reported frames are synced when this returns.
    ///
    /// # Errors
    ///
    /// [`VaultError::StaleRecovery`] when a higher number was promised; the promise or the copy cannot be synced.
    pub fn fence(&mut self, number: RecoveryNumber) -> Result<ReplicaReport, VaultError> {
        promise(&self.parts.data, self.header.id, number)?;
        self.fence = number;
        Ok(ReplicaReport {
            synced: self.sync()?,
            owner_synced: self.owner_synced,
        })
    }

    /// Completes the copy: writes large blocks and a footer, syncs the file, and gives it its final name. Returns the
    /// digest over all entries.
    ///
    /// # Errors
    /// An earlier write or sync failed, a file operation failed, or the frames on the disk are not those that were
    /// taken. The frames stay.
    pub fn complete(self) -> Result<[u8; 32], VaultError> {
        if self.broken {
            return Err(self.refused(self.taken.len() as u32, FrameFault::Broken));
        }
        let id = self.header.id;
        let (open, whole) = (open_path(&self.parts.data, id), segment_path(&self.parts.data, id));
        let digest = *self.digest.finalize().as_bytes();
        let shared = &self.parts.shared;
        let file = match self.file {
            CopyFile::Open(file) => file,
            CopyFile::Complete(last) => return Ok(last.map_or(digest, |last| last.digest)),
        };
        if file.has_large_blocks() {
            let finished = file.finish(Vec::new())?;
            // `finish` returns the path under which the file was created; since then it is named `.open`.
            shared.put_in_place(id, &open, &whole, &open)?;
            shared.used.set(id, finished.stats.stored_bytes);
            remove_notes(&self.parts.data, id)?;
            return Ok(digest);
        }
        file.sync()?;
        let merged = merge(&open, &file_io::with_suffix(&whole, ".new"), &self.header)?;
        if merged.digest != digest {
            return Err(VaultError::Damaged {
                path: open,
                offset: 0,
                what: "the frames of a copy are not what was taken",
            });
        }
        shared.put_in_place(id, &merged.path, &whole, &open)?;
        shared.used.set(id, merged.stats.stored_bytes);
        file_io::remove(&open)?;
        remove_notes(&self.parts.data, id)?;
        Ok(digest)
    }

    fn refused(&self, frame_no: u32, why: FrameFault) -> VaultError {
        let id = self.header.id;
        VaultError::FrameRefused { id, frame_no, why }
    }

    fn keep_evidence(&self, offset: u64, bytes: &[u8], why: FrameFault) -> Result<(), VaultError> {
        let id = self.header.id;
        let path = open_path(&self.parts.data, id);
        let reason = Quarantined::new(&path, offset, bytes.len() as u64, id, None, why.to_string());
        self.parts.quarantine.keep("frame", bytes, reason)
    }

    fn take(&mut self, bytes: &[u8], crc: u32) -> Result<(), VaultError> {
        let frame_no = self.taken.len() as u32;
        let CopyFile::Open(file) = &mut self.file else {
            return Err(self.refused(frame_no, FrameFault::Complete));
        };
        let Some(block) = decode(bytes, self.header.id.index) else {
            return Err(self.refused(frame_no, FrameFault::Damaged));
        };
        let last = self.taken.last().map(|taken| taken.ack.last_lsn);
        if block.frame.block_no != frame_no || last.is_some_and(|last| block.header(0).lsn <= last) {
            return Err(self.refused(frame_no, FrameFault::NotNext));
        }
        let mut hasher = self.digest.clone();
        for i in 0..block.len() {
            hasher.update(block.raw_header(i));
            hasher.update(block.payload(i));
        }
        let digest = *hasher.finalize().as_bytes();
        if digest != block.frame.chained {
            return Err(self.refused(frame_no, FrameFault::Digest));
        }
        let stats = block.frame.stats();
        let row = block.frame.row(0, bytes.len() as u64);
        file.append(&BuiltBlock {
            block_no: frame_no,
            bytes: bytes.to_vec(),
            row,
            stats,
            chained: digest,
        })?;
        self.parts.shared.used.add(self.header.id, bytes.len() as u64);
        self.digest = hasher;
        self.owner_synced = self.owner_synced.max(block.frame.owner_synced);
        let last_lsn = block.header(block.len() - 1).lsn;
        self.taken.push(Taken {
            crc,
            ack: ReplicaAck {
                frame_no,
                last_lsn,
                digest,
            },
        });
        Ok(())
    }
}

/// The complete copy that is here. `None` where it is damaged: it is kept as evidence, and the copy is begun anew. The
/// owner still has the segment, or it would not ask for a copy. Until the copy is complete again, a note tells a
/// recovery that entries were lost here.
fn complete_copy(parts: &CopyParts, path: &Path, header: &SegmentHeader) -> Result<Option<CopyFile>, VaultError> {
    let id = header.id;
    let reader = SegmentReader::open(path, id, true)?;
    if reader.header().is_some_and(|here| here != header) {
        return Err(of_another_boot(id));
    }
    let report = verify_segment(path, id, reader.footer().map(|footer| footer.digest), &mut |_, _| {})?;
    if let Some(footer) = reader.footer().filter(|_| report.ok) {
        let last = footer.stats.last_lsn.map(|last_lsn| ReplicaAck {
            frame_no: footer.blocks.len().saturating_sub(1) as u32,
            last_lsn,
            digest: footer.digest,
        });
        return Ok(Some(CopyFile::Complete(last)));
    }
    match reader.footer() {
        Some(footer) if footer.stats.last_lsn.is_none() => {}
        footer => write_lost(&parts.data, id, footer.and_then(|f| f.stats.last_lsn).map(Lsn::number))?,
    }
    let why = "a complete copy is damaged".to_owned();
    parts
        .quarantine
        .keep_file(Quarantined::new(path, 0, reader.len(), id, None, why))?;
    Ok(None)
}

fn of_another_boot(id: SegmentId) -> VaultError {
    VaultError::FrameRefused {
        id,
        frame_no: 0,
        why: FrameFault::OtherCopy,
    }
}

fn decode(bytes: &[u8], index: SegmentIndex) -> Option<DecodedBlock> {
    let len = block_frame_len(bytes)?;
    let content = bytes.get(FRAME_HEADER..FRAME_HEADER + len)?;
    let frame = BlockFrame::decode(content, index)?;
    DecodedBlock::decode(frame, bytes.get(FRAME_HEADER + len..)?).ok()
}

/// The bytes of the frames at the start of a file that are whole and follow each other. Damage behind them is kept as
/// evidence, and the copy is doubtful from then on: the damaged part may have been acknowledged. A file whose header is
/// damaged gives no frames, since nothing says whose they are.
fn whole_frames(parts: &CopyParts, path: &Path, header: &SegmentHeader) -> Result<Vec<Vec<u8>>, VaultError> {
    let mut reader = SegmentReader::open(path, header.id, true)?;
    let rows = match reader.header() {
        Some(here) if here == header => reader.blocks().to_vec(),
        Some(_) => return Err(of_another_boot(header.id)),
        None => Vec::new(),
    };
    let is_complete = reader.footer().is_some();
    let mut end = if reader.header().is_some() {
        header.encode().len() as u64
    } else {
        0
    };
    let mut kept = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let follows = row.offset == end;
        let whole = follows && reader.block(i).is_ok_and(|block| block.frame.block_no as usize == i);
        match reader.raw(row.offset, row.stored_bytes).filter(|_| whole) {
            Some(bytes) => kept.push(bytes),
            None => break,
        }
        end = row.offset + row.stored_bytes;
    }
    let behind = reader.len() - end;
    let all_kept = kept.len() == rows.len() && reader.header().is_some();
    if behind == 0 || all_kept && (is_complete || is_torn(&mut reader, end, header.id.index)) {
        return Ok(kept);
    }
    let fault = SegmentFault {
        offset: end,
        len: behind,
        what: "a copy is damaged from here on".to_owned(),
        numbers: None,
    };
    let bytes = reader.damaged_bytes(&fault);
    let reason = Quarantined::new(path, end, behind, header.id, None, fault.what);
    parts.quarantine.keep("copy", &bytes, reason)?;
    write_doubt(&parts.data, header.id)?;
    Ok(kept)
}

/// True where the bytes at `at`, behind the last whole frame, are a frame that a crash cut off: the file ends before
/// the frame does. Such a frame was never synced, and so never acknowledged.
pub(super) fn is_torn(reader: &mut SegmentReader, at: u64, index: SegmentIndex) -> bool {
    let rest = usize::try_from(reader.len() - at).unwrap_or(usize::MAX);
    let Some(bytes) = reader.raw(at, rest as u64) else {
        return false;
    };
    is_cut_off(&bytes, index)
}

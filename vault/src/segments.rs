//! Queries and operations on a vault's segments.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::disposition::Disposition;
use crate::error::VaultError;
use crate::file_io;
use crate::ids::{LogId, SegmentId, SegmentIndex, ShardId};
use crate::ledger::SealRecord;
use crate::read::bad_copy::{BadCopy, CopyFault};
use crate::read::open_sealed::open_sealed;
use crate::read::quarantine::Quarantined;
use crate::read::slot::Slot;
use crate::segment::block::BlockRow;
use crate::segment::footer::Hole;
use crate::segment::header::SegmentHeader;
use crate::segment::reader::{SegmentFault, SegmentReader};
use crate::segment::segment_path;
use crate::segment::verify::{VerifyReport, verify_segment};
use crate::vault::Vault;

/// The state of a segment, as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// It takes entries, or is about to.
    Open,
    /// It is being cut to its end after a restart.
    Recovering,
    /// It cannot be read now.
    Unreadable(String),
    /// An operator accepted its loss; its files stay.
    Lost,
    /// It is complete.
    Sealed(SealRecord),
}

/// The content of a segment file.
#[derive(Clone, Debug)]
pub struct SegmentDetail {
    /// The record of the segment.
    pub record: SealRecord,
    /// The file's header, where it is whole.
    pub header: Option<SegmentHeader>,
    /// Its blocks.
    pub blocks: Vec<BlockRow>,
    /// Missing numbers.
    pub holes: Vec<Hole>,
    /// Damage outside its blocks.
    pub faults: Vec<SegmentFault>,
    /// Records of damage found in it at any time.
    pub quarantined: Vec<Quarantined>,
}

/// What can be seen of the folder in which the segments of a log are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderSeen {
    /// The folder.
    pub path: PathBuf,
    /// True where the storage_uuid of `segments/` can be read, and is this node's.
    pub is_ours: bool,
    /// True where the folder is there.
    pub is_there: bool,
    /// Number of sealed segments of the log that are held here.
    pub copies: usize,
    /// Number of those whose file is there, and is not given by the disk.
    pub unreadable: usize,
}

impl Vault {
    /// Every segment that is held here, copies of other nodes' too, in order.
    pub fn segments(&self) -> Vec<(SegmentId, SegmentState)> {
        let all = self.inner.parts.holdings.all().into_iter();
        all.map(|(id, slot)| (id, state_of(slot))).collect()
    }

    /// The segments of this node's own logs, in order.
    pub fn own_segments(&self) -> Vec<(SegmentId, SegmentState)> {
        let node = self.inner.parts.node;
        self.segments().into_iter().filter(|(id, _)| id.node == node).collect()
    }

    /// The state of a segment that is held here.
    pub fn segment_state(&self, id: SegmentId) -> Option<SegmentState> {
        self.inner.parts.holdings.get(id).map(state_of)
    }

    /// True where a segment is held here, in whatever state.
    pub fn has_segment(&self, id: SegmentId) -> bool {
        self.inner.parts.holdings.get(id).is_some()
    }

    /// True where a segment of this node's own is held here, in whatever state.
    pub fn holds(&self, shard: ShardId, index: SegmentIndex) -> bool {
        self.has_segment(self.own_log(shard).segment(index))
    }

    /// Time at which a segment of this node was sealed, by [`Self::clock_ns`]; `None` where it is not sealed.
    pub fn sealed_ns(&self, shard: ShardId, index: SegmentIndex) -> Option<u64> {
        let slot = self.inner.parts.holdings.get(self.own_log(shard).segment(index))?;
        slot.sealed().map(|record| record.sealed_ns)
    }

    /// True where a segment of a shard is being recovered, so that [`Self::cursor`] would wait for it.
    pub fn is_recovering(&self, shard: ShardId) -> bool {
        self.inner.parts.holdings.is_recovering(self.own_log(shard))
    }

    /// Accepts, for an operator, the loss of a segment that cannot be read: readers pass it, and retention waits for it
    /// no more. Of a segment that can be read but for some pages, only the entries in those pages are lost. Its files
    /// stay.
    ///
    /// # Errors
    ///
    /// The segment is not held here, it is a copy of another node's, it can be read, or the ledger refused the command.
    pub fn accept_loss(&self, id: SegmentId) -> Result<(), VaultError> {
        let inner = &self.inner;
        // Others may hold good copies: this one says nothing about the segment.
        if id.node != inner.parts.node {
            return Err(VaultError::NotOwn(id));
        }
        match inner.parts.holdings.get(id) {
            Some(Slot::Unreadable { .. }) => {
                inner.parts.ledger.segment_lost(id)?;
                inner.parts.holdings.unreadable_is_lost(id);
                Ok(())
            }
            Some(Slot::Lost) => Ok(()),
            Some(Slot::Sealed(_)) if self.verify(id, &mut |_, _| {})?.misses_pages => {
                inner.parts.quarantine.accept_page_loss(id, &self.segment_file(id))
            }
            Some(Slot::Live(_) | Slot::Recovering | Slot::Sealed(_)) => Err(VaultError::NotUnreadable(id)),
            None => Err(VaultError::NoSuchSegment(id)),
        }
    }

    /// Makes segments that hold entries of this boot be sealed soon, of one shard or of all. Returns their ids;
    /// [`Self::sealed_ns`] shows when each is sealed.
    pub fn seal_open(&self, shard: Option<ShardId>) -> Vec<SegmentId> {
        let mut asked = Vec::new();
        for live in &self.inner.shards {
            let Some(last) = live.written().filter(|_| shard.is_none_or(|shard| shard == live.id)) else {
                continue;
            };
            live.ask_for_seal(last.index());
            let log = self.own_log(live.id);
            let from = self.inner.parts.holdings.from(log, live.first()).into_iter();
            let open = from.filter(|(index, slot)| *index <= last.index() && matches!(slot, Slot::Live(_)));
            asked.extend(open.map(|(index, _)| log.segment(index)));
        }
        asked
    }

    /// Reads the structure of a sealed segment's file.
    ///
    /// # Errors
    ///
    /// The segment is not held here, it is not sealed, or its file cannot be opened.
    pub fn describe(&self, id: SegmentId) -> Result<SegmentDetail, VaultError> {
        let record = self.sealed(id)?;
        let reader = SegmentReader::open(&self.segment_file(id), id, false)?;
        Ok(SegmentDetail {
            record,
            header: reader.header().cloned(),
            blocks: reader.blocks().to_vec(),
            holes: reader.footer().map(|f| f.holes.clone()).unwrap_or_default(),
            faults: reader.faults().to_vec(),
            quarantined: self
                .inner
                .parts
                .quarantine
                .all()
                .into_iter()
                .filter(|q| q.segment == id)
                .collect(),
        })
    }

    /// Reads a sealed segment from the disk and checks all of it. Damaged bytes are copied to quarantine. From then on
    /// the segment is shown as unreadable where its file cannot be opened, and as readable where it can; and its copy
    /// is one of [`Self::bad_copies`] or not, whatever was known before.
    ///
    /// # Errors
    ///
    /// The segment is not held here, it is not sealed, or its file cannot be opened.
    pub fn verify(&self, id: SegmentId, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, VaultError> {
        let record = self.sealed(id)?;
        let path = self.segment_file(id);
        let file = file_of(&path);
        let mut opened = verify_segment(&path, id, Some(record.digest), progress);
        if opened.as_ref().is_ok_and(|report| !report.ok) && file != file_of(&path) {
            // Another file took its place meanwhile.
            opened = verify_segment(&path, id, Some(record.digest), progress);
        }
        // A copy of another content than the seal names can be opened, and is nevertheless not the segment.
        let sealed = opened
            .is_ok()
            .then(|| open_sealed(self.inner.data.path(), self.inner.parts.node, &record));
        let shown = match (&opened, &sealed) {
            (Err(error), _) | (Ok(_), Some(Err(error))) => Err(error),
            (Ok(_), Some(Ok(_)) | None) => Ok(()),
        };
        self.inner.parts.holdings.opened(id, shown);
        self.note(id, shown, opened.as_ref().ok());
        let report = opened.map_err(|error| {
            if error.disposition() == Disposition::Overloaded {
                return error;
            }
            let why = error.to_string();
            VaultError::Unreadable { id, why }
        })?;
        for fault in &report.faults {
            let bytes = SegmentReader::open(&path, id, true)?.damaged_bytes(fault);
            let reason = Quarantined::new(&path, fault.offset, fault.len, id, fault.numbers, fault.what.clone());
            self.inner.parts.quarantine.keep("segment", &bytes, reason)?;
        }
        Ok(report)
    }

    /// Notes the outcome of a verification. A lack of descriptors says nothing about a copy.
    fn note(&self, id: SegmentId, shown: Result<(), &VaultError>, report: Option<&VerifyReport>) {
        let holdings = &self.inner.parts.holdings;
        match (shown, report) {
            (Err(error), _) if error.disposition() == Disposition::Overloaded => {}
            (Err(error), _) => holdings.is_bad(id, CopyFault::of(error), &error.to_string(), true),
            (Ok(()), Some(report)) if !report.ok => {
                let first = report.faults.first();
                let why = first.map_or_else(String::new, |first| {
                    format!("{} at offset {}", first.what, first.offset)
                });
                let fault = if report.misses_pages {
                    CopyFault::Unreadable
                } else {
                    CopyFault::Damaged
                };
                holdings.is_bad(id, fault, &why, true);
            }
            (Ok(()), _) => holdings.is_good(id),
        }
    }

    /// Checks a few pages of the file of a sealed segment that is held here; says whether they are what was
    /// sealed. What is wrong is one of [`Self::bad_copies`] from then on, to be verified.
    pub fn spot_check(&self, id: SegmentId) -> bool {
        let holdings = &self.inner.parts.holdings;
        let Ok(record) = self.sealed(id) else { return false };
        match SegmentReader::spot_check(&self.segment_file(id), id, record.digest) {
            Ok(None) => return true,
            Ok(Some(why)) => holdings.is_bad(id, CopyFault::Damaged, &why, false),
            Err(error) => holdings.opened(id, Err(&error)),
        }
        false
    }

    /// The copies of sealed segments that are known to be missing or damaged here, own and others', in order.
    pub fn bad_copies(&self) -> Vec<BadCopy> {
        self.inner.parts.holdings.bad()
    }

    /// What is known to be wrong with the copy of a sealed segment here.
    pub fn bad_copy(&self, id: SegmentId) -> Option<BadCopy> {
        self.inner.parts.holdings.bad_copy(id)
    }

    /// The first sealed segment that is held here behind another one, or of all, in their order.
    pub fn next_sealed(&self, after: Option<SegmentId>) -> Option<SegmentId> {
        self.inner.parts.holdings.next_sealed(after)
    }

    /// What can be seen of the folder of a log's segments.
    pub fn folder_of(&self, log: LogId) -> FolderSeen {
        let bad = self.bad_copies().into_iter().filter(|bad| bad.id.log() == log);
        let path = file_io::parent(&self.segment_file(log.segment(SegmentIndex::FIRST))).to_path_buf();
        FolderSeen {
            is_ours: self.inner.data.is_ours(),
            is_there: path.is_dir(),
            path,
            copies: self.inner.parts.holdings.count_sealed(log),
            unreadable: bad.filter(|bad| bad.fault == CopyFault::Unreadable).count(),
        }
    }

    /// Everything in quarantine.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.inner.parts.quarantine.all()
    }

    /// The log of this node's own with this number.
    pub(crate) fn own_log(&self, shard: ShardId) -> LogId {
        LogId {
            node: self.inner.parts.node,
            shard,
        }
    }

    /// The path of a sealed segment's file.
    pub fn segment_file(&self, id: SegmentId) -> PathBuf {
        segment_path(self.inner.data.path(), id)
    }

    fn sealed(&self, id: SegmentId) -> Result<SealRecord, VaultError> {
        match self.inner.parts.holdings.get(id) {
            Some(Slot::Sealed(record)) => Ok(record),
            Some(Slot::Unreadable {
                sealed: Some(record), ..
            }) => Ok(record),
            Some(Slot::Unreadable { why, sealed: None }) => Err(VaultError::Unreadable { id, why }),
            Some(Slot::Lost) => Err(VaultError::Unreadable {
                id,
                why: "an operator accepted its loss".to_owned(),
            }),
            Some(Slot::Live(_) | Slot::Recovering) => Err(VaultError::NotSealed(id)),
            None => Err(VaultError::NoSuchSegment(id)),
        }
    }
}

/// Tells a file from another one in its place.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

fn state_of(slot: Slot) -> SegmentState {
    match slot {
        Slot::Live(_) => SegmentState::Open,
        Slot::Recovering => SegmentState::Recovering,
        Slot::Unreadable { why, .. } => SegmentState::Unreadable(why),
        Slot::Lost => SegmentState::Lost,
        Slot::Sealed(record) => SegmentState::Sealed(record),
    }
}

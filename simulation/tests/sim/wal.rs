//! The simulated WAL of a host: files that are lists of entries, of which some are synced.
//!
//! A power cut keeps what is synced, and of the rest any subset: holes. A file is written by one boot, and never goes
//! on in another.

use std::collections::BTreeMap;

use gophership_vault::ids::{ClusterId, EntryNumber, Lsn, NodeId, SegmentId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::testkit::Entry;
use gophership_vault::{Durable, HeldReport, SegmentHeader, Tenant};
use uuid::Uuid;

use crate::rng::Rng;

/// An entry in a file.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) entry: Entry,
    /// The durable mark in its header.
    durable: Option<Lsn>,
    synced: bool,
}

/// One file: the WAL of one segment.
#[derive(Clone, Debug)]
pub(crate) struct WalFile {
    pub(crate) open: OpenRecord,
    pub(crate) entries: BTreeMap<u32, Written>,
    /// The last entry of the segment before, in an idle mark at the start, and whether that is synced.
    before: Option<(Lsn, bool)>,
}

impl WalFile {
    /// An empty file, synced.
    pub(crate) fn new(open: OpenRecord) -> Self {
        Self {
            open,
            entries: BTreeMap::new(),
            before: None,
        }
    }

    /// Begins the file with an idle mark of the last entry of the segment before.
    pub(crate) fn begin_after(&mut self, before: Option<Lsn>) {
        self.before = before.map(|lsn| (lsn, false));
    }

    /// Appends an entry.
    pub(crate) fn append(&mut self, entry: Entry, durable: Option<Lsn>) {
        let number = entry.lsn.number().get();
        self.entries.insert(
            number,
            Written {
                entry,
                durable,
                synced: false,
            },
        );
    }

    /// Syncs all of it.
    pub(crate) fn sync(&mut self) {
        self.entries.values_mut().for_each(|written| written.synced = true);
        self.before = self.before.map(|(lsn, _)| (lsn, true));
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<EntryNumber> {
        let (number, _) = self.entries.last_key_value()?;
        EntryNumber::new(*number)
    }

    /// True where an entry is here and synced.
    pub(crate) fn has_synced(&self, number: u32) -> bool {
        self.entries.get(&number).is_some_and(|written| written.synced)
    }

    /// The entries, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|written| &written.entry)
    }

    /// Loses what is not synced, or part of that.
    fn power_cut(&mut self, rng: &mut Rng) {
        // Often a prefix survives, sometimes any subset.
        let holes = rng.chance(60);
        let mut lost = false;
        self.entries.retain(|_, written| {
            let kept = written.synced || (!lost && rng.chance(60)) || (holes && rng.chance(50));
            lost |= !kept;
            kept
        });
        self.before = self.before.filter(|(_, synced)| *synced || rng.chance(50));
    }
}

/// All files of a host, of every boot.
#[derive(Clone, Default, Debug)]
pub(crate) struct Wal(pub(crate) BTreeMap<SegmentId, WalFile>);

impl Wal {
    /// Cuts the power.
    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        self.0.values_mut().for_each(|file| file.power_cut(rng));
    }

    /// Reports what is here of a segment, and syncs that. The marks of all files of the boot speak of it.
    pub(crate) fn report(&mut self, id: SegmentId, holder: NodeId) -> HeldReport {
        let mut report = HeldReport::nothing(holder);
        let Some(file) = self.0.get_mut(&id) else { return report };
        file.sync();
        let epoch = file.open.epoch;
        report.file_uuid = Some(file.open.file_uuid);
        report.entries = file.all().map(|entry| (entry.lsn.number(), entry.crc())).collect();
        let of_boot = |file: &&WalFile| file.open.epoch == epoch && file.open.id.log() == id.log();
        for file in self.0.values().filter(of_boot) {
            let marks = file.entries.values().filter_map(|written| written.durable);
            let known = marks.fold(Durable::default(), |known, mark| known.and(&durable_by(mark, id)));
            report.durable = report.durable.and(&known);
            if let Some((last, _)) = file.before.filter(|(last, _)| last.index() == id.index) {
                report.durable.end = Some(last.number());
            }
        }
        report
    }
}

/// The statement of a durable mark about a segment.
fn durable_by(mark: Lsn, id: SegmentId) -> Durable {
    Durable {
        to: Some(mark.number()).filter(|_| mark.index() == id.index),
        all: mark.index() > id.index,
        end: None,
    }
}

/// The header of a segment's files: the same whoever makes it.
pub(crate) fn header_of(open: &OpenRecord) -> SegmentHeader {
    SegmentHeader {
        id: open.id,
        epoch: open.epoch,
        file_uuid: open.file_uuid,
        cluster_id: ClusterId(Uuid::nil()),
        created_ns: u64::from(open.id.index.get()),
        tenants: vec![Tenant::default_tenant()],
    }
}

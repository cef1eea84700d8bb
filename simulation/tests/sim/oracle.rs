//! The oracle: it knows every entry that was ever appended and what was acknowledged, looks at disks and catalogue from
//! outside, and says which promise is broken.
//!
//! **Checks.** When an entry is acknowledged: as many disks have it, synced, as its set asks for, and its segment is
//! not sealed without it. When a segment is sealed: its content is what was appended (P3), all of it that was
//! acknowledged (P1), and each holder on record has that content, synced. After each fault: what is acknowledged and
//! not sealed is on as many disks as the faults leave. At the end: all is sealed, and holders still have what they are
//! listed with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use gophership_catalogue::command::{Command, Outcome};
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::testkit::{Entry, blocks, content, entries};
use gophership_vault::{RecoveryNumber, verify_segment};
use gophership_vault_replication::limits::TAIL_FRAMES_MAX;

use crate::world::World;

/// Copies that an acknowledgement promises.
const COPIES: usize = 2;

/// The knowledge of the oracle.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Every entry that was appended, by its number.
    written: BTreeMap<SegmentId, BTreeMap<u32, Entry>>,
    /// The last entry of each segment that was acknowledged.
    acked: BTreeMap<SegmentId, u32>,
    /// The numbers that a sealed segment has.
    sealed: BTreeMap<SegmentId, BTreeSet<u32>>,
    /// The recovery that sealed a segment; `None` for its owner.
    sealed_by: BTreeMap<SegmentId, Option<RecoveryNumber>>,
    /// Copies in which a bit was flipped.
    flipped: BTreeSet<(usize, SegmentId)>,
    /// Hosts that lost what they had synced, or part of it.
    pub(crate) destroyed: BTreeSet<usize>,
    /// Entries that were acknowledged.
    pub(crate) acks: u64,
    /// Segments that a recovery sealed with entries.
    pub(crate) recovered: u64,
}

impl Oracle {
    /// A bit of a host's file of a segment was flipped.
    pub(crate) fn remember_flip(&mut self, host: usize, id: SegmentId) {
        self.destroyed.insert(host);
        self.flipped.insert((host, id));
    }
}

impl World {
    /// An entry was appended.
    pub(crate) fn remember(&mut self, id: SegmentId, entry: &Entry) {
        let of_segment = self.oracle.written.entry(id).or_default();
        let before = of_segment.insert(entry.lsn.number().get(), entry.clone());
        assert!(before.is_none(), "the simulation appends {} twice", entry.lsn);
    }

    /// The number of entries that a segment was given.
    pub(crate) fn written(&self, id: SegmentId) -> u32 {
        self.oracle.written.get(&id).map_or(0, |entries| entries.len() as u32)
    }

    /// The recovery that sealed a segment.
    pub(crate) fn sealed_by(&self, id: SegmentId) -> Option<RecoveryNumber> {
        self.oracle.sealed_by.get(&id).copied().flatten()
    }

    /// The watermark of a shard moved from one entry to another.
    pub(crate) fn judge_ack(&mut self, host: usize, shard: ShardId, from: Option<Lsn>, to: Option<Lsn>) {
        let (node, Some(to)) = (self.hosts[host].node, to) else {
            return;
        };
        let first = from.map_or(1, |from| from.index().get());
        for index in first..=to.index().get() {
            let Some(id) = segment(node, shard, index) else {
                continue;
            };
            let all = self.written(id);
            let last = if index == to.index().get() {
                to.number().get()
            } else {
                all
            };
            let epoch = self.hosts[host].process.as_ref().and_then(|process| process.epoch);
            if self.hosts[host]
                .wal
                .0
                .get(&id)
                .is_none_or(|file| Some(file.open.epoch) != epoch)
            {
                continue;
            }
            let before = self.oracle.acked.get(&id).copied().unwrap_or(0);
            for number in before + 1..=last {
                let copies = self.copies(id, number);
                let needed = COPIES - self.oracle.destroyed.len().min(1);
                if copies.len() < needed {
                    self.fail(format!("{id}:{number} is acknowledged and synced on {copies:?} only"));
                }
                if self
                    .oracle
                    .sealed
                    .get(&id)
                    .is_some_and(|sealed| !sealed.contains(&number))
                {
                    self.fail(format!(
                        "{id}:{number} is acknowledged, and the segment was sealed without it"
                    ));
                }
                self.oracle.acks += 1;
            }
            if last > before {
                self.note(format_args!("{host} acknowledges {id} up to {last}"));
                self.oracle.acked.insert(id, last);
            }
        }
    }

    /// The hosts that have an entry of a segment that is not sealed, synced.
    fn copies(&self, id: SegmentId, number: u32) -> Vec<usize> {
        let has = |host: &usize| {
            let at = &self.hosts[*host];
            if at.node == id.node {
                return at.wal.0.get(&id).is_some_and(|file| file.has_synced(number))
                    || self.copy_has(*host, id, number);
            }
            self.copy_has(*host, id, number)
        };
        (0..self.hosts.len()).filter(has).collect()
    }

    /// The files of a host that may hold a copy.
    fn copy_files(&self, host: usize, id: SegmentId) -> [PathBuf; 2] {
        let SegmentId { node, shard, index } = id;
        let disks = self.disks.borrow();
        let shard = disks
            .folder(host)
            .join(format!("segments/{node:010}/{:04}", shard.get()));
        [
            shard.join(format!("{index:012}.seg")),
            shard.join(format!("{index:012}.open")),
        ]
    }

    fn copy_has(&self, host: usize, id: SegmentId, number: u32) -> bool {
        self.copy_files(host, id).iter().any(|path| {
            let durable = self.disks.borrow().durable(host, path);
            if durable == 0 {
                return false;
            }
            let rows = blocks(path, id).map(|(rows, _)| rows).unwrap_or_default();
            rows.iter().any(|row| {
                let spans = (row.first.get()..=row.last.get()).contains(&number);
                spans && row.offset + row.stored_bytes <= durable
            })
        })
    }

    /// A command was applied.
    pub(crate) fn judge_commit(&mut self, command: &Command, outcome: &Outcome) {
        if outcome.is_err() {
            return;
        }
        let (seal, number) = match command {
            Command::Seal { seal } | Command::Roll { seal: Some(seal), .. } => (seal, None),
            Command::SealRecovered { seal, number } => (seal, Some(*number)),
            Command::ReplicaAdded { id, node, .. } => return self.judge_holder(*id, *node),
            _ => return,
        };
        if !self.oracle.sealed.contains_key(&seal.id) {
            self.oracle.sealed_by.insert(seal.id, number);
            self.judge_seal(seal, number);
        }
    }

    fn judge_seal(&mut self, seal: &SealRecord, number: Option<RecoveryNumber>) {
        let id = seal.id;
        let written = self.oracle.written.get(&id).cloned().unwrap_or_default();
        let numbers: BTreeSet<u32> = if number.is_none() {
            written.keys().copied().collect()
        } else {
            self.oracle.recovered += u64::from(seal.stats.entries > 0);
            let found = seal.holders.iter().filter_map(|node| {
                let host = self.host_of(node)?;
                let [whole, _] = self.copy_files(host, id);
                let entries = entries(&whole, id).ok()?;
                Some(entries.into_iter().map(|(number, _)| number.get()).collect())
            });
            // A bit may have flipped in one of them since it was made.
            let is_other = |numbers: &BTreeSet<u32>| {
                let entries = numbers.iter().filter_map(|number| written.get(number));
                content(entries).1 != seal.digest
            };
            found.min_by_key(is_other).unwrap_or_default()
        };
        if let Some(phantom) = numbers.iter().find(|number| !written.contains_key(number)) {
            self.fail(format!("{id}:{phantom} is sealed, and nobody wrote it"));
        }
        let (stats, digest) = content(numbers.iter().filter_map(|number| written.get(number)));
        if (digest, stats.entries) != (seal.digest, seal.stats.entries) {
            self.fail(format!(
                "{id} is sealed with another content than entries {numbers:?}, which were written"
            ));
        }
        let acked = self.oracle.acked.get(&id).copied().unwrap_or(0);
        if let Some(lost) = (1..=acked).find(|number| !numbers.contains(number)) {
            self.fail(format!(
                "{id}:{lost} was acknowledged, and the segment is sealed without it"
            ));
        }
        self.note(format_args!("{id} is sealed with {numbers:?} on {:?}", seal.holders));
        self.oracle.sealed.insert(id, numbers);
        for node in seal.holders.iter() {
            self.judge_holder(id, node);
        }
    }

    /// A node is on record as a holder of a sealed segment: it has its content, synced.
    fn judge_holder(&mut self, id: SegmentId, node: NodeId) {
        let Some(SegmentRecord::Sealed(seal)) = self.consensus.head.segment(id) else {
            return;
        };
        // An id of a disk that was wiped is nobody's.
        let Some(host) = self.host_of(node) else { return };
        if seal.stats.entries == 0 || self.oracle.flipped.contains(&(host, id)) {
            return;
        }
        if node == id.node && self.owner_has(host, id) {
            return;
        }
        let [whole, _] = self.copy_files(host, id);
        let verified = verify_segment(&whole, id, Some(seal.digest), &mut |_, _| {});
        let synced = self.disks.borrow().durable(host, &whole);
        match verified {
            Ok(report) if report.ok && report.bytes == synced => {}
            Ok(report) => self.fail(format!(
                "{node} is on record as a holder of {id}: of {} bytes {synced} are synced, {:?}",
                report.bytes, report.faults
            )),
            Err(_) => self.fail(format!("{node} is on record as a holder of {id} and has no whole file")),
        }
    }

    /// True where the WAL of an owner has what its segment was sealed with, synced.
    fn owner_has(&self, host: usize, id: SegmentId) -> bool {
        let Some(file) = self.hosts[host].wal.0.get(&id) else {
            return false;
        };
        let sealed = &self.oracle.sealed[&id];
        file.entries.len() == sealed.len() && sealed.iter().all(|number| file.has_synced(*number))
    }

    /// A sender says that a copy differs. Only damage makes one.
    pub(crate) fn judge_difference(&mut self, id: SegmentId, node: NodeId) {
        let damaged = self
            .host_of(node)
            .is_none_or(|host| self.oracle.destroyed.contains(&host));
        if !damaged {
            self.fail(format!(
                "the copy of {id} on {node} differs, and nothing was damaged there"
            ));
        }
    }

    /// Checks that acknowledged entries which are not sealed are on as many disks as the faults leave.
    pub(crate) fn judge_disks(&mut self) {
        let unsealed = self
            .oracle
            .acked
            .iter()
            .filter(|(id, _)| !self.oracle.sealed.contains_key(id));
        let unsealed: Vec<(SegmentId, u32)> = unsealed.map(|(id, last)| (*id, *last)).collect();
        for (id, last) in unsealed {
            let needed = COPIES - self.oracle.destroyed.len().min(1);
            if let Some(number) = (1..=last).find(|number| self.copies(id, *number).len() < needed) {
                let copies = self.copies(id, number);
                self.fail(format!(
                    "{id}:{number} was acknowledged, and is synced on {copies:?} only"
                ));
            }
        }
    }

    /// Checks that the messages under way stay within their bounds.
    pub(crate) fn judge_bounds(&mut self) {
        let shards = self
            .hosts
            .iter()
            .filter_map(|host| host.process.as_ref())
            .flat_map(|process| &process.shards);
        let unanswered = shards.map(|shard| shard.unanswered()).max().unwrap_or(0);
        if unanswered > TAIL_FRAMES_MAX {
            self.fail(format!("{unanswered} frames are unanswered"));
        }
    }

    /// A segment that is not sealed although it could be; `None` where all is quiet.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let open = self.consensus.head.segments().find_map(|record| match record {
            SegmentRecord::Recovering { open, .. } => Some(format!("{} is being recovered", open.id)),
            SegmentRecord::Open { open, .. } => {
                let newest = self.consensus.head.node(open.id.node).and_then(|node| node.epoch());
                let is_spare = newest == Some(open.epoch) && self.written(open.id) == 0;
                let gone = self.host_of(open.id.node).is_none();
                (!is_spare || gone).then(|| format!("{} is open, of epoch {}", open.id, open.epoch))
            }
            SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => None,
        });
        let down = self
            .hosts
            .iter()
            .position(|host| host.process.as_ref().is_none_or(|p| p.epoch.is_none()));
        open.or_else(|| down.map(|host| format!("{host} has no epoch")))
    }

    /// All faults are mended and nothing happens any more.
    pub(crate) fn judge_end(&mut self) {
        let sealed: Vec<SealRecord> = self.consensus.head.segments().filter_map(sealed).collect();
        for seal in sealed {
            for node in seal.holders.iter() {
                self.judge_holder(seal.id, node);
            }
            let usable = seal.holders.iter().filter(|node| {
                let host = self.host_of(*node);
                host.is_some_and(|host| !self.oracle.flipped.contains(&(host, seal.id)))
            });
            if seal.stats.entries > 0 && usable.count() == 0 {
                self.fail(format!("no holder of {} has it any more", seal.id));
            }
        }
        if let Some((id, _)) = self
            .oracle
            .acked
            .iter()
            .find(|(id, _)| !self.oracle.sealed.contains_key(id))
        {
            self.fail(format!("{id} was acknowledged, and is not sealed"));
        }
        let lengths = self.consensus.log.len();
        for host in 0..self.hosts.len() {
            self.catch_up(host, lengths);
            if self.hosts[host].state != self.consensus.head {
                self.fail(format!("{host} has another state than the log gives"));
            }
        }
    }
}

fn segment(node: NodeId, shard: ShardId, index: u32) -> Option<SegmentId> {
    let index = gophership_vault::ids::SegmentIndex::new(index)?;
    Some(SegmentId { node, shard, index })
}

fn sealed(record: SegmentRecord) -> Option<SealRecord> {
    match record {
        SegmentRecord::Sealed(seal) => Some(seal),
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    }
}

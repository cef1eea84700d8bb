use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::data_dir::DataDir;
use crate::entry::{Encoding, EntryMeta, EntryState};
use crate::ids::{EntryNumber, Epoch, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use crate::keep::retention::{OnFull, Release};
use crate::ledger::{KeptClock, Ledger, LedgerError, OpenRecord};
use crate::options::{RecoveryBy, VaultOptions};
use crate::recover::decide::decide;
use crate::recover::marks::Durable;
use crate::recover::own::own_wal;
use crate::recover::patience::Patience;
use crate::recover::recovery::remove_wal;
use crate::recover::report::report_wal;
use crate::seam::ShardSeam;
use crate::vault::Vault;
use crate::wal::writer::ShardWriter;

/// A ledger that has what was opened on record, and accepts everything.
#[derive(Default)]
struct Accepting(Mutex<Vec<OpenRecord>>);

impl Ledger for Accepting {
    fn known(&self) -> Vec<KnownSegment> {
        let open = self.0.lock().unwrap();
        open.iter().map(|open| KnownSegment::Open(*open)).collect()
    }

    fn next_index(&self, _shard: ShardId) -> SegmentIndex {
        SegmentIndex::FIRST
    }

    fn roll(&self, _seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        self.0.lock().unwrap().push(*open);
        Ok(())
    }

    fn seal_segment(&self, _seal: &SealRecord) -> Result<(), LedgerError> {
        Ok(())
    }

    fn holds_copy(&self, _id: SegmentId, _digest: [u8; 32]) -> Result<(), LedgerError> {
        Ok(())
    }

    fn trim_segment(&self, _id: SegmentId, _why: TrimReason) -> Result<(), LedgerError> {
        Ok(())
    }

    fn unlinked(&self, _segments: &[SegmentId]) -> Result<(), LedgerError> {
        Ok(())
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        Ok(seen)
    }

    fn segment_lost(&self, _id: SegmentId) -> Result<(), LedgerError> {
        Ok(())
    }

    fn clock(&self) -> Option<KeptClock> {
        None
    }

    fn keep_clock(&self, _mark: KeptClock) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// A vault with three entries in its first segment.
struct Filled {
    vault: Vault,
    _writers: Vec<ShardWriter>,
    _dir: tempfile::TempDir,
}

fn filled() -> Filled {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), true).unwrap();
    let options = VaultOptions {
        shards: 1,
        segment_size: 64 * 1024,
        segment_age: Duration::from_secs(3600),
        spares: 2,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(3600),
        release: Release::AtRetention,
        on_full: OnFull::Refuse,
        recovery: RecoveryBy::Itself,
    };
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let opened = Vault::open(
        data,
        &options,
        Epoch::new(1).unwrap(),
        Arc::<Accepting>::default(),
        seams,
    );
    let (vault, mut writers) = opened.unwrap();
    let meta = EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    };
    for _ in 0..3 {
        writers[0].must_append(&meta, 4, std::iter::once(&b"logs"[..])).unwrap();
    }
    Filled {
        vault,
        _writers: writers,
        _dir: dir,
    }
}

/// Executes the plan for the first segment of a vault, after a change by which it is not that of the report.
fn execute_changed(change: impl FnOnce(&mut Plan)) {
    let filled = filled();
    let parts = &filled.vault.inner.parts;
    let wal = first_wal(parts);
    let report = report_wal(parts, &wal, &Patience::None).unwrap();
    let mut plan = decide(std::slice::from_ref(&report), Durable::default()).unwrap();
    assert_eq!(plan.keep.len(), 1, "three entries in a row");
    change(&mut plan);
    let _ = execute(parts, &wal, &report, &plan);
}

fn first_wal(parts: &KeepParts) -> LeftWal {
    let known = parts.ledger.known();
    let first = known.iter().find(|known| known.id().index == SegmentIndex::FIRST);
    own_wal(parts, first.unwrap().id(), first.copied()).unwrap().unwrap()
}

#[test]
#[should_panic(expected = "what another node holds is copied here before")]
fn to_execute_what_rests_on_another_nodes_files_is_a_bug_of_the_caller() {
    execute_changed(|plan| plan.keep[0].from.holder = NodeId::new(9).unwrap());
}

#[test]
#[should_panic(expected = "the segment ends where it was decided")]
fn a_segment_that_does_not_end_where_it_was_decided_is_a_bug() {
    execute_changed(|plan| plan.keep[0].last = EntryNumber::new(2).unwrap());
}

#[test]
#[should_panic(expected = "the bytes of every WAL file are counted before it goes")]
fn to_remove_a_wal_file_that_was_never_counted_is_a_bug() {
    let filled = filled();
    let parts = KeepParts {
        counts: Arc::default(),
        ..filled.vault.inner.parts.clone()
    };
    let _ = remove_wal(&parts, &first_wal(&parts), None);
}

//! A vault whose segments of earlier epochs the leader of its cluster ends: it reports them, makes their files as they
//! were decided, and lets them go when they are on record as sealed.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gophership_vault::ids::{EntryNumber, SegmentId};
use gophership_vault::ledger::{KnownSegment, Ledger, SegmentStats};
use gophership_vault::{
    BlockSink, CompleteCopy, DataDir, HeldReport, RecoveryBy, SegmentEnd, SegmentHeader, SegmentState, ShardSeam,
    ShardWriter, StoredEntry, TailFrame, Tenant, Vault, VaultError, VaultOptions, segment_end,
};
use support::*;

fn led() -> VaultOptions {
    VaultOptions {
        recovery: RecoveryBy::Leader,
        ..options(1)
    }
}

fn number(n: u32) -> EntryNumber {
    EntryNumber::new(n).unwrap()
}

/// Has a replica wait for each frame, so that the cutter cuts at once, and counts them.
struct Waits(Arc<AtomicU64>);

impl BlockSink for Waits {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &SegmentHeader) {}

    fn frame(&mut self, _: TailFrame<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn complete(&mut self, _: SegmentId, _: Option<gophership_vault::ids::Lsn>, _: [u8; 32]) {}
}

/// Opens the vault with a cutter that writes each entry at once.
fn open_cutting(dir: &Path, ledger: &Arc<FaultyLedger>, frames: &Arc<AtomicU64>) -> (Vault, Vec<ShardWriter>) {
    let seam = ShardSeam {
        sink: Some(Box::new(Waits(Arc::clone(frames)))),
        ..ShardSeam::alone(Box::new(|| {}))
    };
    let data = DataDir::open(dir, true).unwrap();
    let shared = Arc::clone(ledger) as Arc<dyn Ledger>;
    Vault::open(data, &led(), ledger.next_epoch(), shared, vec![seam]).unwrap()
}

/// Appends these entries, and waits until they may be acknowledged.
fn store(writer: &mut ShardWriter, entries: std::ops::RangeInclusive<u64>) {
    for n in entries {
        let lsn = append(writer, n, &payload(n, 200));
        wait_acked(writer, lsn);
    }
}

fn all(entries: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    entries.map(|n| payload(n, 200)).collect()
}

/// The segments that are on record as open and that no live epoch writes.
fn left(ledger: &FaultyLedger, vault: &Vault) -> Vec<SegmentId> {
    let known = ledger.known().into_iter();
    let open = known.filter_map(|known| match known {
        KnownSegment::Open(open) => Some(open),
        _ => None,
    });
    open.filter(|open| open.epoch < vault.epoch())
        .map(|open| open.id)
        .collect()
}

fn header(id: SegmentId) -> SegmentHeader {
    SegmentHeader {
        id,
        epoch: gophership_vault::ids::Epoch::FIRST,
        file_uuid: gophership_vault::ids::FileUuid(uuid::Uuid::nil()),
        cluster_id: gophership_vault::ids::ClusterId(uuid::Uuid::nil()),
        created_ns: 1,
        tenants: vec![Tenant::default_tenant()],
    }
}

fn rebuild(vault: &Vault, id: SegmentId, number: u64, end: &SegmentEnd) -> Result<CompleteCopy, VaultError> {
    vault.rebuild_own(&header(id), number, end, &mut |_, _, _, _| panic!("nothing is fetched"))
}

/// What the leader does about a segment that only its owner has.
fn recover(ledger: &FaultyLedger, vault: &Vault, id: SegmentId) -> HeldReport {
    let number = ledger.begin_recovery(id);
    let report = vault.fence_own(id, number).unwrap();
    let end = segment_end(std::slice::from_ref(&report)).unwrap();
    if end.keep.is_empty() {
        ledger.seal_recovered(id, number, &nothing(), &[]);
    } else {
        let copy = rebuild(vault, id, number, &end).unwrap();
        ledger.seal_recovered(id, number, &copy, &[1]);
    }
    report
}

fn nothing() -> CompleteCopy {
    CompleteCopy {
        stats: SegmentStats::default(),
        digest: *blake3::hash(&[]).as_bytes(),
    }
}

fn wal_of(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!(
        "wal/{:010}/{:04}/{:012}.wal",
        id.node,
        id.shard.get(),
        id.index
    ))
}

fn state(vault: &Vault, id: SegmentId) -> Option<SegmentState> {
    vault
        .segments()
        .into_iter()
        .find(|(of, _)| *of == id)
        .map(|(_, state)| state)
}

/// A vault that was started again, with five entries of the boot before in its first segment, and the left segments.
fn left_by_a_boot(dir: &Path, ledger: &Arc<FaultyLedger>) -> (Vault, Vec<ShardWriter>, Vec<SegmentId>) {
    let (vault, mut writers) = open(dir, ledger, &led());
    store(&mut writers[0], 1..=5);
    wait("the spares", || vault.own_segments().len() == 3);
    vault.close(writers);
    let (vault, writers) = open(dir, ledger, &led());
    let left = left(ledger, &vault);
    assert!(left.len() > 1, "the spares too: {left:?}");
    (vault, writers, left)
}

/// The report of the first five entries, and the end of the segment after the first three of them.
fn three_of_five(vault: &Vault, id: SegmentId, number_of: u64) -> SegmentEnd {
    let report = vault.fence_own(id, number_of).unwrap();
    let mut end = segment_end(std::slice::from_ref(&report)).unwrap();
    assert_eq!((end.keep.len(), end.keep[0].last), (1, number(5)));
    end.keep[0].last = number(3);
    end.keep[0].crc = report.entries.crc(number(1), number(3)).unwrap();
    end
}

#[test]
fn what_a_boot_left_waits_for_the_leader_while_entries_are_taken() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
    let (vault, mut writers, left) = left_by_a_boot(dir.path(), &ledger);
    store(&mut writers[0], 6..=7);
    let files: Vec<PathBuf> = left.iter().map(|id| wal_of(dir.path(), *id)).collect();
    for id in &left {
        assert_eq!(state(&vault, *id), Some(SegmentState::Recovering));
    }
    assert_eq!(vault.status().recovering_segments, left.len() as u64);
    // Newest first: marks of the later files are still there for the oldest.
    left[1..]
        .iter()
        .rev()
        .for_each(|id| drop(recover(&ledger, &vault, *id)));
    wait("the empty ones to be trimmed", || {
        left[1..].iter().all(|id| state(&vault, *id).is_none())
    });
    // It looks again and again meanwhile.
    let before = ledger.reads();
    wait("further looks", || ledger.reads() > before + left.len() as u64);
    assert!(
        files.iter().all(|file| file.exists()),
        "an older one may need its marks"
    );
    assert_eq!(state(&vault, left[0]), Some(SegmentState::Recovering));
    recover(&ledger, &vault, left[0]);
    wait_recovered(&vault);
    wait("the files to go", || files.iter().all(|file| !file.exists()));
    assert_eq!(payloads(&vault, 0), all(1..=7));
    vault.close(writers);
}

#[test]
fn a_lower_recovery_is_refused_and_changes_no_file() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
    let (vault, writers, left) = left_by_a_boot(dir.path(), &ledger);
    let id = left[0];
    let end = three_of_five(&vault, id, 4);
    let stale = |result: Result<(), VaultError>| {
        assert!(
            matches!(result, Err(VaultError::StaleRecovery { promised: 4, .. })),
            "{result:?}"
        );
    };
    stale(vault.fence_own(id, 3).map(drop));
    stale(rebuild(&vault, id, 3, &end).map(drop));
    assert!(!vault.segment_file(id).exists());
    rebuild(&vault, id, 4, &end).unwrap();
    assert!(vault.segment_file(id).exists() && wal_of(dir.path(), id).exists());
    // The promise outlives the process.
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &led());
    stale(vault.fence_own(id, 3).map(drop));
    // An entry that is not as it was reported is no part of a copy.
    let mut odd = three_of_five(&vault, id, 5);
    odd.keep[0].crc ^= 1;
    assert!(matches!(
        rebuild(&vault, id, 5, &odd),
        Err(VaultError::Unreadable { .. })
    ));
    vault.close(writers);
}

#[test]
fn a_segment_that_was_sealed_elsewhere_is_cut_from_the_own_file_up_to_its_end() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
    let (vault, writers, left) = left_by_a_boot(dir.path(), &ledger);
    let number = ledger.begin_recovery(left[0]);
    let copy = rebuild(&vault, left[0], number, &three_of_five(&vault, left[0], number)).unwrap();
    fs::remove_file(vault.segment_file(left[0])).unwrap();
    ledger.seal_recovered(left[0], number, &copy, &[2, 3]);
    for id in &left[1..] {
        recover(&ledger, &vault, *id);
    }
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0), all(1..=3));
    assert_eq!(vault.status().unacknowledged_since_start, 2);
    let Some(KnownSegment::Sealed(record)) = ledger.records_of(left[0].index) else {
        panic!("it is sealed")
    };
    assert!(
        record.holders.contains(left[0].node),
        "it is on record as a holder: {record:?}"
    );
    wait("the file to go", || !wal_of(dir.path(), left[0]).exists());
    vault.close(writers);
}

#[test]
fn a_file_with_another_content_than_was_sealed_does_not_count() {
    for (holders, wal_stays) in [(&[2, 3][..], false), (&[1, 2], true)] {
        let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
        let (vault, writers, left) = left_by_a_boot(dir.path(), &ledger);
        let number = ledger.begin_recovery(left[0]);
        let copy = rebuild(&vault, left[0], number, &three_of_five(&vault, left[0], number)).unwrap();
        let digest = [9; 32];
        ledger.seal_recovered(left[0], number, &CompleteCopy { digest, ..copy }, holders);
        for id in &left[1..] {
            recover(&ledger, &vault, *id);
        }
        wait("the segment to be shown", || {
            matches!(state(&vault, left[0]), Some(SegmentState::Unreadable(_)))
        });
        wait_recovered(&vault);
        assert!(
            !vault.segment_file(left[0]).exists(),
            "nobody reads it as what was sealed"
        );
        assert_eq!(vault.quarantined().len(), 1);
        wait("the empty ones", || {
            left[1..].iter().all(|id| !wal_of(dir.path(), *id).exists())
        });
        assert_eq!(wal_of(dir.path(), left[0]).exists(), wal_stays);
        vault.close(writers);
    }
}

#[test]
fn a_sealed_file_that_rots_is_made_anew_from_the_wal_file_while_that_is_there() {
    for wal_is_there in [true, false] {
        let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
        let (vault, writers, left) = left_by_a_boot(dir.path(), &ledger);
        let number_of = ledger.begin_recovery(left[0]);
        let report = vault.fence_own(left[0], number_of).unwrap();
        let end = segment_end(std::slice::from_ref(&report)).unwrap();
        let copy = rebuild(&vault, left[0], number_of, &end).unwrap();
        let (file, wal) = (vault.segment_file(left[0]), wal_of(dir.path(), left[0]));
        vault.close(writers);
        ledger.seal_recovered(left[0], number_of, &copy, &[1]);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
        if !wal_is_there {
            let bytes = fs::read(&wal).unwrap();
            fs::write(&wal, vec![0; bytes.len()]).unwrap();
        }
        let (vault, writers) = open(dir.path(), &ledger, &led());
        wait("the segment to be settled", || {
            matches!(state(&vault, left[0]), Some(SegmentState::Sealed(_)))
        });
        assert_eq!(
            vault.verify(left[0], &mut |_, _| {}).unwrap().ok,
            wal_is_there,
            "the file is made anew where it can be, and is served as it is where not"
        );
        vault.close(writers);
    }
}

#[test]
fn i1_a_recovery_that_reaches_a_live_writer_ends_its_epoch_and_reports_all_that_was_acknowledged() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
    let (vault, mut writers) = open(dir.path(), &ledger, &led());
    store(&mut writers[0], 1..=3);
    let (id, before) = (vault.own_segments()[0].0, vault.epoch());
    let number = ledger.begin_recovery(id);
    let acked = writers[0].watermark().acked();
    let report = vault.fence_own(id, number).unwrap();
    assert_eq!(report.last(), acked.map(|lsn| lsn.number()));
    assert_eq!(writers[0].watermark().fenced(), Some(before));
    wait("a new epoch", || {
        writers[0].must_renew();
        vault.epoch() > before && writers[0].watermark().fenced().is_none()
    });
    store(&mut writers[0], 4..=5);
    let left = left(&ledger, &vault);
    assert!(left.contains(&id));
    left.iter().for_each(|id| drop(recover(&ledger, &vault, *id)));
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0), all(1..=5));
    // Its WAL file may go while it is looked for.
    wait("a report of a sealed one", || {
        vault
            .fence_own(id, number + 9)
            .is_ok_and(|report| report.last().is_some())
    });
    vault.close(writers);
}

#[test]
fn a_sealer_that_a_recovery_has_overtaken_takes_a_new_epoch_instead_of_asking_for_ever() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::<FaultyLedger>::default());
    let (vault, mut writers) = open(dir.path(), &ledger, &led());
    store(&mut writers[0], 1..=3);
    let (id, before) = (vault.own_segments()[0].0, vault.epoch());
    ledger.seal_only(Some(0));
    vault.seal_open(None);
    wait("the roll", || {
        writers[0].must_tick();
        vault.status().shards[0].segment > id.index
    });
    wait("the cut", || vault.segment_file(id).exists());
    // A leader that did not reach this node ended the segment without it.
    let number = ledger.begin_recovery(id);
    let copy = CompleteCopy {
        stats: SegmentStats {
            entries: 2,
            ..SegmentStats::default()
        },
        digest: [7; 32],
    };
    ledger.seal_recovered(id, number, &copy, &[2, 3]);
    ledger.seal_only(None);
    wait("a new epoch", || {
        writers[0].must_renew();
        vault.epoch() > before && writers[0].watermark().fenced().is_none()
    });
    wait("the other content to be seen", || {
        matches!(state(&vault, id), Some(SegmentState::Unreadable(_)))
    });
    assert!(!vault.segment_file(id).exists());
    store(&mut writers[0], 4..=4);
    vault.close(writers);
}

#[test]
fn a_file_that_never_went_on_record_goes_after_a_renewal_and_stops_no_reader() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::<FaultyLedger>::default());
    let (vault, mut writers) = open(dir.path(), &ledger, &led());
    store(&mut writers[0], 1..=3);
    wait("the spares", || vault.own_segments().len() == 3);
    let (id, before) = (vault.own_segments()[0].0, vault.epoch());
    // A seal is pending, and the file that is to go on record with it is made.
    ledger.be(Mood::Refusing);
    vault.seal_open(None);
    let spare = SegmentId {
        index: gophership_vault::ids::SegmentIndex::new(4).unwrap(),
        ..id
    };
    wait("a file that is on no record", || {
        writers[0].must_tick();
        wal_of(dir.path(), spare).exists()
    });
    assert_eq!(ledger.records_of(spare.index), None);
    let number = ledger.begin_recovery(id);
    ledger.be(Mood::Willing);
    wait("a new epoch", || {
        writers[0].must_renew();
        vault.epoch() > before && writers[0].watermark().fenced().is_none()
    });
    assert_eq!(ledger.records_of(spare.index), None);
    let report = vault.fence_own(id, number).unwrap();
    let end = segment_end(std::slice::from_ref(&report)).unwrap();
    let copy = rebuild(&vault, id, number, &end).unwrap();
    ledger.seal_recovered(id, number, &copy, &[1]);
    for other in left(&ledger, &vault) {
        recover(&ledger, &vault, other);
    }
    store(&mut writers[0], 4..=5);
    wait_recovered(&vault);
    assert_eq!(state(&vault, spare), None, "it never took an entry");
    wait("the file to go", || !wal_of(dir.path(), spare).exists());
    assert_eq!(payloads(&vault, 0), all(1..=5));
    vault.close(writers);
}

#[test]
fn an_entry_that_the_file_has_lost_is_reported_and_given_from_what_was_cut_from_it() {
    let (dir, ledger) = (tempfile::tempdir().unwrap(), Arc::default());
    let frames = Arc::default();
    let (vault, mut writers) = open_cutting(dir.path(), &ledger, &frames);
    let id = vault.own_segments()[0].0;
    for n in 1..=5 {
        store(&mut writers[0], n..=n);
        wait("the frame", || {
            vault.wake_cutter(id);
            frames.load(Ordering::Relaxed) == n
        });
    }
    vault.close(writers);
    // The second entry rots in the WAL file.
    let path = wal_of(dir.path(), id);
    let mut bytes = fs::read(&path).unwrap();
    let second = payload(2, 200);
    let at = bytes.windows(200).position(|at| at == second).unwrap();
    bytes[at + 100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &led());
    let number_of = ledger.begin_recovery(id);
    let report = vault.fence_own(id, number_of).unwrap();
    assert!(report.entries.has_all(number(1), number(5)), "{report:?}");
    for (first, last) in [(1, 5), (2, 2), (2, 4), (3, 5)] {
        let mut found: Vec<StoredEntry> = Vec::new();
        let mut take = |entry| {
            found.push(entry);
            Ok(())
        };
        vault.own_entries(id, number(first), number(last), &mut take).unwrap();
        let found: Vec<Vec<u8>> = found.into_iter().map(|entry| entry.payload).collect();
        assert_eq!(found, all(u64::from(first)..=u64::from(last)));
    }
    let beyond = vault.own_entries(id, number(4), number(6), &mut |_| Ok(()));
    assert!(matches!(beyond, Err(VaultError::Unreadable { .. })), "{beyond:?}");
    let end = segment_end(std::slice::from_ref(&report)).unwrap();
    let copy = rebuild(&vault, id, number_of, &end).unwrap();
    ledger.seal_recovered(id, number_of, &copy, &[1]);
    left(&ledger, &vault)
        .iter()
        .for_each(|id| drop(recover(&ledger, &vault, *id)));
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0), all(1..=5));
    wait("the file to go", || !path.exists());
    assert_eq!(vault.quarantined().len(), 1, "the rotten bytes are kept");
    vault.close(writers);
}

//! Operations that fail at a chosen place, and the vault's reaction. Needs the feature `failpoints`.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests
#![cfg(feature = "failpoints")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use gophership_vault::ids::{Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::Ledger;
use gophership_vault::time::TimeRange;
use gophership_vault::{
    AppendError, BlockSink, CopyStore, DataDir, SegmentHeader, SegmentState, ShardCursor, ShardSeam, TailFrame,
    TakeEntry, Vault, VaultError,
};
use support::*;

const SHARD: ShardId = ShardId::new(0);

/// Makes this the only test with failpoints, which belong to the process, and removes them at its end.
fn alone() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

#[test]
fn a_failed_sync_is_never_tried_again_and_nothing_more_is_acknowledged() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let good = append(&mut writers[0], 1, b"good");
    wait_acked(&writers[0], good);
    fail::cfg("wal.sync", "1*return->off").unwrap();
    append(&mut writers[0], 2, b"in doubt");
    let mark = writers[0].watermark();
    wait("the failure", || mark.failed());
    // The next sync would succeed, and its success would be false.
    assert_eq!(
        writers[0].must_append(&meta(3), 1, std::iter::once(&b"x"[..])),
        Err(AppendError::Failed)
    );
    assert_eq!(mark.acked(), Some(good));
    assert!(vault.failure().unwrap().contains("injected"));
    assert_eq!(
        payloads(&vault, 0),
        [b"good".to_vec()],
        "what is acknowledged can still be read"
    );
    vault.close(writers);
    assert_eq!(mark.acked(), Some(good));
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0)[0], b"good");
    vault.close(writers);
}

/// A block sink that keeps every block, in order.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Sent>>>);

/// Segment, block number, bytes.
type Sent = (SegmentId, u32, Vec<u8>);

impl BlockSink for Kept {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &SegmentHeader) {}
    fn frame(&mut self, b: TailFrame<'_>) {
        self.0.lock().unwrap().push((b.id, b.frame_no, b.bytes.to_vec()));
    }
    fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
}

#[test]
fn a_block_that_is_sent_again_after_a_failed_write_is_the_same() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let sink = Kept::default();
    let seam = ShardSeam {
        sink: Some(Box::new(sink.clone())),
        ..ShardSeam::alone(Box::new(|| {}))
    };
    let data = DataDir::open(dir.path(), true).unwrap();
    let (vault, mut writers) = Vault::open(
        data,
        &options(1),
        ledger.next_epoch(),
        Arc::clone(&ledger) as Arc<dyn Ledger>,
        vec![seam],
    )
    .unwrap();
    let sent = || sink.0.lock().unwrap().len();
    let mut n = 0;
    for round in 0..4 {
        // Blocks of one entry and of several are written, then a write fails and makes the cutter begin again.
        for group in [1, 4, 2] {
            let before = sent();
            for _ in 0..group {
                n += 1;
                append(&mut writers[0], n, &payload(n, 200));
            }
            wait("a block", || sent() > before);
        }
        let before = sent();
        fail::cfg("segment.write", "1*return->off").unwrap();
        n += 1;
        append(&mut writers[0], n, &payload(n, 200));
        wait("the blocks, again", || sent() > before + 2 * round);
    }
    let last = append(&mut writers[0], 0, b"last");
    wait_acked(&writers[0], last);
    vault.close(writers);
    let mut first: BTreeMap<(SegmentId, u32), Vec<u8>> = BTreeMap::new();
    let mut again = 0;
    for (id, frame_no, bytes) in sink.0.lock().unwrap().iter() {
        match first.get(&(*id, *frame_no)) {
            Some(before) => {
                assert!(
                    before == bytes,
                    "block {frame_no} was another one when it was sent again"
                );
                again += 1;
            }
            None => drop(first.insert((*id, *frame_no), bytes.clone())),
        }
    }
    assert!(again >= 9, "the writes failed, so blocks were sent again: {again}");
}

#[test]
fn a_bad_sector_in_an_old_wal_file_costs_what_is_in_it() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut last = None;
    for n in 1..=20u64 {
        last = Some(append(&mut writers[0], n, &payload(n, 960)));
        wait_acked(&writers[0], last.unwrap());
    }
    writers[0].must_tick();
    writers[0].must_tick();
    drop((vault, writers));
    // Entries of 1024 bytes: the third page holds entries 5 to 8.
    fail::cfg("file.read", "return(wal/0000000001/0000/000000000001.wal@8192-12288)").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    let (entries, faults) = read(&vault, 0);
    let there: Vec<u32> = entries.iter().map(|e| e.lsn.number().get()).collect();
    assert_eq!(there, (1..=20).filter(|n| !(5..=8).contains(n)).collect::<Vec<u32>>());
    assert!(
        entries
            .iter()
            .all(|e| e.payload == payload(u64::from(e.lsn.number().get()), 960))
    );
    let reported: Vec<_> = faults
        .iter()
        .map(|f| f.numbers.map(|(a, b)| (a.get(), b.get())))
        .collect();
    assert_eq!(reported, [Some((5, 8))]);
    // Both the bytes and the whole file are kept: the disk may be able to read more of it at another time.
    let kept: Vec<_> = vault.quarantined().iter().map(|q| (q.offset, q.length)).collect();
    assert_eq!(kept, [(0, 64 * 1024), (8192, 4096)]);
    let file = dir.path().join("quarantine/file-1-0-1.bin");
    assert_eq!(std::fs::metadata(file).unwrap().len(), 64 * 1024);
    assert!(!dir.path().join("wal/0000000001/0000/000000000001.wal").exists());
    vault.close(writers);
    let _ = last;
}

#[test]
fn a_bad_sector_where_an_old_wal_file_ends_is_a_loss_and_not_an_end() {
    // Entries of 1024 bytes: the sixth page holds entries 17 to 20, and no later one names any of them.
    for (bad, there) in [("20480-24576", 16), ("0-65536", 0)] {
        let _scenario = alone();
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::default();
        let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
        for n in 1..=20u64 {
            let lsn = append(&mut writers[0], n, &payload(n, 960));
            wait_acked(&writers[0], lsn);
        }
        drop((vault, writers));
        // A copy of them, if the cutter made one, is removed too.
        let _ = std::fs::remove_dir_all(dir.path().join("segments/0000000001"));
        fail::cfg(
            "file.read",
            &format!("return(wal/0000000001/0000/000000000001.wal@{bad})"),
        )
        .unwrap();
        let (vault, writers) = open(dir.path(), &ledger, &options(1));
        let (entries, faults) = read(&vault, 0);
        assert_eq!(entries.len(), there);
        let numbers: Vec<_> = faults
            .iter()
            .filter_map(|f| f.numbers)
            .map(|(a, b)| (a.get(), b.get()))
            .collect();
        let next = there as u32 + 1;
        assert_eq!(numbers, [(next, next)], "that there was no more cannot be known");
        assert!(!vault.quarantined().is_empty());
        vault.close(writers);
    }
}

#[test]
fn a_bad_sector_behind_the_end_of_an_old_wal_file_costs_nothing() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 1..=5u64 {
        let lsn = append(&mut writers[0], n, &payload(n, 960));
        wait_acked(&writers[0], lsn);
    }
    drop((vault, writers));
    fail::cfg("file.read", "return(wal/0000000001/0000/000000000001.wal@20480-24576)").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0).len(), 5);
    assert_eq!(vault.quarantined(), []);
    vault.close(writers);
}

/// Bytes that do not compress, `parts` times 32.
fn noise(n: u64, parts: u64) -> Vec<u8> {
    (0..parts)
        .flat_map(|i| *blake3::hash(&(n * parts + i).to_le_bytes()).as_bytes())
        .collect()
}

#[test]
fn a_bad_sector_in_a_segment_costs_its_block() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let options = gophership_vault::VaultOptions {
        segment_size: 4 << 20,
        ..options(1)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut last = None;
    for n in 1..=200u64 {
        last = Some(append(&mut writers[0], n, &noise(n, 256)));
    }
    wait_acked(&writers[0], last.unwrap());
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options);
    wait_recovered(&vault);
    let record = sealed(&vault)[0];
    let blocks = vault.describe(record.id).unwrap().blocks;
    assert!(blocks.len() >= 5);
    let at = (blocks[2].offset + blocks[2].stored_bytes / 2) / 4096 * 4096;
    fail::cfg("file.read", &format!("return(000000000001.seg@{at}-{})", at + 4096)).unwrap();
    let (entries, faults) = read(&vault, 0);
    assert_eq!(entries.len(), 200 - blocks[2].entries as usize);
    assert_eq!(
        faults.iter().map(|f| f.numbers).collect::<Vec<_>>(),
        [Some((blocks[2].first, blocks[2].last))]
    );
    let report = vault.verify(record.id, &mut |_, _| {}).unwrap();
    assert_eq!(
        (report.ok, report.faults.len(), report.faults[0].offset),
        (false, 1, blocks[2].offset)
    );
    assert!(
        report.faults[0].what.contains("the disk cannot read it"),
        "{:?}",
        report.faults
    );
    // The readable part of the block is kept.
    let kept = std::fs::read_dir(dir.path().join("quarantine"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().unwrap() == "bin");
    assert_eq!(std::fs::metadata(kept.unwrap()).unwrap().len(), blocks[2].stored_bytes);
    vault.close(writers);
}

/// Everything that a follower returns now.
fn drain(vault: &Vault, follower: &mut ShardCursor) -> Vec<Lsn> {
    follower.extend(vault.readable(SHARD));
    follower.map_while(Result::ok).map(|entry| entry.lsn).collect()
}

/// A vault with 20 entries in one sealed segment.
fn with_a_sealed_segment(dir: &std::path::Path) -> (Vault, Vec<gophership_vault::ShardWriter>) {
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir, &ledger, &options(1));
    for n in 1..=20u64 {
        let lsn = append(&mut writers[0], n, &noise(n, 30));
        wait_acked(&writers[0], lsn);
    }
    vault.close(writers);
    let (vault, writers) = open(dir, &ledger, &options(1));
    wait_recovered(&vault);
    (vault, writers)
}

#[test]
fn a_follower_waits_for_a_bad_sector_in_a_segment_and_goes_on_once_the_disk_gives_it() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = with_a_sealed_segment(dir.path());
    let mut follower = vault.follower(SHARD, None);
    for range in ["0-4096", "4096-8192"] {
        fail::cfg("file.read", &format!("return(000000000001.seg@{range})")).unwrap();
        assert_eq!(drain(&vault, &mut follower), [], "{range}");
        let waits = follower.waits().map(str::to_owned);
        assert!(
            waits.as_ref().is_some_and(|why| why.contains("the disk cannot read")),
            "{range}: {waits:?}"
        );
    }
    fail::remove("file.read");
    assert_eq!(drain(&vault, &mut follower).len(), 20);
    assert_eq!(follower.waits(), None);
    vault.close(writers);
}

#[test]
fn an_operator_gives_up_pages_that_stay_bad_and_nothing_else_of_their_segment() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = with_a_sealed_segment(dir.path());
    let id = sealed(&vault)[0].id;
    assert!(vault.accept_loss(id).is_err(), "it can be read");
    fail::cfg("file.read", "return(000000000001.seg@4096-8192)").unwrap();
    let mut follower = vault.follower(SHARD, None);
    assert_eq!(drain(&vault, &mut follower), []);
    vault.accept_loss(id).unwrap();
    let found: Vec<_> = follower.by_ref().collect();
    let faults: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
    assert!(faults.len() == 1 && faults[0].numbers.is_some(), "{faults:?}");
    assert!(
        matches!(vault.segments()[0].1, SegmentState::Sealed(_)),
        "what can be read of it stays"
    );
    vault.close(writers);
}

#[test]
fn a_follower_passes_damage_only_when_it_is_in_quarantine() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = with_a_sealed_segment(dir.path());
    let record = sealed(&vault)[0];
    let block = vault.describe(record.id).unwrap().blocks[0];
    let path = dir.path().join("segments/0000000001/0000/000000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(block.offset + block.stored_bytes / 2) as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    fail::cfg("file.rename", "return").unwrap();
    let mut follower = vault.follower(SHARD, None);
    follower.extend(vault.readable(SHARD));
    for _ in 0..3 {
        assert_eq!(follower.next(), None);
        assert!(
            follower
                .waits()
                .is_some_and(|why| why.contains("cannot be put on record")),
            "{:?}",
            follower.waits()
        );
    }
    fail::remove("file.rename");
    let fault = follower.next().unwrap().unwrap_err();
    assert_eq!(fault.numbers, Some((block.first, block.last)));
    assert_eq!(vault.status().quarantined, 1);
    vault.close(writers);
}

#[test]
fn a_follower_that_is_done_with_a_segment_does_not_wait_for_its_bad_sectors() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    append(&mut writers[0], 1, b"sealed");
    vault.close(writers);
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    let newest = append(&mut writers[0], 2, b"behind it");
    wait_acked(&writers[0], newest);
    let last = sealed(&vault)[0].stats.last_lsn.unwrap();
    fail::cfg("file.read", "return(000000000001.seg@0-4096)").unwrap();
    let behind = Lsn::at(last.index(), last.number().checked_next().unwrap());
    let mut follower = vault.follower(ShardId::new(0), Some(behind));
    let found = follower.by_ref().filter_map(Result::ok).map(|entry| entry.lsn);
    assert_eq!(found.collect::<Vec<_>>(), [newest], "{:?}", follower.waits());
    let mut needs_it = vault.follower(ShardId::new(0), Some(last));
    assert!(needs_it.next().is_none() && needs_it.waits().is_some());
    vault.close(writers);
}

/// Flips a bit of `payload` in a file.
fn flip_in(path: &std::path::Path, payload: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(payload.len()).position(|w| w == payload).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_follower_that_waits_for_a_bad_sector_is_told_once_what_is_missing_before_it() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let noise = |n: u64| -> Vec<u8> {
        (0..30)
            .flat_map(|i| *blake3::hash(&(n * 30 + i).to_le_bytes()).as_bytes())
            .collect()
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 1..=20u64 {
        let lsn = append(&mut writers[0], n, &noise(n));
        wait_acked(&writers[0], lsn);
    }
    vault.close(writers);
    flip_in(&dir.path().join("wal/0000000001/0000/000000000001.wal"), &noise(2));
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    let block = vault.describe(sealed(&vault)[0].id).unwrap().blocks[0];
    let at = block.offset / 4096 * 4096;
    let sector = format!("return(000000000001.seg@{}-{})", at + 4096, at + 8192);
    fail::cfg("file.read", &sector).unwrap();
    let mut follower = vault.follower(ShardId::new(0), None);
    let told = (0..10).filter(|_| matches!(follower.next(), Some(Err(_))));
    assert_eq!(told.count(), 1);
    assert!(follower.waits().is_some());
    vault.close(writers);
}

#[test]
fn a_wal_file_that_was_about_to_be_used_again_hides_no_sealed_segment_while_an_older_one_is_to_do() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let wal = |index: u32| dir.path().join(format!("wal/0000000001/0000/{index:012}.wal"));
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    append(&mut writers[0], 1, b"to be recovered");
    vault.close(writers);
    let of_another = std::fs::read(wal(1)).unwrap();
    // The second boot cannot recover it, and seals a segment of its own.
    fail::cfg("file.open", "return(000000000001.wal)").unwrap();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 2..=101u64 {
        append(&mut writers[0], n, &payload(n, 1000));
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    wait("a seal", || !sealed(&vault).is_empty());
    let index = sealed(&vault)[0].id.index.get();
    vault.close(writers);
    fail::remove("file.open");
    // The state after a crash between the new header and the rename.
    std::fs::write(wal(index), of_another).unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0).len(), 101);
    assert!(!wal(index).exists());
    vault.close(writers);
}

#[test]
fn a_bad_sector_in_the_wal_file_in_use_costs_what_is_in_it() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 1..=20u64 {
        let lsn = append(&mut writers[0], n, &payload(n, 960));
        wait_acked(&writers[0], lsn);
    }
    fail::cfg("file.read", "return(wal/0000000001/0000/000000000001.wal@8192-12288)").unwrap();
    let (entries, faults) = read(&vault, 0);
    assert_eq!(entries.len(), 16);
    assert_eq!(
        faults
            .iter()
            .map(|f| f.numbers.map(|(a, b)| (a.get(), b.get())))
            .collect::<Vec<_>>(),
        [Some((5, 8))]
    );
    fail::remove("file.read");
    assert_eq!(payloads(&vault, 0).len(), 20);
    vault.close(writers);
}

#[test]
fn a_seal_whose_rename_failed_is_done_again() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut kept = Vec::new();
    fail::cfg("file.rename", "25%return").unwrap();
    for n in 0..300u64 {
        append(&mut writers[0], n, &payload(n, 1000));
        kept.push(payload(n, 1000));
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    wait("sealing", || sealed(&vault).len() >= 3);
    fail::remove("file.rename");
    assert_eq!(payloads(&vault, 0), kept);
    vault.close(writers);
}

#[test]
fn a_folder_sync_that_failed_is_final_and_what_was_acknowledged_is_there_after_a_restart() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fail::cfg("dir.sync", "return").unwrap();
    let mut n = 0;
    wait("the shard to fail", || {
        let payload = payload(n, 1000);
        let taken = writers[0].must_append(&meta(n), payload.len(), std::iter::once(&payload[..]));
        n += u64::from(taken.is_ok());
        vault.failure().is_some()
    });
    assert!(
        vault.failure().unwrap().contains("cannot sync the folder"),
        "{:?}",
        vault.failure()
    );
    fail::remove("dir.sync");
    let acked = writers[0].watermark().acked();
    drop((vault, writers));
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    let (entries, faults) = read(&vault, 0);
    assert_eq!(faults, []);
    assert!(entries.last().map(|e| e.lsn) >= acked, "{acked:?}");
    vault.close(writers);
}

#[test]
fn a_segment_that_cannot_be_written_stops_appends_before_the_channels_are_full_and_loses_nothing() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fail::cfg("segment.write", "return").unwrap();
    // More files than the cutter's channel holds.
    let big = vec![1u8; 50_000];
    let mut taken = 0u64;
    let mut refused = 0;
    let began = std::time::Instant::now();
    // On a slow disk the next file may come late, too.
    while taken <= 50 || refused < 500 {
        assert!(began.elapsed() < std::time::Duration::from_secs(120), "{taken}");
        match writers[0].must_append(&meta(taken), big.len(), std::iter::once(&big[..])) {
            Ok(_) => (taken, refused) = (taken + 1, 0),
            Err(AppendError::NoSpare) => {
                refused += 1;
                thread::sleep(std::time::Duration::from_millis(2));
            }
            Err(other) => panic!("{other}"),
        }
        assert!(taken < 80, "files pile up without a bound");
    }
    fail::remove("segment.write");
    let last = append(&mut writers[0], 0, &big);
    wait_acked(&writers[0], last);
    assert_eq!(payloads(&vault, 0).len() as u64, taken + 1);
    vault.close(writers);
}

#[test]
fn a_reader_that_nobody_waits_for_any_more_waits_for_no_recovery() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = crashed(dir.path());
    // The recovery stops here.
    fail::cfg("segment.write", "pause").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert!(vault.is_recovering(SHARD));
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = Arc::clone(&gone);
    let cursor = vault.cursor(SHARD, None, TimeRange::ALL);
    let cursor = cursor.stop_when(move || told.load(std::sync::atomic::Ordering::Relaxed));
    let reader = thread::spawn(move || cursor.count());
    gone.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(reader.join().unwrap(), 0);
    fail::remove("segment.write");
    vault.close(writers);
}

#[test]
fn closing_does_not_wait_for_a_recovery_that_cannot_go_on_nor_do_its_readers() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 1, b"kept");
    wait_acked(&writers[0], lsn);
    vault.close(writers);
    let recover_with = |mood| {
        let (vault, writers) = open(dir.path(), &ledger, &options(1));
        ledger.be(mood);
        (vault, writers)
    };
    // The cutter is held up until the ledger has stopped answering.
    fail::cfg("segment.write", "pause").unwrap();
    let (vault, writers) = recover_with(Mood::Refusing);
    fail::remove("segment.write");
    let reader = {
        let vault = vault.clone();
        thread::spawn(move || vault.cursor(ShardId::new(0), None, TimeRange::ALL).collect::<Vec<_>>())
    };
    assert!(vault.status().recovering_segments >= 1);
    vault.close(writers);
    let seen = reader.join().unwrap();
    assert!(seen.iter().all(Result::is_err), "{seen:?}");
    ledger.be(Mood::Willing);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0), [b"kept".to_vec()]);
    vault.close(writers);
}

#[test]
fn a_copy_whose_sync_failed_answers_nothing_until_it_is_opened_again() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    #[derive(Clone, Default)]
    struct First(Arc<Mutex<Option<SegmentHeader>>>, Kept);
    impl BlockSink for First {
        fn wants_frame(&self) -> bool {
            true
        }

        fn begin(&mut self, header: &SegmentHeader) {
            self.0.lock().unwrap().get_or_insert_with(|| header.clone());
        }
        fn frame(&mut self, b: TailFrame<'_>) {
            self.1.frame(b);
        }
        fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
    }
    let sink = First::default();
    let seam = ShardSeam {
        sink: Some(Box::new(sink.clone())),
        ..ShardSeam::alone(Box::new(|| {}))
    };
    let data = DataDir::open(dir.path(), true).unwrap();
    let epoch = ledger.next_epoch();
    let (vault, mut writers) = Vault::open(data, &options(1), epoch, ledger as Arc<dyn Ledger>, vec![seam]).unwrap();
    let last_lsn = append(&mut writers[0], 1, b"an entry");
    wait("a block", || !sink.1.0.lock().unwrap().is_empty());
    vault.close(writers);
    let header = sink.0.lock().unwrap().clone().unwrap();
    let (id, frame_no, bytes) = sink.1.0.lock().unwrap()[0].clone();
    let block = TailFrame {
        id,
        epoch,
        frame_no,
        bytes: &bytes,
        crc: crc32fast::hash(&bytes),
        last_lsn,
    };
    let copy_dir = tempfile::tempdir().unwrap();
    let second = FaultyLedger::of_node(NodeId::new(2).unwrap(), &[]);
    let (peer, peer_writers) = open_node(2, copy_dir.path(), &second);
    let mut copy = peer.copies().open(header.clone()).unwrap();
    copy.append(block).unwrap();
    assert_eq!(copy.last_ack(), None, "it is written, and not synced");
    fail::cfg("file.sync", "1*return->off").unwrap();
    assert!(matches!(copy.sync(), Err(VaultError::Io { .. })));
    assert_eq!(copy.last_ack(), None, "it is not known to be synced");
    assert!(matches!(copy.append(block), Err(VaultError::FrameRefused { .. })));
    assert_eq!(copy.sync().unwrap(), None, "a failed sync is not tried again");
    drop(copy);
    let mut copy = peer.copies().open(header).unwrap();
    copy.append(block).unwrap();
    assert_eq!(copy.sync().unwrap().unwrap().last_lsn, last_lsn);
    drop(copy);
    peer.close(peer_writers);
}

#[test]
fn a_recovery_that_fails_shows_the_segment_and_the_next_start_reads_it() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 1, b"kept");
    wait_acked(&writers[0], lsn);
    vault.close(writers);
    fail::cfg("segment.write", "return").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    assert!(
        matches!(&vault.segments()[0].1, SegmentState::Unreadable(why) if why.contains("injected")),
        "{:?}",
        vault.segments()
    );
    let (entries, faults) = read(&vault, 0);
    assert_eq!((entries.len(), faults.len()), (0, 1));
    vault.close(writers);
    fail::remove("segment.write");
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0), [b"kept".to_vec()]);
    vault.close(writers);
}

/// A vault as a crash left it, with 20 entries in its WAL file, and in the segment file that was being cut from it.
fn crashed(dir: &std::path::Path) -> (Arc<FaultyLedger>, Vec<Vec<u8>>) {
    let ledger: Arc<FaultyLedger> = Arc::default();
    let seam = ShardSeam {
        sink: Some(Box::new(Kept::default())),
        ..ShardSeam::alone(Box::new(|| {}))
    };
    let data = DataDir::open(dir, true).unwrap();
    let epoch = ledger.next_epoch();
    let (vault, mut writers) = Vault::open(
        data,
        &options(1),
        epoch,
        Arc::clone(&ledger) as Arc<dyn Ledger>,
        vec![seam],
    )
    .unwrap();
    let all: Vec<Vec<u8>> = (1..=20).map(|n| noise(n, 30)).collect();
    for (n, payload) in all.iter().enumerate() {
        let lsn = append(&mut writers[0], n as u64, payload);
        wait_acked(&writers[0], lsn);
    }
    drop((vault, writers));
    (ledger.copy(), all)
}

#[test]
fn a_file_that_reads_otherwise_the_second_time_is_read_again() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (ledger, all) = crashed(dir.path());
    std::fs::remove_dir_all(dir.path().join("segments/0000000001")).unwrap();
    fail::cfg("file.read", "return(000000000001.wal@8192-12288)").unwrap();
    // The disk can read the page again between the scan and the cut.
    fail::cfg_callback("recovery.reported", || fail::remove("file.read")).unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("its seal", || !sealed(&vault).is_empty());
    assert_eq!(payloads(&vault, 0), all);
    vault.close(writers);
}

#[test]
fn what_the_wal_lost_is_waited_for_while_an_earlier_cut_cannot_be_opened() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (ledger, all) = crashed(dir.path());
    damage_wal(dir.path());
    fail::cfg("file.open", "return(000000000001.open)").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("it to be shown", || vault.status().unreadable_segments == 1);
    fail::remove("file.open");
    wait("its seal", || !sealed(&vault).is_empty());
    assert_eq!(payloads(&vault, 0), all);
    vault.close(writers);
}

/// Damages the WAL file of [`crashed`], so that entries are lost which the segment file cut from it has.
fn damage_wal(dir: &std::path::Path) {
    let wal = dir.join("wal/0000000001/0000/000000000001.wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    bytes[8192..8300].fill(0x55);
    std::fs::write(&wal, bytes).unwrap();
}

#[test]
fn an_earlier_cut_that_reads_otherwise_the_second_time_is_read_again() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (ledger, all) = crashed(dir.path());
    damage_wal(dir.path());
    // The disk can read the cut when it is reported, but not at the first attempt to read its entries.
    let tries = AtomicUsize::new(0);
    fail::cfg_callback("recovery.reported", || fail::remove("file.read")).unwrap();
    fail::cfg_callback("recovery.decided", move || {
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            fail::cfg("file.read", "return(000000000001.open@0-1000000000)").unwrap();
        }
    })
    .unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("its seal", || !sealed(&vault).is_empty());
    assert_eq!(payloads(&vault, 0), all);
    vault.close(writers);
}

#[test]
fn an_earlier_cut_of_which_the_disk_does_not_give_what_is_lost_is_kept_whole() {
    let _scenario = alone();
    let dir = tempfile::tempdir().unwrap();
    let (ledger, all) = crashed(dir.path());
    damage_wal(dir.path());
    fail::cfg("file.read", "return(000000000001.open@4096-1000000000)").unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("its seal", || !sealed(&vault).is_empty());
    fail::remove("file.read");
    let quarantined = vault.quarantined();
    let cut = quarantined.iter().find(|q| q.file.ends_with("000000000001.open"));
    assert!(
        cut.is_some_and(|q| q.length > 0 && q.reason.contains("pages")),
        "{quarantined:?}"
    );
    assert!(dir.path().join("quarantine/file-1-0-1.bin").exists());
    let (entries, faults) = read(&vault, 0);
    assert!(entries.len() < all.len() && entries.iter().all(|entry| all.contains(&entry.payload)));
    let lost: u32 = faults
        .iter()
        .filter_map(|f| f.numbers)
        .map(|(first, last)| last.get() - first.get() + 1)
        .sum();
    assert_eq!(
        entries.len() + lost as usize,
        all.len(),
        "what is lost is reported: {faults:?}"
    );
    vault.close(writers);
}

#[test]
fn a_recovery_that_is_tried_again_still_has_what_an_earlier_cut_gave() {
    let _scenario = alone();
    let [at_once, again] = ["off", "1*return->off"].map(|write| {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, all) = crashed(dir.path());
        let wal = dir.path().join("wal/0000000001/0000/000000000001.wal");
        let mut bytes = std::fs::read(&wal).unwrap();
        bytes[8192..16384].fill(0x55);
        std::fs::write(&wal, bytes).unwrap();
        // One page of the cut cannot be read: the cut has some of the lost entries, and lacks others.
        fail::cfg("file.read", "return(000000000001.open@4096-8192)").unwrap();
        fail::cfg("segment.write", write).unwrap();
        let (vault, writers) = open(dir.path(), &ledger, &options(1));
        wait("its seal", || !sealed(&vault).is_empty());
        let (entries, faults) = read(&vault, 0);
        assert!(!faults.is_empty() && entries.len() < all.len(), "some are lost");
        vault.close(writers);
        entries.into_iter().map(|e| e.payload).collect::<Vec<_>>()
    });
    assert_eq!(at_once, again);
}

#[test]
fn a_bad_file_stays_until_a_good_one_takes_its_place_whatever_fails() {
    let _scenario = alone();
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (vault, mut writers) = open(dir.path(), &Arc::default(), &options(1));
    let mut n = 0;
    wait("a seal", || {
        n += 1;
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        !sealed(&vault).is_empty()
    });
    let seal = sealed(&vault)[0];
    let path = vault.segment_file(seal.id);
    let copy = elsewhere.path().join(path.strip_prefix(dir.path()).unwrap());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(&path, &copy).unwrap();
    let store = CopyStore::in_folder(elsewhere.path(), NodeId::new(2).unwrap()).unwrap();
    let report = store.report(seal.id).unwrap();
    let restore = || {
        let mut fetch = |_, first, last, take: TakeEntry<'_>| {
            store.read_entries(seal.id, first, last, &mut |entry| {
                take(entry).unwrap();
                true
            })
        };
        vault.restore_sealed(&seal, report.clone(), &mut fetch)
    };
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(!vault.verify(seal.id, &mut |_, _| {}).unwrap().ok);
    assert_eq!(vault.missing_segments().len(), 1);
    for (place, how) in [
        ("file.sync", "return"),
        ("file.link", "return"),
        ("file.rename", "return"),
        // The first rename is that of the reason for which the damaged file is kept.
        ("file.rename", "1*off->return"),
    ] {
        fail::cfg(place, how).unwrap();
        assert!(restore().is_err(), "{place}");
        fail::remove(place);
        assert!(fs::read(&path).unwrap() == damaged, "{place}");
    }
    restore().unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    assert_eq!(vault.bad_copies().len(), 1, "it counts once it is verified");
    assert!(vault.verify(seal.id, &mut |_, _| {}).unwrap().ok);
    assert!(vault.bad_copies().is_empty() && vault.missing_segments().is_empty());
    let kept = fs::read_dir(dir.path().join("quarantine")).unwrap();
    let kept = kept.map(|entry| entry.unwrap().path());
    let mut whole_files = kept.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("file-") && name.ends_with(".bin")
    });
    assert!(whole_files.any(|path| fs::read(path).unwrap() == damaged));
    vault.close(writers);
}

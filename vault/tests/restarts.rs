//! Sequences of restarts in which nothing may be lost to an older catalogue, an interrupted recovery, or a file that
//! cannot be read for a while.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::{Disposition, SegmentState, ShardCursor, ShardWriter, Vault};
use support::{FaultyLedger, append, open, options, payload, payloads, read, sealed, wait, wait_acked, wait_recovered};

const SHARD: ShardId = ShardId::new(0);

/// Fills segments until `count` more are sealed; returns the number of entries then, the first of which is number
/// `from`.
fn fill(vault: &Vault, writer: &mut ShardWriter, from: u64, count: usize) -> u64 {
    let before = sealed(vault).len();
    let mut n = from;
    wait("seals", || {
        n += 1;
        let lsn = append(writer, n, &payload(n, 1000));
        wait_acked(writer, lsn);
        sealed(vault).len() >= before + count
    });
    n
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|x| x == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Takes all entries that a follower has; panics at a fault.
fn drain(vault: &Vault, follower: &mut ShardCursor, got: &mut Vec<Lsn>) {
    follower.extend(vault.readable(SHARD));
    got.extend(
        follower
            .by_ref()
            .map(|found| found.expect("nothing may be passed over").lsn),
    );
}

#[test]
fn an_older_backup_of_the_catalogue_costs_no_file_at_any_start() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let n = fill(&vault, &mut writers[0], 0, 1);
    let older = ledger.copy();
    // More segments than there were spares on record.
    fill(&vault, &mut writers[0], n, 6);
    let newest = ledger.copy();
    let all = payloads(&vault, 0);
    drop((vault, writers));
    let segments = files(&dir.path().join("segments"), "seg");
    for start in 1..=4 {
        let (vault, mut writers) = open(dir.path(), &older, &options(1));
        let shown: Vec<u32> = vault.segments().iter().map(|(id, _)| id.index.get()).collect();
        let missing = (1..=segments.len() as u32).find(|index| !shown.contains(index));
        assert_eq!(missing, None, "no reader may pass it, at no moment of start {start}");
        wait_recovered(&vault);
        let lsn = append(&mut writers[0], 1, b"written under the older catalogue");
        wait_acked(&writers[0], lsn);
        wait("the unknown segments", || vault.status().unreadable_segments > 0);
        vault.close(writers);
        let now = files(&dir.path().join("segments"), "seg");
        assert!(segments.iter().all(|s| now.contains(s)), "after start {start}: {now:?}");
    }
    // With its own catalogue back, all segments that it knew are read again.
    let (vault, writers) = open(dir.path(), &newest, &options(1));
    wait_recovered(&vault);
    let (entries, _) = read(&vault, 0);
    let found: Vec<_> = entries.into_iter().map(|e| e.payload).collect();
    assert!(
        all.iter().all(|p| found.contains(p)),
        "{} of {}",
        found.len(),
        all.len()
    );
    vault.close(writers);
}

#[test]
fn a_trimmed_segment_that_is_put_back_is_kept_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let mut short = options(1);
    short.retention = std::time::Duration::ZERO;
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fill(&vault, &mut writers[0], 0, 1);
    vault.close(writers);
    let first = files(&dir.path().join("segments"), "seg").remove(0);
    let copy = dir.path().join("copy");
    fs::copy(&first, &copy).unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &short);
    wait("the trim, and its confirmation", || {
        !first.exists() && ledger.records_of(first_index()).is_none()
    });
    vault.close(writers);
    fs::rename(&copy, &first).unwrap();
    for _ in 1..=2 {
        let (vault, writers) = open(dir.path(), &ledger, &short);
        wait("it to be shown", || vault.status().unreadable_segments == 1);
        vault.close(writers);
        assert!(first.exists());
    }
}

fn first_index() -> gophership_vault::ids::SegmentIndex {
    gophership_vault::ids::SegmentIndex::FIRST
}

#[test]
fn a_recovery_that_is_broken_off_anywhere_loses_no_judgement() {
    // The last entries of the older of two files are damaged; only marks in the newer one say that they were synced.
    for seals in 0..=2 {
        let dir = tempfile::tempdir().unwrap();
        let ledger: Arc<FaultyLedger> = Arc::default();
        let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
        ledger.seal_only(Some(0));
        let mut last_of_first = None;
        let mut n = 0;
        loop {
            n += 1;
            let lsn = append(&mut writers[0], n, &payload(n, 1000));
            wait_acked(&writers[0], lsn);
            if lsn.index().get() == 1 {
                last_of_first = Some(lsn);
            } else if lsn.number().get() == 5 {
                break;
            }
        }
        let crashed = tempfile::tempdir().unwrap();
        support::copy_dir(dir.path(), crashed.path());
        let ledger = ledger.copy();
        drop((vault, writers));
        let last = last_of_first.unwrap().number().get();
        // The cuts that still have them are removed.
        let cuts = crashed.path().join("segments/0000000001");
        if cuts.exists() {
            fs::remove_dir_all(cuts).unwrap();
        }
        damage_entries(&files(&crashed.path().join("wal"), "wal")[0], last - 1);
        ledger.seal_only(Some(seals));
        let (vault, writers) = open(crashed.path(), &ledger, &options(1));
        wait("the seals that are taken", || sealed(&vault).len() == seals as usize);
        drop((vault, writers));
        ledger.seal_only(None);
        let (vault, writers) = open(crashed.path(), &ledger, &options(1));
        wait_recovered(&vault);
        let (_, faults) = read(&vault, 0);
        let lost: Vec<_> = faults
            .iter()
            .filter_map(|f| f.numbers)
            .map(|(f, l)| (f.get(), l.get()))
            .collect();
        assert_eq!(lost, [(last - 1, last)], "broken off after {seals} seals: {faults:?}");
        assert!(vault.status().quarantined > 0);
        vault.close(writers);
    }
}

/// Overwrites all from the entry with this number to the end of the entries; each has 1,000 bytes of payload.
fn damage_entries(wal: &Path, from: u32) {
    let mut bytes = fs::read(wal).unwrap();
    let at = 4096 + (from as usize - 1) * (64 + 1000);
    let end = bytes.len() - 4096;
    bytes[at..end].fill(0xAA);
    fs::write(wal, bytes).unwrap();
}

#[test]
fn a_follower_waits_for_a_segment_file_that_cannot_be_opened_and_reads_it_once_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fill(&vault, &mut writers[0], 0, 2);
    let segment = files(&dir.path().join("segments"), "seg").remove(0);
    let away = dir.path().join("away");
    fs::rename(&segment, &away).unwrap();
    let mut got = Vec::new();
    let mut follower = vault.follower(SHARD, None);
    drain(&vault, &mut follower, &mut got);
    assert_eq!(got, []);
    assert!(
        follower.waits().is_some_and(|why| why.contains("cannot be read")),
        "{:?}",
        follower.waits()
    );
    // Another kind of reader reports it, and goes on.
    let (entries, faults) = read(&vault, 0);
    assert!(!entries.is_empty() && faults.len() == 1, "{faults:?}");
    fs::rename(&away, &segment).unwrap();
    drain(&vault, &mut follower, &mut got);
    assert_eq!(got.len(), payloads(&vault, 0).len());
    vault.close(writers);
}

#[test]
fn a_wal_file_that_cannot_be_opened_is_recovered_once_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 1..=9 {
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
    }
    drop((vault, writers));
    let wal = files(&dir.path().join("wal"), "wal").remove(0);
    let away = dir.path().join("away");
    fs::rename(&wal, &away).unwrap();
    // A link to itself cannot be opened, even by root.
    std::os::unix::fs::symlink(&wal, &wal).unwrap();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    wait("the file to be shown", || vault.status().unreadable_segments == 1);
    let lsn = append(&mut writers[0], 10, &payload(10, 1000));
    wait_acked(&writers[0], lsn);
    let mut got = Vec::new();
    let mut follower = vault.follower(SHARD, None);
    drain(&vault, &mut follower, &mut got);
    assert_eq!(got, [], "the segment after it must wait");
    assert!(follower.waits().is_some());
    fs::remove_file(&wal).unwrap();
    fs::rename(&away, &wal).unwrap();
    wait("its recovery", || vault.status().unreadable_segments == 0);
    drain(&vault, &mut follower, &mut got);
    assert_eq!(got.len(), 10);
    vault.close(writers);
}

/// A vault as a crash left it, with the WAL files of segments 1 and 2, whose entries no segment file has. All of its
/// payloads are acknowledged.
fn two_wal_files(dir: &Path) -> (Arc<FaultyLedger>, Vec<PathBuf>, Vec<Vec<u8>>) {
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir, &ledger, &options(1));
    ledger.seal_only(Some(0));
    let mut all = Vec::new();
    loop {
        let n = all.len() as u64;
        all.push(payload(n, 1000));
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        if (lsn.index().get(), lsn.number().get()) == (2, 5) {
            break;
        }
    }
    let ledger = ledger.copy();
    drop((vault, writers));
    ledger.seal_only(None);
    fs::remove_dir_all(dir.join("segments/0000000001")).unwrap();
    (ledger, files(&dir.join("wal"), "wal"), all)
}

/// Replaces a file by something that no user can open, not even root. Returns the file's new path.
fn bar(path: &Path) -> PathBuf {
    let away = path.with_extension("away");
    fs::rename(path, &away).unwrap();
    std::os::unix::fs::symlink(path, path).unwrap();
    away
}

#[test]
fn a_wal_file_of_a_segment_that_is_lost_stays_and_holds_no_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, wals, all) = two_wal_files(dir.path());
    let away = bar(&wals[1]);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("both to be shown", || vault.status().unreadable_segments == 2);
    let second = vault.segments()[1].0;
    vault.accept_loss(second).unwrap();
    wait("the older one's seal", || !sealed(&vault).is_empty());
    // This is read in the next round of the recovery.
    fs::remove_file(&wals[1]).unwrap();
    fs::rename(&away, &wals[1]).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(vault.segments()[1], (second, SegmentState::Lost));
    assert!(wals[1].exists(), "its file is for the operator");
    let mut follower = vault.follower(SHARD, None);
    follower.extend(Some(Lsn::last_of(second.index)));
    let found: Vec<_> = follower.by_ref().collect();
    let (read, faults): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    assert_eq!((read.len(), faults.len()), (all.len() - 5, 1), "{faults:?}");
    vault.close(writers);
}

#[test]
fn a_wal_file_that_is_only_kept_for_its_marks_hides_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, wals, all) = two_wal_files(dir.path());
    let away = bar(&wals[0]);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("the newer one's seal", || !sealed(&vault).is_empty());
    vault.close(writers);
    // The state after a crash in the middle of recycling the file.
    let mut bytes = fs::read(&wals[1]).unwrap();
    let len = bytes.len();
    bytes[..4096].fill(0);
    bytes[len - 4096..].fill(0);
    fs::write(&wals[1], bytes).unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("the older one to be shown", || vault.status().unreadable_segments > 0);
    assert!(
        matches!(vault.segments()[1].1, SegmentState::Sealed(_)),
        "{:?}",
        vault.segments()
    );
    fs::remove_file(&wals[0]).unwrap();
    fs::rename(&away, &wals[0]).unwrap();
    wait("its recovery", || vault.status().unreadable_segments == 0);
    assert_eq!(payloads(&vault, 0), all);
    vault.close(writers);
}

#[test]
fn a_damaged_block_of_a_segment_that_the_catalogue_has_as_open_costs_that_block() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let older = ledger.copy();
    fill(&vault, &mut writers[0], 0, 4);
    let first = sealed(&vault)[0];
    let blocks = vault.describe(first.id).unwrap().blocks;
    let path = vault.segment_file(first.id);
    drop((vault, writers));
    assert!(
        !files(&dir.path().join("wal"), "wal")
            .iter()
            .any(|wal| wal.ends_with("000000000001.wal"))
    );
    let mut bytes = fs::read(&path).unwrap();
    bytes[(blocks[0].offset + blocks[0].stored_bytes / 2) as usize] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (vault, writers) = open(dir.path(), &older, &options(1));
    wait("it to be taken in", || {
        sealed(&vault).first().is_some_and(|seal| seal.id == first.id)
    });
    let (_, faults) = read(&vault, 0);
    assert_eq!(faults[0].numbers, Some((blocks[0].first, blocks[0].last)), "{faults:?}");
    vault.close(writers);
}

#[test]
fn a_segment_whose_loss_was_accepted_is_passed_and_stays_lost() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fill(&vault, &mut writers[0], 0, 2);
    let lost = sealed(&vault)[0];
    assert!(vault.accept_loss(lost.id).is_err(), "it can be read");
    fs::remove_file(vault.segment_file(lost.id)).unwrap();
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("it to be shown", || vault.status().unreadable_segments == 1);
    let mut follower = vault.follower(SHARD, None);
    assert!(follower.next().is_none() && follower.waits().is_some());
    vault.accept_loss(lost.id).unwrap();
    let fault = follower.next().unwrap().unwrap_err();
    assert!(
        fault.segment == lost.id && fault.what.contains("accepted its loss"),
        "{fault:?}"
    );
    assert!(follower.next().unwrap().is_ok());
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    assert_eq!(vault.status().unreadable_segments, 0);
    vault.close(writers);
}

#[test]
fn a_segment_file_that_is_put_back_is_seen_without_a_reader_and_at_once_by_a_verification() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    fill(&vault, &mut writers[0], 0, 2);
    let id = sealed(&vault)[0].id;
    let (file, away) = (vault.segment_file(id), dir.path().join("away"));
    fs::rename(&file, &away).unwrap();
    let lost = vault.verify(id, &mut |_, _| {}).unwrap_err();
    assert_eq!(lost.disposition(), Disposition::Corrupt, "{lost}");
    assert_eq!(vault.status().unreadable_segments, 1);
    fs::rename(&away, &file).unwrap();
    assert!(vault.verify(id, &mut |_, _| {}).unwrap().ok);
    assert_eq!(vault.status().unreadable_segments, 0);

    fs::rename(&file, &away).unwrap();
    vault.verify(id, &mut |_, _| {}).unwrap_err();
    fs::rename(&away, &file).unwrap();
    wait("the node to look again", || vault.status().unreadable_segments == 0);
    vault.close(writers);
}

#[test]
fn a_stray_file_with_the_last_index_stops_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    vault.close(writers);
    let folder = dir.path().join("segments/0000000001/0000");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("004294967295.seg"), b"mine").unwrap();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 1, b"goes on");
    wait_acked(&writers[0], lsn);
    assert!(lsn.index().get() < 100);
    vault.close(writers);
}

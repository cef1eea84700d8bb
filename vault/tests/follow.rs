//! A reader that follows a shard while it is written, and the segments that its position releases.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::TimeRange;
use gophership_vault::{OnFull, Readers, Release, VaultOptions};
use support::*;

const SHARD: ShardId = ShardId::new(0);

#[test]
fn a_follower_gets_every_entry_once_and_in_order_whatever_happens_to_the_files_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut follower = vault.cursor(SHARD, None, TimeRange::ALL);
    assert!(follower.next().is_none());
    let mut got = Vec::new();
    for n in 0..600u64 {
        let lsn = append(&mut writers[0], n, &payload(n, 100 + (n as usize * 53) % 2500));
        // The reader is behind, level, or in the middle of a file that is sealed meanwhile.
        if n % 7 == 0 {
            wait_acked(&writers[0], lsn);
            follower.extend(vault.readable(SHARD));
            let upto = if n % 3 == 0 { usize::MAX } else { 2 };
            got.extend(follower.by_ref().take(upto).map(|found| found.unwrap().payload));
        }
        if n == 300 {
            wait("a seal under the follower", || !sealed(&vault).is_empty());
        }
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    follower.extend(vault.readable(SHARD));
    got.extend(follower.map(|found| found.unwrap().payload));
    let expected: Vec<Vec<u8>> = (0..600).map(|n| payload(n, 100 + (n as usize * 53) % 2500)).collect();
    assert_eq!(got.len(), expected.len());
    assert_eq!(got, expected);
    vault.close(writers);
}

#[test]
fn a_follower_that_lags_does_not_keep_files_from_being_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 0, &payload(0, 1000));
    wait_acked(&writers[0], lsn);
    let mut follower = vault.cursor(SHARD, None, TimeRange::ALL);
    follower.next().unwrap().unwrap();
    for n in 1..200u64 {
        append(&mut writers[0], n, &payload(n, 1000));
    }
    wait("the first segment's seal", || !sealed(&vault).is_empty());
    follower.let_go();
    let mut entries = 200;
    // A file is used again where another one is needed.
    wait("the first file's reuse", || {
        append(&mut writers[0], entries, &payload(entries, 1000));
        entries += 1;
        !dir.path().join("wal/0000000001/0000/000000000001.wal").exists()
    });
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    follower.extend(vault.readable(SHARD));
    assert_eq!(follower.filter(|found| found.is_ok()).count() as u64, entries - 1);
    vault.close(writers);
}

#[test]
fn the_debt_behind_a_position_counts_every_entry_and_about_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(vault.debt(SHARD, None).entries, 0);
    let lsns: Vec<Lsn> = (0..300u64)
        .map(|n| append(&mut writers[0], n, &payload(n, 1000)))
        .collect();
    wait_acked(&writers[0], *lsns.last().unwrap());
    for sealed_too in [false, true] {
        if sealed_too {
            wait("some seals", || sealed(&vault).len() >= 3);
        }
        assert_eq!(vault.debt(SHARD, None).entries, 300);
        let all = vault.debt(SHARD, None).bytes;
        assert_eq!(all, 300_000);
        for done in [0usize, 9, 150, 299] {
            let debt = vault.debt(SHARD, Some(lsns[done]));
            assert_eq!(debt.entries, 299 - done as u64, "behind entry {done}");
            assert!(debt.bytes.abs_diff(debt.entries * 1000) <= 5000, "{debt:?}");
        }
    }
    vault.close(writers);
}

#[test]
fn what_is_being_recovered_is_owed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsns: Vec<Lsn> = (0..300u64)
        .map(|n| append(&mut writers[0], n, &payload(n, 1000)))
        .collect();
    wait_acked(&writers[0], *lsns.last().unwrap());
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait("recovery", || {
        // The number of recovering segments is read first: once it is 0, all of the shard is known.
        let recovering = vault.status().recovering_segments;
        let owed = vault.debt(SHARD, lsns.first().copied()).entries;
        assert!(owed > 0, "{recovering} segments are being recovered");
        recovering == 0
    });
    assert_eq!(vault.debt(SHARD, lsns.first().copied()).entries, 299);
    vault.close(writers);
}

#[test]
fn a_follower_waits_for_no_recovery_and_misses_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 0, b"of the first boot");
    wait_acked(&writers[0], lsn);
    vault.close(writers);
    let (vault, writers) = {
        let opened = open(dir.path(), &ledger, &options(1));
        // The recovery may be faster than this; then it waits for its next answer.
        ledger.be(Mood::Refusing);
        opened
    };
    let mut follower = vault.follower(SHARD, None);
    let first = follower.next();
    if vault.status().recovering_segments > 0 {
        assert!(first.is_none());
        assert!(follower.waits().unwrap().contains("is being recovered"));
    }
    ledger.be(Mood::Willing);
    wait_recovered(&vault);
    let all: Vec<_> = first
        .into_iter()
        .chain(follower)
        .map(|found| found.unwrap().payload)
        .collect();
    assert_eq!(all, [b"of the first boot".to_vec()]);
    vault.close(writers);
}

#[test]
fn a_follower_needs_no_file_whose_last_entry_it_is_done_with() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    for n in 0..100u64 {
        append(&mut writers[0], n, &payload(n, 1000));
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    wait("a seal", || !sealed(&vault).is_empty());
    let first = sealed(&vault)[0];
    let last = first.stats.last_lsn.unwrap();
    std::fs::remove_file(vault.segment_file(first.id)).unwrap();
    let behind = |last: Lsn| Lsn::at(last.index(), last.number().checked_next().unwrap());
    let mut follower = vault.follower(SHARD, Some(behind(last)));
    let left = follower.by_ref().filter(|found| found.is_ok()).count() as u64;
    assert_eq!(left, 100 - first.stats.entries, "{:?}", follower.waits());
    let mut needs_it = vault.follower(SHARD, Some(last));
    assert!(needs_it.next().is_none() && needs_it.waits().is_some());
    vault.close(writers);
}

#[test]
fn a_shard_without_a_writer_ends_with_its_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let two = |path: &std::path::Path| open(path, &ledger, &options(2));
    let retired = ShardId::new(1);
    let (vault, mut writers) = two(dir.path());
    let old = append(&mut writers[1], 0, b"old");
    wait_acked(&writers[1], old);
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    let end = vault.readable(retired).unwrap();
    assert!(end >= old);
    assert_eq!(
        (
            vault.debt(retired, Some(end)).entries,
            vault.debt(retired, None).entries
        ),
        (0, 1)
    );
    assert_eq!(vault.readable(ShardId::new(7)), None);
    vault.close(writers);
    let (vault, mut writers) = two(dir.path());
    let new = append(&mut writers[1], 0, b"new");
    wait_acked(&writers[1], new);
    assert!(new > end, "what comes later lies behind that end");
    assert_eq!(vault.debt(retired, Some(end)).entries, 1);
    vault.close(writers);
}

#[test]
fn a_ledger_that_takes_nothing_any_more_ends_the_vault() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    ledger.be(Mood::Dead);
    for n in 0..40u64 {
        append(&mut writers[0], n, &payload(n, 1000));
    }
    writers[0].must_flush().unwrap();
    for n in 0..80 {
        // Appends until the files run out.
        let bytes = payload(n, 1000);
        let _ = writers[0].must_append(&meta(n), bytes.len(), std::iter::once(&bytes[..]));
    }
    wait("the failure", || vault.failure().is_some());
    assert!(vault.failure().unwrap().contains("Dead"));
    vault.close(writers);
}

/// Options whose segments are released up to the index that the test says.
fn released_up_to(index: &Arc<AtomicU64>, on_full: OnFull) -> VaultOptions {
    let index = Arc::clone(index);
    VaultOptions {
        retention: Duration::from_millis(1),
        release: Release::By(Arc::new(move |s: &SealRecord| {
            u64::from(s.id.index.get()) <= index.load(Ordering::Relaxed)
        })),
        on_full,
        ..options(1)
    }
}

#[test]
fn what_its_reader_has_not_passed_is_kept_however_old_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let released = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &released_up_to(&released, OnFull::Refuse));
    for n in 0..300u64 {
        append(&mut writers[0], n, &payload(n, 1000));
    }
    wait("some seals", || sealed(&vault).len() >= 4);
    // Two turns of the housekeeper.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(vault.status().trimmed_since_start, 0);
    released.store(2, Ordering::Relaxed);
    wait("what is released to go", || vault.status().trimmed_since_start == 2);
    assert_eq!(sealed(&vault)[0].id.index.get(), 3);
    vault.close(writers);
}

#[test]
fn a_full_disk_drops_the_oldest_where_that_was_chosen_and_says_how_much() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let released = Arc::default();
    let options = VaultOptions {
        disk_limit: 1024 * 1024 + gophership_vault::start_bytes(1, 64 * 1024),
        ..released_up_to(&released, OnFull::DropOldest)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut n = 0;
    let seen = Mutex::new(0);
    wait("some drops", || {
        for _ in 0..20 {
            n += 1;
            append(&mut writers[0], n, &payload(n, 1000));
        }
        let status = vault.status();
        *seen.lock().unwrap() = status.dropped_since_start.1;
        status.dropped_since_start.0 >= 3
    });
    let mut first = None;
    wait("a segment that is there", || {
        n += 1;
        append(&mut writers[0], n, &payload(n, 1000));
        first = sealed(&vault).first().map(|record| record.id);
        first.is_some()
    });
    // A segment that cannot be removed does not hold up the others.
    let first = first.unwrap();
    ledger.hold(first);
    released.store(first.index.get().into(), Ordering::Relaxed);
    let before = vault.status().dropped_since_start.0;
    wait("more drops", || {
        n += 1;
        append(&mut writers[0], n, &payload(n, 1000));
        vault.status().dropped_since_start.0 >= before + 3
    });
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    let (entries, faults) = read(&vault, 0);
    assert_eq!(faults, []);
    let dropped = vault.status().dropped_since_start.1;
    assert_eq!(entries.len() as u64 + dropped, n, "what is not there was counted");
    assert_eq!(entries.last().unwrap().payload, payload(n, 1000));
    vault.close(writers);
}

/// A reader that has read everything, and commits its position only on request.
#[derive(Default)]
struct LateReader {
    is_kept: AtomicBool,
    lost: AtomicU64,
}

impl Readers for LateReader {
    fn are_done(&self, _: &SealRecord) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    fn keep_positions(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    fn lose(&self, segment: &SealRecord) -> u64 {
        self.lost.fetch_add(segment.stats.entries, Ordering::Relaxed);
        segment.stats.entries
    }
}

#[test]
fn readers_say_how_far_they_are_before_anything_counts_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let reader = Arc::<LateReader>::default();
    let options = VaultOptions {
        retention: Duration::from_secs(3600),
        release: Release::By(Arc::clone(&reader) as _),
        on_full: OnFull::DropOldest,
        disk_limit: 1024 * 1024 + gophership_vault::start_bytes(1, 64 * 1024),
        ..options(1)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut n = 0;
    wait("segments to go", || {
        for _ in 0..20 {
            n += 1;
            append(&mut writers[0], n, &payload(n, 1000));
        }
        vault.status().trimmed_since_start >= 3
    });
    assert!(reader.is_kept.load(Ordering::Relaxed));
    assert_eq!(reader.lost.load(Ordering::Relaxed), 0);
    assert_eq!(vault.status().dropped_since_start, (0, 0, 0));
    vault.close(writers);
}

#[test]
fn a_file_that_cannot_be_removed_costs_no_other_segment() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let options = VaultOptions {
        disk_limit: 1024 * 1024 + gophership_vault::start_bytes(1, 64 * 1024),
        ..released_up_to(&Arc::default(), OnFull::DropOldest)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut n = 0;
    let mut put = || {
        n += 1;
        append(&mut writers[0], n, &payload(n, 1000));
    };
    let used = || vault.status().disk.own * 100 / options.disk_limit;
    // One segment is filled after the other, so that the use of the disk is known.
    while used() < 80 {
        let before = sealed(&vault).len();
        wait("a seal", || {
            put();
            sealed(&vault).len() > before
        });
    }
    // A folder in the place of the file cannot be unlinked.
    let segments = sealed(&vault);
    for segment in &segments {
        let path = vault.segment_file(segment.id);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(path).unwrap();
    }
    assert_eq!(vault.status().dropped_since_start.0, 0, "it was full too early to tell");
    let dropped = || vault.status().dropped_since_start.0;
    // Appends slowly, so that use never exceeds the limit by much.
    while dropped() == 0 {
        put();
        std::thread::sleep(Duration::from_millis(5));
    }
    // Two turns of the housekeeper.
    std::thread::sleep(Duration::from_millis(2500));
    let dropped = dropped() as usize;
    assert!(
        segments.len() > 12 && dropped <= segments.len() / 2,
        "{dropped} of {} were dropped for the room of a few",
        segments.len()
    );
    vault.close(writers);
}

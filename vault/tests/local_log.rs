//! The vault as its users see it: append, ack, read, restart.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::sync::Arc;
use std::time::Duration;

use gophership_vault::AppendError;
use gophership_vault::ids::ShardId;
use gophership_vault::time::TimeRange;
use support::*;

#[test]
fn what_was_acknowledged_is_read_back_at_once_and_after_each_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let mut expected = Vec::new();
    for boot in 0..4u64 {
        let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
        for n in 0..120 {
            let payload = payload(boot * 1000 + n, 100 + (n as usize * 37) % 3000);
            let lsn = append(&mut writers[0], n, &payload);
            expected.push(payload);
            if n % 17 == 0 {
                wait_acked(&writers[0], lsn);
                assert_eq!(payloads(&vault, 0), expected, "boot {boot} entry {n}");
            }
        }
        vault.close(writers);
    }
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0), expected);
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0), expected);
    for record in sealed(&vault) {
        let report = vault.verify(record.id, &mut |_, _| {}).unwrap();
        assert!(report.ok, "{:?}", report.faults);
    }
    assert_eq!(vault.status().quarantined, 0);
    vault.close(writers);
}

#[test]
fn an_unclean_end_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let mut expected = Vec::new();
    for boot in 0..3u64 {
        let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
        for n in 0..50 {
            let payload = payload(boot * 1000 + n, 2000);
            let lsn = append(&mut writers[0], n, &payload);
            wait_acked(&writers[0], lsn);
            expected.push(payload);
        }
        // There is no idle mark and no clean end: the threads go on until they see that the vault is gone.
        vault.close(Vec::new());
        drop(writers);
    }
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0), expected);
    vault.close(writers);
}

#[test]
fn shards_that_are_no_longer_configured_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(3));
    for (i, writer) in writers.iter_mut().enumerate() {
        let lsn = append(writer, 1, &payload(i as u64, 50));
        wait_acked(writer, lsn);
    }
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    wait_recovered(&vault);
    assert_eq!(vault.shards(), [0, 1, 2].map(ShardId::new));
    for shard in 0..3 {
        assert_eq!(payloads(&vault, shard), [payload(u64::from(shard), 50)]);
    }
    vault.close(writers);
}

#[test]
fn a_time_range_gives_whole_overlapping_entries_only() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut last = None;
    for n in 0..300u64 {
        last = Some(append(&mut writers[0], n * 10, &payload(n, 900)));
    }
    wait_acked(&writers[0], last.unwrap());
    for (min, max) in [(0, 0), (0, 9), (1000, 1500), (2990, 5000), (5, 7)] {
        let got: Vec<u64> = vault
            .cursor(ShardId::new(0), None, TimeRange { min, max })
            .map(|e| e.unwrap().meta.received_ns)
            .collect();
        let wanted: Vec<u64> = (0..300).map(|n| n * 10).filter(|t| (min..=max).contains(t)).collect();
        assert_eq!(got, wanted, "{min}..={max}");
    }
    vault.close(writers);
}

#[test]
fn what_is_past_its_retention_goes_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let mut options = options(1);
    options.retention = Duration::ZERO;
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut last = None;
    for n in 0..200u64 {
        last = Some(append(&mut writers[0], n, &payload(n, 1000)));
    }
    wait_acked(&writers[0], last.unwrap());
    wait("trimming", || {
        vault.status().trimmed_since_start >= 2 && sealed(&vault).is_empty()
    });
    let left = payloads(&vault, 0);
    assert_eq!(
        left.last(),
        Some(&payload(199, 1000)),
        "what is not sealed is never trimmed"
    );
    assert!(left.len() < 200);
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options);
    assert_eq!(vault.status().unreadable_segments, 0, "a trimmed segment is not missed");
    vault.close(writers);
}

#[test]
fn at_the_disk_limit_appends_are_refused_and_taken_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let mut options = options(1);
    options.disk_limit = 1024 * 1024 + gophership_vault::start_bytes(1, options.segment_size);
    // It is full before anything expires, also on a slow disk.
    options.retention = Duration::from_secs(10);
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut kept = Vec::new();
    let mut n = 0;
    let noise = |n: u64| -> Vec<u8> {
        (0..64)
            .flat_map(|i| *blake3::hash(&(n * 64 + i).to_le_bytes()).as_bytes())
            .collect()
    };
    wait("a refusal", || {
        n += 1;
        let payload = noise(n);
        match writers[0].must_append(&meta(n), payload.len(), std::iter::once(&payload[..])) {
            Ok(_) => kept.push(payload),
            Err(AppendError::DiskFull) => return true,
            Err(AppendError::NoSpare) => {}
            Err(other) => panic!("{other}"),
        }
        false
    });
    wait("room again", || {
        writers[0]
            .must_append(&meta(n), 4, std::iter::once(&b"room"[..]))
            .is_ok()
    });
    vault.close(writers);
}

#[test]
fn a_payload_that_no_file_can_hold_is_refused_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let big = vec![1u8; 64 * 1024];
    assert_eq!(
        writers[0].must_append(&meta(1), big.len(), std::iter::once(&big[..])),
        Err(AppendError::TooLarge)
    );
    let lsn = append(&mut writers[0], 1, b"small");
    wait_acked(&writers[0], lsn);
    assert_eq!(payloads(&vault, 0), [b"small".to_vec()]);
    vault.close(writers);
}

#[test]
fn a_payload_its_caller_refuses_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let refused = writers[0].must_append_with(300, std::iter::once(&[7u8; 300][..]), |_| {
        Err::<gophership_vault::entry::EntryMeta, _>("no")
    });
    assert_eq!(refused, Err(gophership_vault::AppendFault::Refused("no")));
    let lsn = append(&mut writers[0], 1, b"small");
    wait_acked(&writers[0], lsn);
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    assert_eq!(payloads(&vault, 0), [b"small".to_vec()]);
    assert_eq!(vault.status().quarantined, 0);
    vault.close(writers);
}

#[test]
fn readers_see_every_acknowledged_entry_once_while_segments_are_written_sealed_and_recycled() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mark = writers[0].watermark();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (vault, done, mark) = (vault.clone(), Arc::clone(&done), Arc::clone(&mark));
            std::thread::spawn(move || {
                let mut rounds = 0;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let acked = mark.acked();
                    let (entries, faults) = read(&vault, 0);
                    assert_eq!(faults, []);
                    assert!(
                        entries.last().map(|e| e.lsn) >= acked,
                        "all that was acknowledged before is there"
                    );
                    for (n, entry) in entries.iter().enumerate() {
                        assert!(entry.payload == payload(n as u64, 600), "entry {n} is {:?}", entry.lsn);
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let mut n = 0;
    wait("a file used again", || {
        for _ in 0..500 {
            append(&mut writers[0], n, &payload(n, 600));
            n += 1;
        }
        n >= 1500 && vault.status().wal_files.1 > 0
    });
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    done.store(true, std::sync::atomic::Ordering::Release);
    assert!(readers.into_iter().map(|r| r.join().unwrap()).sum::<u32>() > 0);
    assert_eq!(payloads(&vault, 0).len() as u64, n);
    vault.close(writers);
}

#[test]
fn readers_of_what_is_being_trimmed_see_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let options = gophership_vault::VaultOptions {
        retention: Duration::from_millis(100),
        ..options(1)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    let mut n = 0;
    wait("some trimming", || {
        for _ in 0..50 {
            n += 1;
            append(&mut writers[0], n, &payload(n, 1000));
        }
        let (entries, faults) = read(&vault, 0);
        assert_eq!(faults, [], "what is trimmed is passed over");
        assert!(entries.is_sorted_by(|a, b| a.lsn < b.lsn));
        vault.status().trimmed_since_start > 20
    });
    assert_eq!(vault.quarantined(), []);
    vault.close(writers);
}

#[test]
#[should_panic(expected = "the parts of a payload do not add up to its length")]
fn parts_that_do_not_add_up_to_their_payload_are_a_bug_of_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let (_vault, mut writers) = open(dir.path(), &Arc::default(), &options(1));
    let _ = writers[0].must_append_with(300, std::iter::once(&[7u8; 299][..]), |_| Ok::<_, ()>(meta(1)));
}

#[test]
#[should_panic(expected = "one seam per shard")]
fn a_vault_without_a_seam_for_each_shard_is_a_bug_of_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let data = gophership_vault::DataDir::open(dir.path(), true).unwrap();
    let ledger = Arc::new(FaultyLedger::default());
    let epoch = ledger.next_epoch();
    let _ = gophership_vault::Vault::open(data, &options(2), epoch, ledger, Vec::new());
}

//! Copies of segments that another node wrote: counted, shown, verified and read like this node's own.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use gophership_vault::ids::{LogId, NodeId, SegmentId};
use gophership_vault::ledger::{Ledger, SealRecord};
use gophership_vault::time::TimeRange;
use gophership_vault::{DataDir, SegmentState, ShardSeam, ShardWriter, Vault};
use support::*;

fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

fn file_of(id: SegmentId) -> String {
    format!("segments/{:010}/{:04}/{:012}.seg", id.node, id.shard.get(), id.index)
}

/// Opens the vault of node 2, which joined a cluster.
fn open_second(dir: &Path, ledger: &Arc<FaultyLedger>) -> (Vault, Vec<ShardWriter>) {
    open_node(2, dir, ledger)
}

/// Segments that node 1 sealed, with copies of the first two of them in `dir`, on record in the ledger of node 2.
fn with_copies(dir: &Path) -> (Arc<FaultyLedger>, Vec<SealRecord>, Vec<Vec<u8>>) {
    let first = tempfile::tempdir().unwrap();
    let (vault, mut writers) = open(first.path(), &Arc::default(), &options(1));
    let mut n = 0;
    wait("some seals", || {
        n += 1;
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        sealed(&vault).len() >= 3
    });
    let records: Vec<SealRecord> = sealed(&vault)[..2].to_vec();
    for record in &records {
        let to = dir.join(file_of(record.id));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(vault.segment_file(record.id), to).unwrap();
    }
    let entries = records.iter().map(|record| record.stats.entries).sum();
    vault.close(writers);
    (
        FaultyLedger::of_node(node(2), &records),
        records,
        (1..=entries).map(|n| payload(n, 1000)).collect(),
    )
}

fn read_log(vault: &Vault, log: LogId) -> (Vec<Vec<u8>>, usize) {
    let (entries, faults): (Vec<_>, Vec<_>) = vault.cursor_of(log, None, TimeRange::ALL).partition(Result::is_ok);
    (entries.into_iter().map(|e| e.unwrap().payload).collect(), faults.len())
}

#[test]
fn copies_are_counted_shown_verified_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[]));
    vault.close(writers);
    let (ledger, records, payloads) = with_copies(dir.path());
    let (vault, mut writers) = open_second(dir.path(), &ledger);
    let lsn = append(&mut writers[0], 1, b"an own entry");
    wait_acked(&writers[0], lsn);
    let log = records[0].id.log();

    assert_eq!(read_log(&vault, log), (payloads, 0));
    let own = vault
        .cursor(log.shard, None, TimeRange::ALL)
        .map(|e| e.unwrap().payload);
    assert_eq!(
        own.collect::<Vec<_>>(),
        [b"an own entry"],
        "a shard of the same number is another log"
    );
    assert_eq!(vault.shards(), [log.shard]);

    let bytes: u64 = records.iter().map(|record| record.stats.stored_bytes).sum();
    assert_eq!(
        (vault.status().sealed_segments, vault.status().sealed_bytes),
        (2, bytes)
    );
    wait("the look at the disk", || vault.status().disk.own > bytes);
    let copies: Vec<_> = vault
        .segments()
        .into_iter()
        .filter(|(id, _)| id.node == node(1))
        .collect();
    assert!(
        matches!(copies[..], [(_, SegmentState::Sealed(_)), (_, SegmentState::Sealed(_))]),
        "{copies:?}"
    );
    assert!(vault.own_segments().iter().all(|(id, _)| id.node == node(2)));
    assert!(vault.verify(records[1].id, &mut |_, _| {}).unwrap().ok);
    assert_eq!(vault.describe(records[0].id).unwrap().record.digest, records[0].digest);
    vault.close(writers);
}

#[test]
fn a_damaged_copy_costs_what_is_damaged_and_one_that_is_gone_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[]));
    vault.close(writers);
    let (ledger, records, payloads) = with_copies(dir.path());
    let path = dir.path().join(file_of(records[1].id));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(dir.path().join(file_of(records[0].id))).unwrap();
    let (vault, writers) = open_second(dir.path(), &ledger);
    wait("the file that is gone to be shown", || {
        vault.status().unreadable_segments == 1
    });
    assert!(!vault.verify(records[1].id, &mut |_, _| {}).unwrap().ok);
    let (entries, faults) = read_log(&vault, records[0].id.log());
    assert!(
        faults > 0 && entries.len() < payloads.len(),
        "{} {faults}",
        entries.len()
    );
    assert!(entries.iter().all(|entry| payloads.contains(entry)));
    assert_eq!(vault.status().quarantined, 1, "the damage is kept");
    vault.close(writers);
}

#[test]
fn a_copy_is_trimmed_by_no_retention_of_this_node() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[]));
    vault.close(writers);
    let (ledger, records, _) = with_copies(dir.path());
    let data = DataDir::open(dir.path(), true).unwrap();
    let short = gophership_vault::VaultOptions {
        retention: std::time::Duration::ZERO,
        ..options(1)
    };
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let epoch = ledger.next_epoch();
    let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
    let (vault, mut writers) = Vault::open(data, &short, epoch, shared, seams).unwrap();
    let mut n = 0;
    // The node's own segments are trimmed, and those of the other node stay.
    wait("own segments to be trimmed", || {
        n += 1;
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        vault.status().trimmed_since_start > 0
    });
    assert!(records.iter().all(|record| vault.has_segment(record.id)));
    assert!(
        records
            .iter()
            .all(|record| dir.path().join(file_of(record.id)).exists())
    );
    vault.close(writers);
}

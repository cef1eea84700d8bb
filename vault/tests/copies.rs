//! Copies of segments that another node wrote: counted, shown, verified and read like this node's own.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gophership_catalogue::Command;
use gophership_catalogue::segment::SegmentState as OnRecord;
use gophership_vault::ids::{LogId, NodeId, SegmentId};
use gophership_vault::ledger::{Ledger, SealRecord, TrimReason};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    CopyFault, DataDir, DiskTier, FrameFault, SegmentHeader, SegmentState, ShardSeam, ShardWriter, Vault, VaultError,
    VaultOptions,
};
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

/// The vault of node 2 with these options.
fn open_with(dir: &Path, ledger: &Arc<FaultyLedger>, options: &VaultOptions) -> (Vault, Vec<ShardWriter>) {
    let data = DataDir::open(dir, true).unwrap();
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let shared: Arc<dyn Ledger> = Arc::clone(ledger) as _;
    Vault::open(data, options, ledger.next_epoch(), shared, seams).unwrap()
}

/// A folder that is node 2's.
fn folder_of_second() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[]));
    vault.close(writers);
    dir
}

fn state_of(vault: &Vault, id: SegmentId) -> Option<SegmentState> {
    let found = vault.segments().into_iter().find(|(at, _)| *at == id);
    found.map(|(_, state)| state)
}

fn is_unreadable(vault: &Vault, id: SegmentId) -> bool {
    matches!(state_of(vault, id), Some(SegmentState::Unreadable(_)))
}

fn trim(ledger: &FaultyLedger, id: SegmentId) {
    let why = TrimReason::Retention;
    ledger.submit(Command::Trim { id, why });
}

fn confirmed_by_owner(ledger: &FaultyLedger, id: SegmentId) {
    let (node, segments) = (id.node, vec![id]);
    ledger.submit(Command::UnlinkedOn { node, segments });
}

fn to_remove(ledger: &FaultyLedger) -> Vec<SegmentId> {
    ledger.read(|state| state.copies_to_remove(node(2)).collect())
}

/// The files below `segments/` that are named after a segment.
fn files_of(dir: &Path, id: SegmentId) -> Vec<String> {
    let folder = dir.join(file_of(id)).parent().unwrap().to_owned();
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = format!("{:012}.", id.index);
    let mut names: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
    names.sort();
    names
}

#[test]
fn a_copy_with_another_digest_is_kept_and_shown_and_never_read() {
    let dir = folder_of_second();
    let (_, records, payloads) = with_copies(dir.path());
    let mut other = records[1];
    other.digest[7] ^= 1;
    let ledger = FaultyLedger::of_node(node(2), &[records[0], other]);
    let (vault, writers) = open_second(dir.path(), &ledger);
    let entries = records[0].stats.entries as usize;
    let log = records[0].id.log();
    // At once, and after the look at all copies.
    assert_eq!(read_log(&vault, log), (payloads[..entries].to_vec(), 1));
    wait("the copy to be shown", || is_unreadable(&vault, other.id));
    assert_eq!(read_log(&vault, log), (payloads[..entries].to_vec(), 1));
    assert!(!vault.verify(other.id, &mut |_, _| {}).unwrap().ok);
    assert!(
        is_unreadable(&vault, other.id),
        "it can be opened, and is not what was sealed"
    );
    assert!(dir.path().join(file_of(other.id)).exists());
    assert!(matches!(vault.accept_loss(other.id), Err(VaultError::NotOwn(id)) if id == other.id));
    vault.close(writers);
}

#[test]
fn a_copy_is_shown_while_the_vault_runs_once_its_segment_is_sealed() {
    let (dir, elsewhere) = (folder_of_second(), tempfile::tempdir().unwrap());
    let (_, records, payloads) = with_copies(elsewhere.path());
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[]));
    let log = records[0].id.log();
    assert!(vault.copy_sealed(&records[0]).is_err(), "its file is not here");
    assert!(is_unreadable(&vault, records[0].id));
    for record in &records {
        let to = dir.path().join(file_of(record.id));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(elsewhere.path().join(file_of(record.id)), to).unwrap();
        let mut other = *record;
        other.digest = [0; 32];
        assert!(vault.copy_sealed(&other).is_err());
        assert!(is_unreadable(&vault, record.id));
        vault.copy_sealed(record).unwrap();
    }
    assert_eq!(read_log(&vault, log), (payloads, 0));
    let bytes: u64 = records.iter().map(|record| record.stats.stored_bytes).sum();
    assert_eq!(vault.status().sealed_bytes, bytes);
    vault.close(writers);
}

#[test]
fn a_complete_copy_of_what_is_not_sealed_and_a_file_on_no_record_are_not_read() {
    let dir = folder_of_second();
    let (_, records, _) = with_copies(dir.path());
    let ledger = FaultyLedger::of_node(node(2), &records[..1]);
    let open = FaultyLedger::open_of_first(&ledger, records[1].id);
    let (vault, writers) = open_second(dir.path(), &open);
    assert_eq!(state_of(&vault, records[1].id), None, "it waits for the seal");
    vault.close(writers);
    let (vault, writers) = open_second(dir.path(), &ledger);
    assert!(is_unreadable(&vault, records[1].id), "it is on no record");
    assert_eq!(read_log(&vault, records[0].id.log()).1, 1);
    vault.close(writers);
    assert!(dir.path().join(file_of(records[1].id)).exists());
}

#[test]
fn what_is_trimmed_goes_with_all_that_belongs_to_it_once_its_owner_has_confirmed() {
    let dir = folder_of_second();
    let (ledger, records, _) = with_copies(dir.path());
    let (gone, stays) = (records[0].id, records[1].id);
    let (vault, writers) = open_second(dir.path(), &ledger);
    let header: SegmentHeader = vault.describe(gone).unwrap().header.unwrap();
    vault.copies().fence(gone, 3).unwrap();
    vault.copies().fence(stays, 3).unwrap();
    vault.close(writers);
    let folder = dir.path().join(file_of(gone)).parent().unwrap().to_owned();
    for name in ["open", "mark", "doubt", "open.new", "seg.new"] {
        fs::write(folder.join(format!("{:012}.{name}", gone.index)), b"x").unwrap();
    }
    // The node is away when the segment is trimmed, and comes back before its owner has removed it.
    trim(&ledger, gone);
    let (vault, writers) = open_second(dir.path(), &ledger);
    assert_eq!(state_of(&vault, gone), None, "it is on record");
    assert_eq!(to_remove(&ledger), []);
    let refused = vault.copies().open(header).map(drop);
    let trimmed = FrameFault::Trimmed;
    assert!(matches!(refused, Err(VaultError::FrameRefused { why, .. }) if why == trimmed));
    assert_eq!(
        vault.copies().promised(gone).unwrap(),
        3,
        "its owner may still write it"
    );
    vault.close(writers);
    assert_eq!(files_of(dir.path(), gone).len(), 7);

    confirmed_by_owner(&ledger, gone);
    let (vault, writers) = open_second(dir.path(), &ledger);
    assert_eq!(to_remove(&ledger), [gone]);
    vault.trimmed(to_remove(&ledger));
    wait("the confirmation", || {
        ledger.read(|state| state.segment_state(gone)) == OnRecord::Gone
    });
    assert_eq!(files_of(dir.path(), gone), Vec::<String>::new());
    assert_eq!(files_of(dir.path(), stays).len(), 2, "the file and the promise");

    // A vault that runs.
    trim(&ledger, stays);
    confirmed_by_owner(&ledger, stays);
    assert!(vault.has_segment(stays));
    let (segments, away) = (dir.path().join("segments"), dir.path().join("away"));
    fs::rename(&segments, &away).unwrap();
    vault.trimmed(to_remove(&ledger));
    assert!(!vault.has_segment(stays));
    // Its file would come back with the folder.
    let is_gone = || ledger.read(|state| state.segment_state(stays)) == OnRecord::Gone;
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(100));
        assert!(!is_gone(), "what is away was confirmed as removed");
    }
    fs::rename(&away, &segments).unwrap();
    vault.copy_sealed(&records[1]).unwrap();
    assert!(!vault.has_segment(stays), "news of the seal came late");
    wait("the confirmation", || {
        ledger.read(|state| state.segment_state(stays)) == OnRecord::Gone
    });
    assert_eq!(files_of(dir.path(), stays), Vec::<String>::new());
    vault.close(writers);
}

#[test]
fn copies_fill_the_disk_which_takes_none_from_95_percent_on() {
    const BYTES: u64 = 1 << 30;
    let dir = folder_of_second();
    let (ledger, records, _) = with_copies(dir.path());
    let frames = dir
        .path()
        .join(file_of(records[1].id))
        .with_file_name("000000000099.open");
    fs::File::create(frames).unwrap().set_len(BYTES).unwrap();
    for (percent, tier) in [(97, DiskTier::RefuseReplicas), (92, DiskTier::Refuse)] {
        let options = VaultOptions {
            disk_limit: BYTES * 100 / percent,
            ..options(1)
        };
        let (vault, writers) = open_with(dir.path(), &ledger, &options);
        wait("the look at the disk", || vault.status().disk.own >= BYTES);
        wait("the tier", || vault.tier() == tier);
        let mut header: SegmentHeader = vault.describe(records[0].id).unwrap().header.unwrap();
        header.id.index = header.id.index.checked_next().unwrap().checked_next().unwrap();
        let opened = vault.copies().open(header).map(drop);
        match tier {
            DiskTier::RefuseReplicas => {
                let full = FrameFault::DiskFull;
                assert!(matches!(opened, Err(VaultError::FrameRefused { why, .. }) if why == full));
            }
            DiskTier::Normal | DiskTier::Evict | DiskTier::Refuse => opened.unwrap(),
        }
        vault.close(writers);
    }
}

#[test]
fn the_clock_of_a_vault_does_not_follow_the_seals_of_other_nodes() {
    const AHEAD: u64 = 10 * 365 * 24 * 3_600 * 1_000_000_000;
    let dir = folder_of_second();
    let (_, records, _) = with_copies(dir.path());
    let mut late = records[0];
    late.sealed_ns += AHEAD;
    let (vault, writers) = open_second(dir.path(), &FaultyLedger::of_node(node(2), &[late]));
    assert!(vault.clock_ns() < late.sealed_ns);
    vault.close(writers);
}

#[test]
fn what_is_wrong_with_a_copy_is_known_until_its_file_is_verified_and_good() {
    let dir = folder_of_second();
    let (ledger, records, _) = with_copies(dir.path());
    let [a, b] = [records[0].id, records[1].id];
    let [path_a, path_b] = [a, b].map(|id| dir.path().join(file_of(id)));
    let file_b = fs::read(&path_b).unwrap();
    fs::remove_file(&path_b).unwrap();
    let (vault, writers) = open_second(dir.path(), &ledger);
    let known = |id| vault.bad_copy(id).map(|bad| (bad.fault, bad.is_verified));
    wait("the file that is gone to be shown", || known(b).is_some());
    assert_eq!((known(a), known(b)), (None, Some((CopyFault::Missing, false))));
    assert!(vault.verify(b, &mut |_, _| {}).is_err());
    assert_eq!(known(b), Some((CopyFault::Missing, true)));

    // A reader's finding is a suspicion; a verification decides, and readers do not take its word back.
    let flip = || {
        let mut bytes = fs::read(&path_a).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&path_a, bytes).unwrap();
    };
    flip();
    read_log(&vault, a.log());
    assert_eq!(known(a), Some((CopyFault::Damaged, false)));
    assert!(!vault.verify(a, &mut |_, _| {}).unwrap().ok);
    read_log(&vault, a.log());
    assert_eq!(known(a), Some((CopyFault::Damaged, true)));
    let counts = vault.status().bad_copies;
    assert_eq!(counts, [("missing", 1), ("unreadable", 0), ("damaged", 1)]);
    assert_eq!(vault.bad_copies().iter().map(|bad| bad.id).collect::<Vec<_>>(), [a, b]);

    // Mended by hand: the verification says so.
    flip();
    assert!(vault.verify(a, &mut |_, _| {}).unwrap().ok);
    fs::write(&path_b, &file_b).unwrap();
    vault.copy_sealed(&records[1]).unwrap();
    assert_eq!(known(b), Some((CopyFault::Missing, false)), "it is to be verified");
    assert!(vault.verify(b, &mut |_, _| {}).unwrap().ok);
    assert!(vault.bad_copies().is_empty());

    // A look at a few pages sees what is cut off, and whose it is.
    assert!(vault.spot_check(a));
    assert_eq!(known(a), None);
    let whole = fs::read(&path_a).unwrap();
    fs::write(&path_a, &whole[..whole.len() - 1]).unwrap();
    assert!(!vault.spot_check(a));
    assert_eq!(known(a), Some((CopyFault::Damaged, false)));
    assert_eq!(vault.next_sealed(None), Some(a));
    assert_eq!(vault.next_sealed(Some(a)), Some(b));
    assert_eq!(vault.next_sealed(Some(b)), None);
    let seen = vault.folder_of(a.log());
    assert!(seen.is_ours && seen.is_there, "{seen:?}");
    assert_eq!((seen.copies, seen.unreadable), (2, 0));
    fs::write(dir.path().join("segments/storage_uuid"), "another").unwrap();
    assert!(!vault.folder_of(a.log()).is_ours);
    vault.close(writers);
}

fn header(id: SegmentId) -> SegmentHeader {
    SegmentHeader {
        id,
        epoch: gophership_vault::ids::Epoch::FIRST,
        file_uuid: gophership_vault::ids::FileUuid(uuid::Uuid::nil()),
        cluster_id: gophership_vault::ids::ClusterId(uuid::Uuid::nil()),
        created_ns: 1,
        tenants: vec![gophership_vault::Tenant::default_tenant()],
    }
}

/// The first segment of a node.
fn first_of(node: NodeId) -> SegmentId {
    SegmentId {
        node,
        shard: gophership_vault::ids::ShardId::new(0),
        index: gophership_vault::ids::SegmentIndex::FIRST,
    }
}

/// A store of copies of node 2.
fn store(dir: &Path) -> gophership_vault::CopyStore {
    gophership_vault::CopyStore::in_folder(dir, node(2)).unwrap()
}

#[test]
#[should_panic(expected = "a node keeps no copy of its own segment")]
fn a_copy_of_an_own_segment_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let _ = store(dir.path()).open(header(first_of(node(2))));
}

#[test]
#[should_panic(expected = "a node keeps no copy of its own segment")]
fn to_read_a_copy_of_an_own_segment_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let first = gophership_vault::ids::EntryNumber::FIRST;
    let _ = store(dir.path()).read_entries(first_of(node(2)), first, first, &mut |_| true);
}

#[test]
#[should_panic(expected = "a node keeps no copy of its own segment")]
fn to_show_an_own_segment_as_a_copy_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let (_, records, _) = with_copies(dir.path());
    let own = tempfile::tempdir().unwrap();
    let (vault, _writers) = open(own.path(), &Arc::default(), &options(1));
    let _ = vault.copy_sealed(&records[0]);
}

#[test]
#[should_panic(expected = "other nodes' segments are in the store of copies")]
fn to_fence_another_nodes_segment_as_an_own_one_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, _writers) = open(dir.path(), &Arc::default(), &options(1));
    let _ = vault.fence_own(first_of(node(2)), 1);
}

#[test]
#[should_panic(expected = "other nodes' segments are in the store of copies")]
fn to_make_another_nodes_segment_as_an_own_one_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, _writers) = open(dir.path(), &Arc::default(), &options(1));
    let end = gophership_vault::segment_end(&[]).unwrap();
    let header = header(first_of(node(2)));
    let _ = vault.rebuild_own(&header, 1, &end, &mut |_, _, _, _| panic!("nothing is fetched"));
}

//! Damaged bytes on disk: each costs at most the entry (WAL) or the block (segment) it is in, is reported and kept, and
//! never stops the rest.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gophership_vault::entry::EntryState;
use gophership_vault::ids::{Lsn, SegmentId};
use gophership_vault::ledger::Ledger;
use gophership_vault::{
    BlockRow, BlockSink, DataDir, Hole, HoleReason, ScanFault, SegmentHeader, ShardSeam, StoredEntry, TailFrame, Vault,
    VaultOptions,
};
use support::*;

const PAGE: usize = 4096;

/// A block sink that discards every block: with it the cutter writes blocks at once.
struct Nowhere;

impl BlockSink for Nowhere {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &SegmentHeader) {}
    fn frame(&mut self, _: TailFrame<'_>) {}
    fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
}

/// A data directory as a crash left it: one WAL file with entries 1 to n and, where asked for, an idle mark.
struct Crashed {
    dir: tempfile::TempDir,
    ledger: Arc<FaultyLedger>,
    payloads: Vec<Vec<u8>>,
}

impl Crashed {
    fn new(entries: u64, idle: bool, open_file: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger: Arc<FaultyLedger> = Arc::default();
        let sink = open_file.then(|| Box::new(Nowhere) as Box<dyn BlockSink>);
        let seam = ShardSeam {
            sink,
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
        let payloads: Vec<Vec<u8>> = (1..=entries)
            .map(|n| payload(n, 40 + (n as usize * 97) % 700))
            .collect();
        for (n, payload) in payloads.iter().enumerate() {
            let lsn = append(&mut writers[0], n as u64, payload);
            wait_acked(&writers[0], lsn);
        }
        if idle {
            writers[0].must_tick();
            writers[0].must_tick();
        }
        // The cutter takes all entries before it sees the end.
        drop(vault);
        drop(writers);
        Self { dir, ledger, payloads }
    }

    fn wal(&self) -> PathBuf {
        self.dir.path().join("wal/0000000001/0000/000000000001.wal")
    }

    /// Offsets of the entries' headers, followed by that of the idle mark or of free space.
    fn offsets(&self) -> Vec<usize> {
        let mut at = PAGE;
        let mut offsets = vec![at];
        for payload in &self.payloads {
            at += (64 + payload.len()).next_multiple_of(8);
            offsets.push(at);
        }
        offsets
    }

    /// A copy of the directory, which a test may damage.
    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(self.dir.path(), dir.path());
        Self {
            dir,
            ledger: self.ledger.copy(),
            payloads: self.payloads.clone(),
        }
    }

    fn damaged(&self, damage: impl FnOnce(&mut Vec<u8>)) -> Self {
        let copy = self.copy();
        let mut bytes = fs::read(copy.wal()).unwrap();
        damage(&mut bytes);
        fs::write(copy.wal(), bytes).unwrap();
        copy
    }

    fn restart(&self) -> (Vault, Vec<gophership_vault::ShardWriter>) {
        let (vault, writers) = open(self.dir.path(), &self.ledger, &options(1));
        wait_recovered(&vault);
        (vault, writers)
    }

    /// Restarts, and checks that exactly the entries `lost` are missing, that this was reported, and that the bytes are
    /// kept.
    fn check(&self, what: &str, lost: &[u32], quarantined: usize) {
        let (vault, mut writers) = self.restart();
        let (entries, faults) = read(&vault, 0);
        self.check_entries(what, &entries, lost);
        assert_eq!(numbers(&faults), lost, "{what}: what is lost is reported: {faults:?}");
        let kept = vault.quarantined();
        assert_eq!(kept.len(), quarantined, "{what}: {kept:#?}");
        assert_eq!(vault.status().quarantined, quarantined as u64);
        check_quarantine(self.dir.path(), quarantined);
        assert_eq!(vault.status().unreadable_segments, 0, "{what}");
        // Start-up was not held up, and the log goes on.
        let lsn = append(&mut writers[0], 99, b"next");
        wait_acked(&writers[0], lsn);
        let (again, _) = read(&vault, 0);
        assert_eq!(again.len(), entries.len() + 1, "{what}");
        for record in sealed(&vault) {
            assert!(
                vault.verify(record.id, &mut |_, _| {}).unwrap().ok,
                "{what}: what was cut again is whole"
            );
        }
        vault.close(writers);
    }

    fn check_entries(&self, what: &str, entries: &[StoredEntry], lost: &[u32]) {
        let got: BTreeMap<u32, &[u8]> = entries.iter().map(|e| (e.lsn.number().get(), &e.payload[..])).collect();
        let wanted: BTreeMap<u32, &[u8]> = (1..)
            .zip(&self.payloads)
            .filter(|(n, _)| !lost.contains(n))
            .map(|(n, p)| (n, &p[..]))
            .collect();
        assert!(got == wanted, "{what}: {:?} instead of {:?}", got.keys(), wanted.keys());
    }
}

fn numbers(faults: &[ScanFault]) -> Vec<u32> {
    faults
        .iter()
        .filter_map(|f| f.numbers)
        .flat_map(|(first, last)| first.get()..=last.get())
        .collect()
}

/// Checks that each range in quarantine is there with its record, and has the length that the record says.
fn check_quarantine(data: &Path, count: usize) {
    let mut reasons = 0;
    for entry in fs::read_dir(data.join("quarantine")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.to_str().unwrap().strip_suffix(".reason.json").map(str::to_owned) else {
            continue;
        };
        let reason: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(reason["format"], 1);
        assert_eq!(
            fs::read(format!("{stem}.bin")).unwrap().len() as u64,
            reason["length"].as_u64().unwrap(),
            "{reason}"
        );
        reasons += 1;
    }
    assert_eq!(reasons, count);
}

fn flip(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at] ^= 0x10
}

fn zero_sector(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at - at % 512..][..512].fill(0)
}

#[test]
fn a_damaged_wal_header_page_costs_nothing_and_is_kept() {
    let crashed = Crashed::new(8, true, false);
    let last = options(1).segment_size as usize - PAGE;
    for at in [0, 33, 90, 4095] {
        crashed
            .damaged(flip(at))
            .check(&format!("first page, byte {at}"), &[], 1);
        crashed
            .damaged(flip(last + at))
            .check(&format!("last page, byte {at}"), &[], 1);
    }
    crashed.damaged(zero_sector(0)).check("first page, sector", &[], 1);
    let both = |b: &mut Vec<u8>| {
        b[..PAGE].fill(0);
        b[last..].fill(0);
    };
    crashed
        .damaged(both)
        .check("both pages gone: the catalogue knows", &[], 2);
}

#[test]
fn a_damaged_wal_entry_costs_that_entry_alone() {
    let crashed = Crashed::new(12, true, false);
    let offsets = crashed.offsets();
    for n in [1u32, 5, 12] {
        let at = offsets[n as usize - 1];
        // crc, length, lsn, durable mark, times, tenant, state, tag, payload
        for byte in [0, 4, 7, 8, 12, 16, 20, 30, 52, 57, 60, 63, 64, 70] {
            crashed
                .damaged(flip(at + byte))
                .check(&format!("entry {n}, byte {byte}"), &[n], 1);
        }
    }
}

#[test]
fn a_zeroed_sector_costs_the_entries_it_touches() {
    let crashed = Crashed::new(12, true, false);
    let offsets = crashed.offsets();
    for at in [offsets[0], offsets[3] + 10, offsets[7] - 1, offsets[11] + 3] {
        let sector = at - at % 512..at - at % 512 + 512;
        let lost: Vec<u32> = (1..=12)
            .filter(|n| {
                let payload = &crashed.payloads[*n as usize - 1];
                let from = offsets[*n as usize - 1];
                from < sector.end && sector.start < from + 64 + payload.len()
            })
            .collect();
        let copy = crashed.damaged(zero_sector(at));
        let (vault, writers) = copy.restart();
        let (entries, faults) = read(&vault, 0);
        copy.check_entries(&format!("sector at {at}"), &entries, &lost);
        assert_eq!(numbers(&faults), lost, "sector at {at}");
        assert!(!vault.quarantined().is_empty());
        vault.close(writers);
    }
}

#[test]
fn a_damaged_idle_mark_costs_nothing() {
    let crashed = Crashed::new(4, true, false);
    let at = *crashed.offsets().last().unwrap();
    for byte in [0, 8, 16, 57, 60] {
        // Nothing follows it, so nothing says that it was ever durable.
        crashed
            .damaged(flip(at + byte))
            .check(&format!("idle mark, byte {byte}"), &[], 0);
    }
}

#[test]
fn a_damaged_idle_mark_between_entries_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut payloads = Vec::new();
    for n in 0..4 {
        let lsn = append(&mut writers[0], n, &payload(n, 100));
        wait_acked(&writers[0], lsn);
        payloads.push(payload(n, 100));
        writers[0].must_tick();
        writers[0].must_tick();
    }
    drop((vault, writers));
    let crashed = Crashed { dir, ledger, payloads };
    let second_mark = PAGE + 2 * 168 + 64;
    crashed
        .damaged(flip(second_mark + 9))
        .check("an idle mark between entries", &[], 1);
}

#[test]
fn a_durable_tail_that_is_gone_is_reported_and_one_that_was_never_synced_is_not() {
    let crashed = Crashed::new(6, true, false);
    let offsets = crashed.offsets();
    crashed
        .damaged(|b| b[offsets[4]..offsets[6]].fill(0))
        .check("the last two, before an idle mark", &[5, 6], 1);
    // Without the idle mark the mark in entry 6 is 5; with 6 gone too, the highest known mark is 4.
    let unmarked = Crashed::new(6, false, false);
    unmarked.damaged(|b| b[offsets[5]..offsets[6]].fill(0)).check_void(
        "the last one, of which no mark speaks",
        &[1, 2, 3, 4, 5],
        &[],
    );
}

impl Crashed {
    /// Checks a directory whose last entries are void: they are neither there nor reported.
    fn check_void(&self, what: &str, there: &[u32], holes: &[(u32, u32)]) {
        let (vault, writers) = self.restart();
        let (entries, faults) = read(&vault, 0);
        assert_eq!(faults, [], "{what}");
        let void: Vec<u32> = (1..=self.payloads.len() as u32)
            .filter(|n| !there.contains(n))
            .collect();
        self.check_entries(what, &entries, &void);
        assert_eq!(vault.quarantined(), [], "{what}: what was never synced is no damage");
        let found: Vec<Hole> = sealed(&vault)
            .iter()
            .flat_map(|r| vault.describe(r.id).unwrap().holes)
            .collect();
        let found: Vec<(u32, u32, HoleReason)> =
            found.iter().map(|h| (h.first.get(), h.last.get(), h.reason)).collect();
        let wanted: Vec<_> = holes
            .iter()
            .map(|(first, last)| (*first, *last, HoleReason::UnsyncedTail))
            .collect();
        assert_eq!(found, wanted, "{what}");
        vault.close(writers);
    }
}

/// A WAL whose entries carry no durable mark above `marked`: as if the machine lost power while the others were being
/// synced.
fn unsynced_after(marked: u64, entries: u64) -> Crashed {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut payloads = Vec::new();
    for n in 1..=marked {
        payloads.push(payload(n, 300));
        let lsn = append(&mut writers[0], n, &payload(n, 300));
        wait_acked(&writers[0], lsn);
    }
    drop((vault, writers));
    // The rest is written as the writer does it, with the last durable mark known then.
    let crashed = Crashed { dir, ledger, payloads };
    let crashed = crashed.damaged(|bytes| {
        let uuid: [u8; 16] = bytes[32..48].try_into().unwrap();
        let hash = blake3::hash(&uuid);
        let tag = &hash.as_bytes()[..4];
        let mut at = PAGE + marked as usize * 368;
        for n in marked + 1..=entries {
            let payload = payload(n, 300);
            let mut entry = vec![0u8; 64];
            entry[4..8].copy_from_slice(&300u32.to_le_bytes());
            entry[8..16].copy_from_slice(&(1 << 32 | n).to_le_bytes());
            entry[16..24].copy_from_slice(&(1 << 32 | marked).to_le_bytes());
            entry[48..52].copy_from_slice(&1u32.to_le_bytes());
            entry[60..64].copy_from_slice(tag);
            entry.extend_from_slice(&payload);
            let mut crc = crc32fast::Hasher::new();
            crc.update(&uuid);
            crc.update(&entry[4..]);
            entry[..4].copy_from_slice(&crc.finalize().to_le_bytes());
            bytes[at..at + entry.len()].copy_from_slice(&entry);
            at += 368;
        }
    });
    let payloads = (1..=entries).map(|n| payload(n, 300)).collect();
    Crashed {
        dir: crashed.dir,
        ledger: crashed.ledger,
        payloads,
    }
}

#[test]
fn an_unsynced_tail_is_void_whatever_of_it_reached_the_disk() {
    let crashed = unsynced_after(4, 10);
    crashed
        .copy()
        .check_void("all of it arrived", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[]);
    let at = |n: usize| PAGE + (n - 1) * 368;
    crashed
        .damaged(|b| b[at(7)..at(11)].fill(0))
        .check_void("a torn end", &[1, 2, 3, 4, 5, 6], &[]);
    crashed.damaged(|b| b[at(6)..at(9)].fill(0)).check_void(
        "a hole before valid entries",
        &[1, 2, 3, 4, 5, 9, 10],
        &[(6, 8)],
    );
    crashed
        .damaged(|b| b[at(6) + 200] ^= 1)
        .check_void("a torn entry", &[1, 2, 3, 4, 5, 7, 8, 9, 10], &[(6, 6)]);
    // The same damage at the mark is corruption.
    crashed
        .damaged(|b| b[at(4) + 200] ^= 1)
        .check("the last durable entry", &[4], 1);
}

#[test]
fn what_a_later_boot_synced_says_nothing_of_an_earlier_boots_tail() {
    let crashed = unsynced_after(4, 10);
    let crashed = crashed.damaged(|b| b[PAGE + 5 * 368..PAGE + 8 * 368].fill(0));
    // The next boot acknowledges entries, and dies before it has recovered the file.
    let kept = crashed.copy();
    let (vault, mut writers) = open(crashed.dir.path(), &crashed.ledger, &options(1));
    for n in 0..3 {
        let lsn = append(&mut writers[0], n, b"of the second boot");
        wait_acked(&writers[0], lsn);
    }
    let index = writers[0].last_written().unwrap().index();
    drop((vault, writers));
    // The second boot looks as if it had not come to the recovery: the first boot's file and record are back, beside
    // those of the second.
    let second = format!("wal/0000000001/0000/{index:012}.wal");
    fs::copy(crashed.dir.path().join(&second), kept.dir.path().join(&second)).unwrap();
    kept.ledger.take_open(&crashed.ledger, index);
    let (vault, writers) = kept.restart();
    let (entries, faults) = read(&vault, 0);
    assert_eq!(faults, []);
    assert_eq!(entries.len(), 7 + 3);
    assert_eq!(vault.quarantined(), [], "an unsynced tail is no damage");
    vault.close(writers);
}

#[test]
fn a_bad_wal_entry_is_taken_from_the_open_segment() {
    let crashed = Crashed::new(10, true, true);
    let offsets = crashed.offsets();
    for n in [1usize, 6, 10] {
        crashed
            .damaged(flip(offsets[n - 1] + 70))
            .check(&format!("entry {n}"), &[], 1);
    }
    crashed.damaged(|b| b[PAGE..60000].fill(0)).check("all of it", &[], 0);
}

#[test]
fn files_that_nobody_knows_are_left_where_they_are() {
    let crashed = Crashed::new(3, true, false);
    let strangers = [
        "wal/0000000001/0000/notes.txt",
        "wal/other",
        "segments/0000000001/0000/000000000077.seg",
        "segments/0000000001/0000/000000000078.open",
        "quarantine/x.bin",
    ];
    fs::create_dir_all(crashed.dir.path().join("segments/0000000001/0000")).unwrap();
    for name in strangers {
        fs::write(crashed.dir.path().join(name), b"mine").unwrap();
    }
    // The check runs at the first start, and at those after it, when new indexes are above theirs.
    for start in 1..=3 {
        let (vault, mut writers) = crashed.restart();
        let lsn = append(&mut writers[0], 99, b"next");
        wait_acked(&writers[0], lsn);
        assert!(lsn.index().get() > 78, "an index is not used twice");
        wait("two unknown segments to be shown", || {
            vault.status().unreadable_segments == 2
        });
        vault.close(writers);
        for name in strangers {
            let path = crashed.dir.path().join(name);
            assert_eq!(fs::read(path).unwrap(), b"mine", "{name} after start {start}");
        }
    }
}

#[test]
fn a_wal_file_that_cannot_be_read_is_shown_and_does_not_stop_the_rest() {
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut off", vec![0u8; 100]),
        ("garbage", vec![0xA5; 65536]),
    ] {
        let crashed = Crashed::new(3, true, false);
        let (vault, mut writers) = crashed.restart();
        let lsn = append(&mut writers[0], 1, b"second boot");
        wait_acked(&writers[0], lsn);
        drop((vault, writers));
        let path = crashed
            .dir
            .path()
            .join(format!("wal/0000000001/0000/{:012}.wal", lsn.index()));
        fs::write(path, &bytes).unwrap();
        let (vault, writers) = crashed.restart();
        let (entries, faults) = read(&vault, 0);
        crashed.check_entries(what, &entries, &[]);
        let lost: Vec<_> = faults.iter().map(|f| f.segment.index).collect();
        assert_eq!(
            lost,
            [lsn.index()],
            "{what}: what was acknowledged is missing, and not as if it never was"
        );
        vault.close(writers);
    }
}

#[test]
fn a_cut_off_wal_file_keeps_what_is_before_the_cut() {
    let crashed = Crashed::new(12, true, false);
    let end = crashed.offsets()[9] + 3;
    let copy = crashed.damaged(|b| b.truncate(end));
    let (vault, writers) = copy.restart();
    let (entries, _) = read(&vault, 0);
    copy.check_entries("cut off", &entries, &[10, 11, 12]);
    vault.close(writers);
}

#[test]
fn a_wal_file_that_is_on_no_record_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let before = ledger.copy();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 1, b"acknowledged");
    wait_acked(&writers[0], lsn);
    drop((vault, writers));
    let path = dir.path().join(format!("wal/0000000001/0000/{:012}.wal", lsn.index()));
    let bytes = fs::read(&path).unwrap();
    // The catalogue looks as if it had been put back from a backup.
    let (vault, mut writers) = open(dir.path(), &before, &options(1));
    let new = append(&mut writers[0], 2, b"later");
    wait_acked(&writers[0], new);
    wait_recovered(&vault);
    assert!(new.index() > lsn.index());
    vault.close(writers);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_follower_waits_for_what_a_live_file_cannot_give_and_finds_it_in_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut next = 1;
    let mut put = |writer: &mut gophership_vault::ShardWriter| {
        let lsn = append(writer, next, &payload(next, 960));
        next += 1;
        wait_acked(writer, lsn);
    };
    (1..=7).for_each(|_| put(&mut writers[0]));
    let shard = gophership_vault::ids::ShardId::new(0);
    let mut follower = vault.follower(shard, None);
    let path = dir.path().join("wal/0000000001/0000/000000000001.wal");
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut good = [0u8; 4];
    let at = PAGE as u64 + 4 * 1024 + 70;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut good, at).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"????", at).unwrap();
    let mut there = Vec::new();
    let mut step = |follower: &mut gophership_vault::ShardCursor| {
        for found in follower.by_ref() {
            there.push(u64::from(found.expect("nothing is passed over").lsn.number().get()));
        }
        there.len()
    };
    assert_eq!(step(&mut follower), 4);
    assert!(
        follower.waits().is_some_and(|why| why.contains("waits until segment")),
        "{:?}",
        follower.waits()
    );
    assert_eq!(step(&mut follower), 4, "it stays there");
    // Bytes that the disk returned wrong once it may return right another time.
    std::os::unix::fs::FileExt::write_all_at(&file, &good, at).unwrap();
    wait("the segment", || {
        put(&mut writers[0]);
        !sealed(&vault).is_empty()
    });
    follower.extend(vault.readable(shard));
    assert!(step(&mut follower) > 7);
    assert_eq!(follower.waits(), None);
    vault.close(writers);
}

/// A sealed segment of several blocks, some of one entry and some of more, with entries set apart, in an open vault.
struct Sealed {
    _dir: tempfile::TempDir,
    vault: Vault,
    writers: Vec<gophership_vault::ShardWriter>,
    id: SegmentId,
    entries: Vec<StoredEntry>,
    blocks: Vec<BlockRow>,
    path: PathBuf,
}

/// The length of payloads of which two fill a block. They compress to a few hundred bytes.
const HALF_A_BLOCK: usize = 132 << 10;

fn sealed_segment(apart_bytes: usize) -> Sealed {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    // A segment with entries is rolled at the first tick.
    let options = VaultOptions {
        segment_size: 1 << 20,
        segment_age: Duration::ZERO,
        ..options(1)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    for n in 1..=10 {
        let mut meta = meta(n);
        let mut len = HALF_A_BLOCK;
        if n % 3 == 0 {
            meta.state = EntryState::NOT_UTF8;
            len = apart_bytes;
        }
        append_as(&mut writers[0], &meta, &payload(n, len));
    }
    wait("the roll", || {
        writers[0].must_tick();
        !sealed(&vault).is_empty()
    });
    let id = sealed(&vault)[0].id;
    let (entries, faults) = read(&vault, 0);
    assert_eq!((entries.len(), faults.len()), (10, 0));
    let blocks = vault.describe(id).unwrap().blocks;
    assert!(blocks.len() >= 4);
    let path = vault.segment_file(id);
    Sealed {
        _dir: dir,
        vault,
        writers,
        id,
        entries,
        blocks,
        path,
    }
}

impl Sealed {
    /// Reads the segment with `bytes` at `offset` of its file, and puts the file back. Every entry that is returned
    /// must be as it was appended, and the missing entries must be whole blocks and reported. Returns the number of
    /// lost blocks.
    fn check(&self, what: &str, offset: u64, bytes: &[u8]) -> usize {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, offset).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        let (entries, faults) = read(&self.vault, 0);
        let report = self.vault.verify(self.id, &mut |_, _| {}).unwrap();
        file.write_all_at(&before, offset).unwrap();
        assert!(!report.ok || before == bytes, "{what}: not noticed by verify");
        let mut lost: Vec<u32> = Vec::new();
        let mut got = entries.iter().peekable();
        for wanted in &self.entries {
            match got.next_if(|e| e.lsn == wanted.lsn) {
                Some(entry) => assert!(entry == wanted, "{what}: a wrong entry was given"),
                None => lost.push(wanted.lsn.number().get()),
            }
        }
        assert!(got.next().is_none(), "{what}: an entry was invented");
        let mut reported = numbers(&faults);
        reported.sort_unstable();
        assert_eq!(lost, reported, "{what}: what is lost is what is reported: {faults:?}");
        let hit: Vec<&BlockRow> = self.blocks.iter().filter(|b| lost.contains(&b.first.get())).collect();
        let of_blocks: Vec<u32> = hit.iter().flat_map(|b| b.first.get()..=b.last.get()).collect();
        assert_eq!(lost, of_blocks, "{what}: whole blocks");
        hit.len()
    }

    fn end(self) {
        check_quarantine(self._dir.path(), self.vault.quarantined().len());
        self.vault.close(self.writers);
    }
}

#[test]
fn i5_a_follower_waits_at_damage_that_other_nodes_may_give_and_has_it_noted() {
    let segment = sealed_segment(30);
    let (block, shard) = (segment.blocks[1], segment.id.shard);
    let before = segment.entries.iter().filter(|e| e.lsn.number() < block.first).count();
    let flip = || {
        let mut bytes = fs::read(&segment.path).unwrap();
        bytes[(block.offset + block.stored_bytes / 2) as usize] ^= 1;
        fs::write(&segment.path, bytes).unwrap();
    };
    flip();
    let is_elsewhere = |is| move |_| is;
    for (what, from) in [("from the beginning", None), ("within the damage", Some(before))] {
        let from = from.map(|at: usize| segment.entries[at].lsn);
        let left = from.map_or(before, |_| 0);
        let mut alone = segment.vault.follower(shard, from).leave_to(is_elsewhere(false));
        let passed = alone.by_ref().filter(Result::is_err).count();
        assert_eq!((passed, alone.waits()), (1, None), "{what}: nobody else has it");
        let mut follower = segment.vault.follower(shard, from).leave_to(is_elsewhere(true));
        for _ in 0..2 {
            let given = follower.by_ref().map(|found| found.expect("nothing is passed over"));
            assert!(given.count() <= left, "{what}");
            let why = follower.waits().unwrap_or_default();
            assert!(
                why.contains("is damaged here") && why.contains("other nodes"),
                "{what}: {why}"
            );
            assert_eq!(follower.position().number(), block.first, "{what}");
        }
        let bad: Vec<SegmentId> = segment.vault.bad_copies().into_iter().map(|bad| bad.id).collect();
        assert_eq!(bad, [segment.id], "{what}");
        flip();
        assert_eq!(
            follower.by_ref().filter_map(Result::ok).count(),
            10 - before,
            "{what}: mended"
        );
        flip();
    }
    flip();
    segment.end();
}

#[test]
fn any_flipped_bit_in_a_segment_costs_at_most_its_block_and_is_noticed() {
    let segment = sealed_segment(30);
    let bytes = fs::read(&segment.path).unwrap();
    let (first, last) = (segment.blocks[0], segment.blocks[segment.blocks.len() - 1]);
    // Every check reads all of it: a prime step meets each field of each frame somewhere.
    for (at, byte) in bytes.iter().enumerate().step_by(13) {
        let bit = at % 8;
        let lost = segment.check(&format!("byte {at} bit {bit}"), at as u64, &[byte ^ (1 << bit)]);
        let in_blocks = (first.offset..last.offset + last.stored_bytes).contains(&(at as u64));
        assert_eq!(lost, usize::from(in_blocks), "byte {at} bit {bit}");
    }
    segment.end();
}

#[test]
fn a_zeroed_sector_in_a_segment_costs_the_blocks_it_touches() {
    let segment = sealed_segment(700);
    let bytes = fs::read(&segment.path).unwrap();
    let mut lost_any = false;
    for from in (0..bytes.len()).step_by(512) {
        let sector = from as u64..(from as u64 + 512).min(bytes.len() as u64);
        let touched = segment
            .blocks
            .iter()
            .filter(|b| b.offset < sector.end && sector.start < b.offset + b.stored_bytes)
            .count();
        let lost = segment.check(
            &format!("sector at {from}"),
            sector.start,
            &vec![0; (sector.end - sector.start) as usize],
        );
        assert!(lost <= touched, "sector at {from}: {lost} of {touched}");
        lost_any |= lost > 0;
    }
    assert!(lost_any);
    segment.end();
}

#[test]
fn with_its_footer_gone_a_segment_is_read_by_its_frames() {
    let segment = sealed_segment(200);
    let len = fs::metadata(&segment.path).unwrap().len();
    let last = segment.blocks[segment.blocks.len() - 1];
    let footer = last.offset + last.stored_bytes;
    assert_eq!(segment.check("footer", footer, &vec![0xFF; (len - footer) as usize]), 0);
    for (i, block) in segment.blocks.iter().enumerate() {
        // The block's own frame, and everything behind the last block.
        let file = OpenOptions::new().read(true).write(true).open(&segment.path).unwrap();
        let mut frame = vec![0; 64];
        file.read_exact_at(&mut frame, block.offset).unwrap();
        file.write_all_at(&[0; 64], block.offset).unwrap();
        assert_eq!(
            segment.check(
                &format!("footer and block {i}"),
                footer,
                &vec![0xFF; (len - footer) as usize]
            ),
            1
        );
        file.write_all_at(&frame, block.offset).unwrap();
    }
    segment.end();
}

#[test]
fn a_missing_segment_file_is_reported_and_does_not_stop_the_rest() {
    let segment = sealed_segment(50);
    fs::remove_file(&segment.path).unwrap();
    let (entries, faults) = read(&segment.vault, 0);
    assert_eq!((entries.len(), faults.len()), (0, 1));
    assert_eq!(faults[0].segment, segment.id);
    segment.vault.close(segment.writers);
}

#[test]
fn a_segment_that_lost_its_only_entry_is_reported_though_it_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let lsn = append(&mut writers[0], 1, b"the only one");
    wait_acked(&writers[0], lsn);
    vault.close(writers);
    let wal = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("wal/0000000001/0000/000000000001.wal"))
        .unwrap();
    wal.write_all_at(b"X", 4096 + 64 + 4).unwrap();
    wal.sync_all().unwrap();
    let (vault, writers) = open(dir.path(), &ledger, &options(1));
    let (entries, faults) = read(&vault, 0);
    assert_eq!((entries.len(), faults.len()), (0, 1), "{faults:?}");
    assert_eq!(vault.status().quarantined, 1);
    vault.close(writers);
}

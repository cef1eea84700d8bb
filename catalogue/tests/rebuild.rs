//! A catalogue that is lost, damaged or an older backup is made anew from the files, and every entry is read again.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;
use gophership_catalogue::local::{Rebuilt, rebuild};
use gophership_catalogue::{Catalogue, CatalogueError, LocalCatalogue};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{ShardId, TenantId};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{
    DataDir, OnFull, Release, SegmentState, ShardSeam, ShardWriter, Vault, VaultOptions, take_inventory,
};
use uuid::Uuid;

const META: EntryMeta = EntryMeta {
    received_ns: 1,
    min_event_ns: 1,
    max_event_ns: 1,
    record_count: 1,
    tenant: TenantId::DEFAULT,
    encoding: Encoding::Identity,
    state: EntryState::PLAIN,
};

const YEAR_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;

struct Node {
    vault: Vault,
    writers: Vec<ShardWriter>,
    catalogue: Arc<dyn Catalogue>,
}

fn start(path: &Path) -> Result<Node, CatalogueError> {
    let data = DataDir::open(path, true).unwrap();
    let catalogue: Arc<dyn Catalogue> = Arc::new(LocalCatalogue::open(&path.join("catalogue.redb"), data.identity())?);
    let seen = data.highest_epoch().unwrap();
    let epoch = catalogue.node_up(Uuid::new_v4(), seen)?;
    assert!(Some(epoch) > seen, "an epoch is never granted twice");
    let options = VaultOptions {
        shards: 1,
        segment_size: 64 * 1024,
        segment_age: Duration::from_secs(3600),
        spares: 2,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(3600),
        release: Release::AtRetention,
        on_full: OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
    };
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let (vault, writers) = Vault::open(data, &options, epoch, catalogue.ledger(), seams).unwrap();
    Ok(Node {
        vault,
        writers,
        catalogue,
    })
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Node {
    /// Appends entries until `segments` more are sealed; returns the number of entries, the `before` ones included.
    fn fill(&mut self, before: u64, segments: u64) -> u64 {
        let from = self.vault.status().sealed_since_start;
        let mut n = before;
        wait("seals", || {
            let payload = vec![n as u8; 1000];
            let appended = self.writers[0].must_append(&META, payload.len(), std::iter::once(&payload[..]));
            n += u64::from(appended.is_ok());
            self.vault.status().sealed_since_start >= from + segments
        });
        let last = self.writers[0].last_written();
        wait("the last ack", || self.writers[0].watermark().acked() >= last);
        n
    }

    /// The payloads that can be read, and the number of missing ranges.
    fn read(&self) -> (u64, usize) {
        wait("recovery", || self.vault.status().recovering_segments == 0);
        let found: Vec<_> = self.vault.cursor(ShardId::new(0), None, TimeRange::ALL).collect();
        let entries = found.iter().filter(|f| f.is_ok()).count();
        (entries as u64, found.len() - entries)
    }
}

fn rebuilt(path: &Path) -> Rebuilt {
    let data = DataDir::open(path, true).unwrap();
    // The wall clock is far ahead.
    let found = take_inventory(&data, now_unix_nano() + 10 * YEAR_NS).unwrap();
    assert_eq!(found.unreadable, []);
    rebuild(&path.join("catalogue.redb"), &data.identity(), &found).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A folder of a node that ended abruptly, with sealed segments and an open one, and the number of its entries.
fn ended() -> (tempfile::TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(dir.path()).unwrap();
    let entries = node.fill(0, 3);
    drop(node);
    (dir, entries)
}

#[test]
fn a_lost_catalogue_is_refused_and_made_anew() {
    let (dir, entries) = ended();
    let path = dir.path().join("catalogue.redb");
    fs::remove_file(&path).unwrap();
    let refused = start(dir.path()).err().unwrap();
    assert!(
        refused.to_string().contains("gophership catalogue rebuild"),
        "{refused}"
    );
    let told = rebuilt(dir.path());
    assert!(
        told.taken_in.len() >= 4 && told.lost.is_some() && told.former.is_none(),
        "{told:?}"
    );
    let mut node = start(dir.path()).unwrap();
    assert!(node.catalogue.read(|s| s.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some()));
    assert_eq!(node.read(), (entries, 0));
    let more = node.fill(entries, 1);
    assert_eq!(node.read(), (more, 0));
}

#[test]
fn an_older_backup_takes_in_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.redb");
    let mut node = start(dir.path()).unwrap();
    let n = node.fill(0, 1);
    drop(node);
    let older = fs::read(&path).unwrap();
    let mut node = start(dir.path()).unwrap();
    // More segments than there were spares on record.
    let n = node.fill(n, 6);
    drop(node);
    fs::write(&path, older).unwrap();
    let node = start(dir.path()).unwrap();
    wait("what it does not know", || node.vault.status().unreadable_segments > 0);
    drop(node);
    let told = rebuilt(dir.path());
    assert!(
        told.lost.is_none() && told.former.is_some() && !told.taken_in.is_empty(),
        "{told:?}"
    );
    let node = start(dir.path()).unwrap();
    assert!(
        node.vault.clock_ns() < now_unix_nano() + YEAR_NS,
        "no clock jumps by a rebuild"
    );
    assert_eq!(node.read().0, n);
    assert!(!told.gone.is_empty());
    // Files that were spares then were never written to, and are gone. That cannot be known, so they are shown until an
    // operator accepts their loss.
    for (id, state) in node.vault.segments() {
        if let SegmentState::Unreadable(why) = state {
            assert!(why.contains("WAL file is gone"), "{id}: {why}");
            assert!(told.gone.contains(&id), "{id} is said to be gone");
            node.vault.accept_loss(id).unwrap();
        }
    }
    assert_eq!(node.vault.status().unreadable_segments, 0);
    drop(node);
    assert_eq!(
        rebuilt(dir.path()).taken_in,
        [],
        "a second time there is nothing to take in"
    );
}

#[test]
fn a_flipped_bit_anywhere_is_harmless_or_has_a_way_out() {
    let (dir, entries) = ended();
    let whole = fs::read(dir.path().join("catalogue.redb")).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut refused = 0;
    for at in used.iter().step_by(used.len().div_ceil(60)) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut torn = whole.clone();
        torn[*at] ^= 1 << (at % 8);
        fs::write(copy.path().join("catalogue.redb"), torn).unwrap();
        let node = start(copy.path()).unwrap_or_else(|error| {
            assert!(
                error.to_string().contains("gophership catalogue rebuild"),
                "a bit of byte {at}: {error}"
            );
            refused += 1;
            let why = rebuilt(copy.path()).lost.unwrap();
            assert!(why.contains("is damaged") && !why.contains("rebuild"), "{why}");
            start(copy.path()).unwrap()
        });
        assert_eq!(node.read(), (entries, 0), "a bit of byte {at}");
    }
    assert!(refused > 0, "no flip was noticed");
}

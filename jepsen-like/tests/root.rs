//! Scenarios that need root and a file system of their own. Without them each test prints `SKIPPED` with the reason,
//! and proves nothing.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use jepsen_like::fs_shutdown::shut_down;
use jepsen_like::mount::{FileSystem, LoopMount, mounts_below};
use jepsen_like::node::Binaries;
use jepsen_like::scenario::power_cut::Expect;
use jepsen_like::scenario::{Plan, disk_full, full_disk_start, power_cut};

/// XFS accepts no image under 300 MB.
const DISK_BYTES: u64 = 320 << 20;

/// True where a file system of this kind cannot be made and mounted here.
fn skipped(test: &str, kind: FileSystem) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let made = LoopMount::new(folder.path(), kind, DISK_BYTES);
    made.is_err_and(|error| skip(test, &format!("{error:#}")))
}

/// True where programs cannot be traced here.
fn untraced(test: &str) -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    !traced.is_ok_and(|out| out.status.success()) && skip(test, "needs strace, and leave to use it")
}

/// Prints the reason for which a test proves nothing, past the capture of test output, which would hide it. With
/// `NO_SKIP` that is a failure.
#[allow(clippy::explicit_write)]
fn skip(test: &str, why: &str) -> bool {
    let why = format!("SKIPPED: {test}: {why}");
    assert!(std::env::var_os("NO_SKIP").is_none(), "{why}");
    writeln!(std::io::stderr(), "{why}").unwrap();
    true
}

fn plan(rounds: u32) -> Plan {
    let given = |name| std::env::var_os(name).map(Into::into);
    let binaries = Binaries::find(given("GOPHERSHIP_BIN"), given("GS_CTL_BIN")).unwrap();
    Plan::new(binaries, rand::random(), rounds)
}

fn write(path: &Path, sync: bool) {
    let mut file = File::create(path).unwrap();
    file.write_all(&[7; 8192]).unwrap();
    if sync {
        file.sync_all().unwrap();
        File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
    }
}

#[test]
fn the_power_cut_takes_what_was_not_synced_and_leaves_the_rest() {
    for kind in [FileSystem::Xfs, FileSystem::Ext4] {
        if skipped("the power cut", kind) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = LoopMount::new(folder.path(), kind, DISK_BYTES).unwrap();
        let (synced, unsynced) = (disk.path().join("synced"), disk.path().join("unsynced"));
        write(&synced, true);
        write(&unsynced, false);
        shut_down(disk.path()).unwrap();
        disk.remount().unwrap();
        assert_eq!(fs::read(&synced).unwrap(), [7; 8192], "{kind:?}");
        assert!(fs::read(&unsynced).map_or(true, |bytes| bytes != [7; 8192]), "{kind:?}");
        drop(disk);
        assert!(mounts_below(folder.path()).unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_under_load_loses_nothing() {
    if !skipped("a power cut under load", FileSystem::Xfs) {
        let report = power_cut::run(&plan(2), FileSystem::Xfs, Expect::NoLoss).await.unwrap();
        assert!(report.passed(), "\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_a_node_whose_syncs_do_nothing_is_seen_to_lose() {
    let test = "the control of the power cut";
    if !untraced(test) && !skipped(test, FileSystem::Xfs) {
        let report = power_cut::run(&plan(3), FileSystem::Xfs, Expect::LossBySkippedSyncs)
            .await
            .unwrap();
        assert!(report.passed(), "\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_fill_is_survived() {
    if !skipped("a full disk", FileSystem::Xfs) {
        let report = disk_full::run_filler(&plan(1), FileSystem::Xfs).await.unwrap();
        assert!(report.passed(), "\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_was_filled_while_it_was_stopped_starts_again() {
    for (kind, shards) in [
        (FileSystem::Ext4, 16),
        (FileSystem::Ext4, 1),
        (FileSystem::Xfs, 16),
        (FileSystem::Xfs, 1),
        (FileSystem::Tmpfs, 16),
        (FileSystem::Tmpfs, 5),
    ] {
        if !skipped("a start on a full disk", kind) {
            let report = full_disk_start::run(&plan(1), kind, shards).await.unwrap();
            assert!(report.passed(), "{kind:?}, {shards} shards\n{report}");
        }
    }
}

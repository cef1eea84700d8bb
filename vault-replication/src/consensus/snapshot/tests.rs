use gophership_catalogue::local::Store;

use std::fs;

use super::*;
use crate::consensus::core::Core;
use crate::consensus::snapshot_file::SnapshotFolder;
use crate::consensus::testkit::{identity, state_of_one};
use crate::consensus::wire::tests::{golden, hex};

fn rows_of(file: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rows = Vec::new();
    read(file, |key, value| {
        rows.push((key, value));
        Ok(())
    })?;
    Ok(rows)
}

/// A snapshot of a new node's state, and the folder that it lies in.
fn snapshot() -> (tempfile::TempDir, SnapshotFile, SnapshotMeta) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.redb");
    gophership_catalogue::local::make_file(&path, &identity(1), &state_of_one()).unwrap();
    let store = Store::open(&path).unwrap().0;
    let files = SnapshotFolder::open(folder.path().join("snapshots")).unwrap();
    let file = files.new_file();
    let meta = build(&store.view().unwrap(), &file).unwrap();
    (folder, file, meta)
}

#[test]
fn a_snapshot_is_what_it_always_was() {
    let (_folder, file, meta) = snapshot();
    golden("snapshot.txt", &[hex(&fs::read(file.path()).unwrap())]);
    let found = read(file.path(), |_, _| Ok(())).unwrap();
    assert_eq!(found, meta);
    let rows = rows_of(file.path()).unwrap();
    let state = state_of_one();
    let expected = gophership_catalogue::row::rows(&state);
    assert_eq!(
        rows,
        expected.map(|row| (row.key, row.value.unwrap())).collect::<Vec<_>>()
    );
}

#[test]
fn i2_a_snapshot_that_is_damaged_cut_off_or_longer_is_none() {
    let (folder, file, _) = snapshot();
    let whole = fs::read(file.path()).unwrap();
    let other = folder.path().join("other");
    let refused = |bytes: &[u8]| {
        fs::write(&other, bytes).unwrap();
        let failed = rows_of(&other).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::InvalidData, "{failed}");
    };
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        refused(&damaged);
        refused(&whole[..at]);
    }
    refused(&[&whole[..], &[0]].concat());
}

#[test]
fn i3_a_length_that_is_too_large_is_refused_before_its_memory_is_taken() {
    let (folder, file, _) = snapshot();
    let mut bytes = fs::read(file.path()).unwrap();
    let head = u32::from_le_bytes(bytes[5..9].try_into().unwrap()) as usize;
    bytes[9 + head..13 + head].copy_from_slice(&u32::MAX.to_le_bytes());
    let other = folder.path().join("other");
    fs::write(&other, &bytes).unwrap();
    let failed = rows_of(&other).unwrap_err().to_string();
    assert_eq!(
        failed,
        format!("the snapshot is damaged: a part of it has {} bytes", u32::MAX)
    );
}

#[test]
fn a_snapshots_file_lasts_as_long_as_somebody_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.redb");
    gophership_catalogue::local::make_file(&path, &identity(1), &state_of_one()).unwrap();
    let files = || fs::read_dir(folder.path().join("raft-snapshots")).unwrap().count();
    let core = Core::open(&path, &identity(1)).unwrap();
    let first = core.build_snapshot().unwrap();
    let second = core.build_snapshot().unwrap();
    assert_eq!(files(), 2, "the first is still being sent");
    drop((first, second));
    assert_eq!(files(), 1, "the newest is kept");
    core.end();
    std::mem::forget(core);
    assert_eq!(files(), 1, "a process that is killed leaves it");
    Core::open(&path, &identity(1)).unwrap();
    assert_eq!(files(), 0);
}

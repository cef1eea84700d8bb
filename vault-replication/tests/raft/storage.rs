//! The disk of a node at its start: an older copy, damage, a file of another storage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gophership_catalogue::{CatalogueError, LocalCatalogue};
use gophership_vault_replication::consensus::compaction::LogLimits;
use gophership_vault_replication::consensus::testkit::{Cluster, eventually, identity, member};

use crate::faults::{set, value};

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Copies the catalogue of a node that has ended, does something to the cluster, and puts the copy back.
fn put_back_after(
    cluster: &mut Cluster,
    node: u32,
    meanwhile: impl FnOnce(&mut Cluster),
) -> Result<(), CatalogueError> {
    cluster.kill(node);
    let copy = fs::read(cluster.path(node)).unwrap();
    cluster.start(node).unwrap();
    meanwhile(cluster);
    cluster.kill(node);
    fs::write(cluster.path(node), copy).unwrap();
    cluster.start(node)
}

#[test]
fn an_older_copy_of_the_catalogue_is_refused_and_the_way_out_is_named() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    let failed = put_back_after(&mut cluster, 2, |cluster| {
        set(&cluster.catalogue(1), "k", "1");
        let catalogue = cluster.catalogue(2);
        eventually("the entry on the follower", || value(&catalogue, "k"));
    });
    let failed = failed.unwrap_err();
    assert!(matches!(failed, CatalogueError::OlderCopy { .. }), "{failed}");
    let said = failed.to_string();
    assert!(
        said.contains("older copy") && said.contains("join again as a new one"),
        "{said}"
    );
    // The others go on.
    set(&cluster.catalogue(1), "k", "2");
}

#[test]
fn a_catalogue_without_its_mark_is_refused_and_so_is_a_damaged_mark() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    cluster.kill(3);
    let path = cluster.folder(3).join("raft.mark");
    let mark = fs::read(&path).unwrap();
    for damaged in [None, Some(vec![]), Some(vec![0; mark.len()])] {
        match damaged {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let failed = cluster.start(3).unwrap_err();
        assert!(matches!(failed, CatalogueError::OlderCopy { .. }), "{failed}");
    }
    fs::write(&path, mark).unwrap();
    cluster.start(3).unwrap();
}

#[test]
fn a_flipped_bit_is_refused_or_does_not_matter() {
    let mut cluster = Cluster::of_one();
    for n in 0..50 {
        set(
            &cluster.catalogue(1),
            &format!("k{n}"),
            "a value that is found in the file",
        );
    }
    cluster.kill(1);
    let whole = fs::read(cluster.path(1)).unwrap();
    let text = b"a value that is found";
    let at = whole.windows(text.len()).rposition(|w| w == text).unwrap() as u64;
    let mut refused = 0;
    for at in [at, 4096 * 2 + 17, whole.len() as u64 / 2, whole.len() as u64 - 300] {
        fs::write(cluster.path(1), &whole).unwrap();
        let mark = fs::read(cluster.folder(1).join("raft.mark")).unwrap();
        flip(&cluster.path(1), at);
        match cluster.start(1) {
            Ok(()) => {
                assert_eq!(cluster.catalogue(1).read(|s| s.settings().count()), 50);
                cluster.kill(1);
            }
            Err(CatalogueError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        // The next round begins with the same file, which is older than what this one promised.
        fs::write(cluster.folder(1).join("raft.mark"), mark).unwrap();
    }
    assert!(refused > 0, "a value in use was damaged");
}

#[test]
fn a_clusters_catalogue_is_no_single_nodes() {
    let mut cluster = Cluster::new(LogLimits::default(), Duration::from_secs(20));
    cluster.make_first();
    cluster.kill(1);
    // It has not begun yet, and may go on alone.
    LocalCatalogue::open(&cluster.path(1), identity(1)).unwrap();
    cluster.start(1).unwrap();
    cluster.node(1).initialize(member(1)).unwrap();
    set(&cluster.catalogue(1), "k", "1");
    cluster.kill(1);
    let failed = LocalCatalogue::open(&cluster.path(1), identity(1)).unwrap_err();
    assert!(failed.to_string().contains("belongs to a cluster"), "{failed}");
    cluster.start(1).unwrap();
    assert_eq!(value(&cluster.catalogue(1), "k").as_deref(), Some("1"));
}

#[test]
fn a_catalogue_of_another_storage_is_refused() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    cluster.kill(2);
    cluster.kill(3);
    let copy = fs::read(cluster.path(2)).unwrap();
    fs::write(cluster.path(3), copy).unwrap();
    let failed = cluster.start(3).unwrap_err();
    assert!(matches!(failed, CatalogueError::OtherIdentity { .. }), "{failed}");
}

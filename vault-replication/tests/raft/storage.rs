//! The disk of a node at its start: an older backup, damage, a file of another storage.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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
fn an_older_backup_of_the_catalogue_is_refused_and_the_way_out_is_named() {
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
        said.contains("older backup") && said.contains("joins again as a new one"),
        "{said}"
    );
    // The others go on.
    set(&cluster.catalogue(1), "k", "2");
}

/// The files of a node's folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn put_back(files: &[(PathBuf, Vec<u8>)]) {
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// Waits until a node that was started has found that it promised more, and returns what it says.
fn found_forgetful(cluster: &Cluster, node: u32) -> String {
    let catalogue = cluster.catalogue(node);
    eventually("the end of a node that forgot its promises", || {
        let failed = catalogue.catch_up().err()?;
        matches!(failed, CatalogueError::OlderCopy { .. }).then(|| failed.to_string())
    })
}

#[test]
fn a_folder_that_is_older_as_a_whole_is_contradicted_by_the_peers() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    cluster.kill(2);
    let older = files(cluster.folder(2));
    cluster.start(2).unwrap();
    set(&cluster.catalogue(1), "k", "1");
    let follower = cluster.catalogue(2);
    eventually("the entry on the follower", || value(&follower, "k"));
    cluster.kill(2);
    let newest = files(cluster.folder(2));
    put_back(&older);
    // Its own files agree with each other.
    cluster.start(2).unwrap();
    let said = found_forgetful(&cluster, 2);
    assert!(said.contains("last entry") && said.contains("an empty one"), "{said}");
    // It votes no more, and nobody needs to tell it a second time.
    cluster.kill(2);
    (1..=3)
        .filter(|node| *node != 2)
        .for_each(|node| cluster.network.set_cut(node, 2, true));
    let failed = cluster.start(2).unwrap_err();
    assert_eq!(failed.to_string(), said);
    (1..=3)
        .filter(|node| *node != 2)
        .for_each(|node| cluster.network.set_cut(node, 2, false));
    // The first way out that it names.
    put_back(&newest);
    cluster.start(2).unwrap();
    let follower = cluster.catalogue(2);
    eventually("a read index", || follower.catch_up().ok());
    // It counts again.
    cluster.kill(3);
    set(&cluster.catalogue(1), "k", "2");
}

#[test]
fn a_voter_that_forgot_its_vote_is_contradicted_by_the_one_that_it_voted_for_after_all_were_stopped() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    set(&cluster.catalogue(1), "k", "1");
    cluster.kill(3);
    let older = files(cluster.folder(3));
    cluster.start(3).unwrap();
    // With the vote of node 3, since nobody else is there.
    cluster.kill(1);
    cluster.lead(2);
    set(&cluster.catalogue(2), "k", "2");
    let voter = cluster.catalogue(3);
    eventually("the entry on the voter", || {
        value(&voter, "k").filter(|value| value == "2")
    });
    cluster.kill(2);
    cluster.kill(3);
    put_back(&older);
    // Node 1 knows of neither, and would take what node 3 has for the newest.
    cluster.start(3).unwrap();
    cluster.start(2).unwrap();
    let said = found_forgetful(&cluster, 3);
    assert!(said.contains("it has vote"), "{said}");
    cluster.start(1).unwrap();
    cluster.leader_among(&BTreeSet::from([1, 2]));
    let catalogue = cluster.catalogue(1);
    eventually("a read index", || catalogue.catch_up().ok());
    assert_eq!(value(&catalogue, "k").as_deref(), Some("2"));
}

#[test]
fn a_leader_whose_folder_is_older_leads_nobody() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    set(&cluster.catalogue(1), "k", "1");
    cluster.kill(1);
    let older = files(cluster.folder(1));
    cluster.start(1).unwrap();
    cluster.lead(1);
    set(&cluster.catalogue(1), "k", "2");
    // Nobody leads in its place while it is away.
    cluster.kill(1);
    put_back(&older);
    cluster.start(1).unwrap();
    let said = found_forgetful(&cluster, 1);
    assert!(said.contains("older backup"), "{said}");
    let next = cluster.leader_among(&BTreeSet::from([2, 3]));
    let catalogue = cluster.catalogue(next);
    eventually("a read index", || catalogue.catch_up().ok());
    assert_eq!(value(&catalogue, "k").as_deref(), Some("2"));
}

#[test]
fn with_one_voter_gone_for_good_the_others_may_start_again() {
    let mut cluster = Cluster::of(3);
    (1..=3).for_each(|node| cluster.kill(node));
    cluster.start(1).unwrap();
    let alone = cluster.catalogue(1);
    assert!(alone.catch_up().is_err());
    cluster.start(2).unwrap();
    cluster.leader_among(&BTreeSet::from([1, 2]));
    set(&alone, "k", "1");
}

#[test]
fn a_voter_that_never_knew_that_it_votes_takes_part_though_all_voters_that_it_knew_are_gone_for_good() {
    for unaware in [2, 3] {
        let mut cluster = Cluster::of_one();
        cluster.join(2);
        cluster.join(3);
        let learner = cluster.node(unaware);
        eventually("a learner that knows the first voter and itself", || {
            let members = learner.status().members;
            (members.contains_key(&1) && members.contains_key(&u64::from(unaware))).then_some(())
        });
        cluster.network.set_cut(1, unaware.into(), true);
        cluster.make_voters(3);
        let members = cluster.node(unaware).status().members;
        let voters: Vec<_> = members.iter().filter(|(_, member)| member.votes).collect();
        assert!(matches!(voters[..], [(1, _)]), "{voters:?}");
        (1..=3).for_each(|node| cluster.kill(node));
        cluster.start(2).unwrap();
        cluster.start(3).unwrap();
        cluster.leader_among(&BTreeSet::from([2, 3]));
        set(&cluster.catalogue(unaware), "k", "1");
    }
}

#[test]
fn a_voter_that_missed_the_replacement_of_all_nodes_in_its_log_takes_part_once_it_meets_one_of_those_that_vote_now() {
    let mut cluster = Cluster::of(3);
    cluster.lead(1);
    cluster.kill(3);
    for (new, voters) in [(4, [1, 3, 4]), (5, [3, 4, 5])] {
        cluster.join(new);
        let leader = cluster.node(cluster.leader());
        leader.set_voters(&BTreeSet::from(voters)).unwrap();
        cluster.lead(4);
    }
    cluster.kill(1);
    cluster.kill(2);
    set(&cluster.catalogue(4), "k", "1");

    cluster.start(3).unwrap();
    let started = cluster.node(3);
    let unheard = started.unheard_voters().unwrap();
    assert_eq!(unheard.iter().map(|peer| peer.node).collect::<Vec<_>>(), [1, 2]);
    started.note_discovered(identity(4).node_id, &member(4));
    let catalogue = cluster.catalogue(3);
    eventually("a voter that follows", || value(&catalogue, "k"));
    assert_eq!(started.unheard_voters(), None);
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
            Err(CatalogueError::CorruptPart { .. }) => refused += 1,
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

//! A process that is killed in the middle of its commits loses none whose answer it had.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use gophership_catalogue::{Catalogue, LocalCatalogue};
use gophership_vault::Identity;
use gophership_vault::ReplicaSet;
use gophership_vault::ids::{ClusterId, FileUuid, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::{OpenRecord, TrimReason};
use uuid::Uuid;

const FOLDER: &str = "GOPHERSHIP_TEST_FOLDER";
const SHARD: ShardId = ShardId::new(0);

fn opened(folder: &Path) -> Arc<dyn Catalogue> {
    let id = Uuid::from_u128(1);
    let identity = Identity {
        cluster_id: ClusterId(id),
        node_id: NodeId::FIRST,
        storage_uuid: id,
    };
    let catalogue = LocalCatalogue::open(&folder.join("catalogue.redb"), identity);
    Arc::new(catalogue.expect("a killed process leaves a catalogue that opens"))
}

#[test]
#[ignore = "the child of the test below; it runs until it is killed"]
fn child_that_commits_until_it_is_killed() {
    let catalogue = opened(&PathBuf::from(std::env::var_os(FOLDER).unwrap()));
    let epoch = catalogue.node_up(Uuid::new_v4(), None).unwrap();
    let ledger = catalogue.ledger();
    loop {
        let id = SegmentId {
            node: NodeId::FIRST,
            shard: SHARD,
            index: ledger.next_index(SHARD),
        };
        ledger
            .roll(
                None,
                &OpenRecord {
                    id,
                    epoch,
                    file_uuid: FileUuid(Uuid::new_v4()),
                    replicas: ReplicaSet::ALONE,
                },
            )
            .unwrap();
        println!("\ntold {} {}", epoch, id.index);
        ledger.trim_segment(id, TrimReason::Empty).unwrap();
    }
}

#[test]
fn a_killed_process_loses_no_commit_it_was_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut last_epoch = 0;
    for round in 0..6 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_commits_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(numbers) = line.unwrap().strip_prefix("told ") {
                let (epoch, index) = numbers.split_once(' ').unwrap();
                told.push((epoch.parse::<u64>().unwrap(), index.parse::<u32>().unwrap()));
            }
            if told.len() == 20 + round * 7 {
                // Answers that it still gives until it is gone are read too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (epoch, index) = *told.last().unwrap();
        assert!(epoch > last_epoch);
        last_epoch = epoch;

        let catalogue = opened(folder.path());
        let next = catalogue.ledger().next_index(SHARD).get();
        assert!(
            next == index + 1 || next == index + 2,
            "told of {index}, and the next is {next}"
        );
        let stored = catalogue.read(|s| s.node(NodeId::FIRST).unwrap().epoch());
        assert_eq!(stored.map(|e| e.get()), Some(epoch));
    }
}

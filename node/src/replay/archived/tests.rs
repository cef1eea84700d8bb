//! Readings of a segment whose holder is away, from an archive whose store is away, too.

use std::sync::atomic::{AtomicBool, Ordering};

use gophership_catalogue::setting::{ARCHIVE_STORES, ARCHIVE_URL};
use gophership_catalogue::testkit::{accepted_loss, archive_commit, archive_lease, manifest_commit, uuid};
use gophership_catalogue::{Actor, Command};
use gophership_vault::time::TimeRange;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::*;
use crate::config::Archive;
use crate::control::testkit::TestNode;
use crate::peers::Peers;
use crate::replay::silent_peer::{ENTRIES, SilentPeers};
use crate::replay::source::part_of;
use crate::replay::{FromLost, LostLogs};

/// A node with a peer that alone holds a segment, which is archived in a store that is away.
struct Away {
    node: TestNode,
    peers: SilentPeers,
    archive: Arc<ArchiveReader>,
}

impl Away {
    fn begin(dir: &std::path::Path) -> Self {
        let node = TestNode::open(dir, 1);
        let peers = SilentPeers::serve(&node, 2, &Handle::current());
        let url = format!("file://{}", dir.join("away").display());
        let set = |key: &str, value: String| Command::SetConfig {
            key: key.to_owned(),
            value: Some(value),
            seen: None,
            at_ns: 1,
        };
        for command in [
            set(ARCHIVE_URL, url.clone()),
            set(ARCHIVE_STORES, format!("{} {url}", uuid(9))),
            archive_lease(2, 1, &[peers.segment]),
            archive_commit(1, 1, 2, 1),
            manifest_commit(1, &[1]),
        ] {
            node.catalogue.submit(Actor::Node, command).unwrap();
        }
        let settings = Archive {
            url: Some(url),
            ..Archive::default()
        };
        let of_node = Arc::clone(&node.catalogue);
        let archive = ArchiveReader::new(of_node, move || settings.clone(), Handle::current());
        Self { node, peers, archive }
    }

    /// The peers, which are there once `is_back` says so.
    fn peers(&self, is_back: &Arc<AtomicBool>) -> Arc<Peers> {
        let (all, is_back) = (&self.peers.peers, Arc::clone(is_back));
        Arc::new(Peers {
            client: all.client.clone(),
            runtime: all.runtime.clone(),
            catalogue: Arc::clone(&all.catalogue),
            is_alive: Arc::new(move |_| is_back.load(Ordering::SeqCst)),
        })
    }
}

async fn next_of(reading: &mut mpsc::Receiver<Vec<FromLost>>) -> Option<Vec<FromLost>> {
    let next = tokio::time::timeout(Duration::from_secs(120), reading.recv()).await;
    next.expect("it says something, or ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_reader_that_waits_for_the_archive_turns_back_to_a_holder_that_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let away = Away::begin(dir.path());
    let (id, is_back) = (away.peers.segment, Arc::new(AtomicBool::new(false)));
    let (node, peers) = (&away.node, away.peers(&is_back));
    let logs = LostLogs::new(&node.vault, &node.catalogue, &peers, Some(&away.archive));
    let mut reading = logs.follow(id.log(), None, Some(id));
    let first = next_of(&mut reading).await.unwrap();
    let [FromLost::Waits(why)] = &first[..] else {
        panic!("it waits for nothing");
    };
    assert!(why.contains("only the archive has"), "{why}");
    is_back.store(true, Ordering::SeqCst);
    // It ends, to be begun anew, and not as at the end of the segment.
    while let Some(found) = next_of(&mut reading).await {
        assert!(found.iter().all(|found| matches!(found, FromLost::Waits(_))));
    }
    let mut reading = logs.follow(id.log(), None, Some(id));
    let (mut entries, mut has_ended) = (0, false);
    while let Some(found) = next_of(&mut reading).await {
        entries += found.iter().filter(|found| matches!(found, FromLost::Entry(_))).count();
        has_ended |= found.iter().any(|found| matches!(found, FromLost::End(_)));
    }
    assert_eq!((entries, has_ended), (ENTRIES as usize, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_an_accepted_loss_ends_the_wait_for_what_is_damaged_in_the_archive_and_none_for_a_store_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let away = Away::begin(dir.path());
    let (node, id) = (&away.node, away.peers.segment);
    let peers = away.peers(&Arc::default());
    let from = read_from::Source::Auto;
    let source = Source::new(&node.vault, &node.catalogue, Some(&peers), Some(&away.archive), from);
    let part = part_of(id);
    let reading = Reading {
        part: &part,
        range: TimeRange::ALL,
        done: None,
        stop: Arc::new(|| false),
        patience: None,
        for_good: true,
        waits: &|_| (),
    };
    let merged = Merged::new(&source, &away.archive, &reading);
    let [damaged, unavailable] = [Unread::Damaged, Unread::Unavailable].map(|of| of("why".to_owned()));
    let waits_for = |unread: &Unread| merged.is_waited_for(id, unread, Instant::now());
    assert!(waits_for(&damaged) && waits_for(&unavailable));
    let accept = Command::AcceptCopyLoss {
        id,
        loss: accepted_loss("jo", 1, 0),
        asked: None,
    };
    node.catalogue.submit(Actor::operator("jo"), accept).unwrap();
    assert!(!waits_for(&damaged), "nobody will ever have it");
    assert!(waits_for(&unavailable), "the archive has it");
}

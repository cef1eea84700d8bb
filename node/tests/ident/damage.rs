//! Damage of the files by which a node keeps its promises to the cluster: it refuses to start, or takes part again with
//! all that it has promised; and the ways out that it names, as they are written.

use std::fs;
use std::path::{Path, PathBuf};

use super::node::{Node, Site, until};

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    FlipAtHead,
    FlipInTheMiddle,
    FlipAtTheEnd,
    FlipsInEveryPage,
    CutInHalf,
    CutToNothing,
    Removed,
}

const ALL: [Damage; 7] = [
    Damage::FlipAtHead,
    Damage::FlipInTheMiddle,
    Damage::FlipAtTheEnd,
    Damage::FlipsInEveryPage,
    Damage::CutInHalf,
    Damage::CutToNothing,
    Damage::Removed,
];

impl Damage {
    fn happen_to(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len();
        let mut flip = |at: usize| bytes[at] ^= 0x10;
        match self {
            Self::FlipAtHead => flip(20),
            Self::FlipInTheMiddle => flip(length / 2 + 20),
            Self::FlipAtTheEnd => flip(length - 4096 + 20),
            Self::FlipsInEveryPage => (0..length).step_by(4096).for_each(|page| flip(page + 20)),
            Self::CutInHalf => bytes.truncate(length / 2),
            Self::CutToNothing => bytes.clear(),
            Self::Removed => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// The files in the folder of a node that is stopped.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn put_back(files: &[(PathBuf, Vec<u8>)]) {
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// Shows that the last node votes: without it there would be no majority. Gives all three again.
async fn counts(site: &Site, mut nodes: Vec<Node>, key: &str) -> Vec<Node> {
    let (last, second) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    second.stop().await;
    nodes[0].set(key, "with the last").await;
    last.has(key, "with the last").await;
    nodes.push(site.start(2).member().await);
    nodes.push(last);
    nodes
}

/// Moves the folder of the last node away, and starts it with an empty one.
async fn joins_again(site: &Site, nodes: &mut Vec<Node>, aside: &str) {
    fs::rename(site.folder(3), site.folder(3).with_extension(aside)).unwrap();
    let last = site.start(3).member().await;
    let id = u64::from(last.identity().node_id.get());
    until("the new one votes", async || {
        let voters = last.voters();
        (voters.len() == 3 && voters.contains(&id)).then_some(())
    })
    .await;
    nodes.push(last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_of_consensus_is_refused_with_a_way_out_or_forgets_nothing() {
    let site = Site::new();
    let mut nodes = site.three().await;
    let mut refused = Vec::new();
    for (round, (file, damage)) in ["catalogue.redb", "raft.mark"]
        .into_iter()
        .flat_map(|file| ALL.map(|damage| (file, damage)))
        .enumerate()
    {
        let key = format!("k{round}");
        nodes[2].set(&key, "before").await;
        let term = nodes[2].consensus().term;
        nodes.pop().unwrap().stop().await;
        let newest = files(&site.folder(3));
        damage.happen_to(&site.folder(3).join(file));
        let last = match site.start(3).outcome().await {
            Ok(node) => node,
            Err(said) => {
                println!("{file}, {damage:?}: {said}");
                assert!(said.contains(file), "{said}");
                assert!(said.contains("back") && said.contains("empty"), "{said}");
                refused.push((file, damage));
                put_back(&newest);
                site.start(3).member().await
            }
        };
        last.has(&key, "before").await;
        assert!(last.consensus().term >= term, "it has forgotten a vote");
        nodes.push(last);
    }
    let count = |of: &str| refused.iter().filter(|(file, _)| *file == of).count();
    assert!(count("catalogue.redb") >= 4 && count("raft.mark") >= 3, "{refused:?}");
    nodes = counts(&site, nodes, "after the damage").await;
    // The other way out.
    nodes.pop().unwrap().stop().await;
    Damage::CutInHalf.happen_to(&site.folder(3).join("catalogue.redb"));
    site.start(3).error().await;
    joins_again(&site, &mut nodes, "damaged").await;
    nodes = counts(&site, nodes, "after a new folder").await;
    for round in 0..2 * ALL.len() {
        nodes[2].has(&format!("k{round}"), "before").await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_put_back_from_an_older_backup_is_refused_and_the_node_joins_again() {
    let site = Site::new();
    let mut nodes = site.three().await;
    nodes.pop().unwrap().stop().await;
    let older = files(&site.folder(3));
    nodes.push(site.start(3).member().await);
    // What follows is acknowledged by the last node.
    nodes = counts(&site, nodes, "k").await;
    nodes.pop().unwrap().stop().await;
    put_back(&older);
    for _ in 0..2 {
        let said = site.start(3).error().await;
        assert!(
            said.contains("older backup") && said.contains("start the node with an empty one"),
            "{said}"
        );
    }
    joins_again(&site, &mut nodes, "older").await;
    nodes[2].has("k", "with the last").await;
    for node in counts(&site, nodes, "after a new folder").await {
        node.stop().await;
    }
}

//! Jobs and exporters that come to what only the archive has: what is trimmed under them, a runner that ends, an owner
//! that is gone, and an archive that is not the one it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gophership_proto::control::v1::ReplaySource::{Archive, Auto};
use gophership_proto::control::v1::{ReplayProgress, ReplayState};

use crate::node::{Node, cluster, single, until};
use crate::reading::{send_apart, until_trimmed};
use crate::sink::Sink;
use crate::store::files_below;
use crate::{NO_RETENTION, VAULT, records, set, until_archived};

/// An archive in a folder, as a section of a configuration.
fn in_folder(folder: &Path) -> String {
    fs::create_dir(folder).unwrap();
    format!(
        "archive: {{ url: \"file://{}\", object_size: 64KiB }}\n",
        folder.display()
    )
}

/// Waits until a sink has at least so many records.
async fn until_taken(sink: &Sink, count: usize, nodes: &[&Node]) {
    until("what is sent", async || match sink.taken().len() >= count {
        true => Ok(()),
        false => Err(format!(
            "{} {}",
            sink.taken().len(),
            nodes.iter().map(|node| node.log()).collect::<String>()
        )),
    })
    .await;
}

/// The end of a job.
async fn ended(node: &Node, job: &str) -> ReplayProgress {
    until("the end of a job", async || {
        let progress = node.replay_job(job).await?.progress.unwrap_or_default();
        match progress.state() {
            ReplayState::Running | ReplayState::Unspecified => Err(format!("{progress:?} {}", node.log())),
            ReplayState::Done | ReplayState::Failed | ReplayState::Cancelled => Ok(progress),
        }
    })
    .await
}

fn as_set(records: &[String]) -> BTreeSet<&String> {
    records.iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_in_the_archive_where_what_it_reads_is_trimmed_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(
        dir.path(),
        &format!("{VAULT}{}", in_folder(&dir.path().join("archive"))),
    )
    .await;
    let (own, other) = (records("own", 12), records("other", 4));
    send_apart(&nodes[0], &own).await;
    send_apart(&nodes[1], &other).await;
    for node in &nodes {
        until_archived(node, 16).await;
    }
    let sink = Sink::start();
    sink.take(2);
    let job = nodes[0].start_replay(Auto, sink.address).await.unwrap();
    until_taken(&sink, 2, &[&nodes[0]]).await;
    set(&nodes[0], "vault.retention", "0s").await;
    for node in &nodes {
        until_trimmed(node).await;
    }
    sink.take(usize::MAX);
    let progress = ended(&nodes[0], &job).await;
    assert_eq!((progress.state(), &*progress.error), (ReplayState::Done, ""));
    let taken = sink.taken();
    for log in [&own, &other] {
        let of_log = taken.iter().filter(|text| log.contains(text)).cloned();
        assert_eq!(&of_log.collect::<Vec<_>>(), log, "in order, each once");
    }
    assert_eq!(taken.len(), 16);
    // Some entries were read ahead before they were trimmed.
    let archived = progress.archived_entries;
    assert!((4..16).contains(&archived), "{progress:?}");
    assert!(progress.archived_bytes > 90_000 * archived, "{progress:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_the_archive_goes_on_after_a_kill_with_its_counts_and_sends_nothing_once_it_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let rest = format!("{NO_RETENTION}{}", in_folder(&dir.path().join("archive")));
    let mut node = single(dir.path(), &rest);
    let all = records("resumed", 6);
    send_apart(&node, &all).await;
    until_archived(&node, 6).await;
    until_trimmed(&node).await;
    let sink = Sink::start();
    sink.take(3);
    let job = node.start_replay(Archive, sink.address).await.unwrap();
    until_taken(&sink, 3, &[&node]).await;
    node.kill();
    node.start();
    until("a node that serves", async || node.replay_job(&job).await.map(drop)).await;
    sink.take(usize::MAX);
    let progress = ended(&node, &job).await;
    assert_eq!((progress.state(), &*progress.error), (ReplayState::Done, ""));
    assert_eq!((progress.entries_done, progress.archived_entries), (6, 6));
    assert_eq!(progress.archived_bytes, progress.bytes_done);
    // What was sent behind the last position on record came again, in its place.
    let taken = sink.taken();
    assert_eq!(taken[..3], all[..3]);
    let again = 9 - taken.len();
    assert_eq!(taken[3..], all[again..], "{again}");

    let sink = Sink::start();
    sink.take(2);
    let job = node.start_replay(Archive, sink.address).await.unwrap();
    until_taken(&sink, 2, &[&node]).await;
    until("a position", async || {
        match node.replay_job(&job).await?.progress.unwrap_or_default().entries_done {
            2 => Ok(()),
            done => Err(format!("{done}")),
        }
    })
    .await;
    node.cancel_replay(&job).await.unwrap();
    let progress = ended(&node, &job).await;
    assert_eq!(
        (progress.state(), progress.archived_entries),
        (ReplayState::Cancelled, 2)
    );
    sink.take(usize::MAX);
    let next = node.start_replay(Archive, Sink::start().address).await.unwrap();
    node.cancel_replay(&next).await.unwrap();
    ended(&node, &next).await;
    assert_eq!(sink.taken(), all[..2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_dead_nodes_export_over_reads_from_the_archive_what_no_node_has_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(
        dir.path(),
        &format!("{VAULT}{}", in_folder(&dir.path().join("archive"))),
    )
    .await;
    let sink = Sink::start();
    set(&nodes[0], "cluster.dead_after", "2s").await;
    until("an exporter", async || nodes[0].set_exporter("a", sink.address).await).await;
    let all = records("owed", 6);
    sink.take(1);
    send_apart(&nodes[1], &all[..1]).await;
    until_taken(&sink, 1, &[&nodes[1]]).await;
    until("a cursor", async || {
        let shown = nodes[1].shown("/api/v1/status")["exporters"][0].clone();
        match shown["debt_entries"].as_u64() {
            Some(0) => Ok(()),
            _ => Err(format!("{shown} {}", nodes[1].log())),
        }
    })
    .await;
    // From here on the sink takes nothing.
    send_apart(&nodes[1], &all[1..4]).await;
    for node in &nodes {
        until_archived(node, 4).await;
    }
    set(&nodes[0], "vault.retention", "0s").await;
    for node in &nodes {
        until_trimmed(node).await;
    }
    set(&nodes[0], "vault.retention", "1h").await;
    send_apart(&nodes[1], &all[4..]).await;
    nodes[1].kill();
    sink.take(usize::MAX);
    until("all of it", async || match as_set(&sink.taken()) == as_set(&all) {
        true => Ok(()),
        false => Err(format!("{:?} {}", sink.taken().len(), nodes[0].log() + &nodes[2].log())),
    })
    .await;
    let taken = sink.taken();
    let firsts: Vec<&String> = (0..taken.len())
        .filter(|n| !taken[..*n].contains(&taken[*n]))
        .map(|n| &taken[n])
        .collect();
    assert_eq!(firsts, all.iter().collect::<Vec<_>>(), "in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_another_id_at_the_url_of_the_archive_is_named_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    let mut node = single(dir.path(), &format!("{NO_RETENTION}{}", in_folder(&folder)));
    let all = records("elsewhere", 2);
    send_apart(&node, &all).await;
    until_archived(&node, 2).await;
    until_trimmed(&node).await;
    let whole = node.replay(Auto, None).await.unwrap();
    assert_eq!((whole.entries.len(), &*whole.missing), (2, ""));
    node.kill();
    let store = folder.join("v1/store.json");
    let text = fs::read_to_string(&store).unwrap();
    let mut found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = found["store_id"].as_str().unwrap().to_owned();
    let other_id = "11111111-2222-4333-8444-555555555555";
    found["store_id"] = other_id.into();
    fs::write(&store, found.to_string()).unwrap();
    node.start();
    let foreign = until("a replay", async || node.replay(Auto, None).await).await;
    assert_eq!(foreign.entries, []);
    assert!(
        foreign.missing.contains(other_id) && foreign.missing.contains(&id),
        "{}",
        foreign.missing
    );
    fs::write(&store, text).unwrap();
    let again = node.replay(Auto, None).await.unwrap();
    assert_eq!((&again.entries, &*again.missing), (&whole.entries, ""));
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_at_the_node_comes_from_the_archive_and_what_is_damaged_there_from_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    let mut node = single(dir.path(), &format!("{VAULT}{}", in_folder(&folder)));
    send_apart(&node, &records("damaged", 3)).await;
    until_archived(&node, 3).await;
    let before = node.replay(Auto, None).await.unwrap();
    assert_eq!((before.entries.len(), &*before.missing), (3, ""));
    node.kill();
    let is_large = |path: &PathBuf| fs::metadata(path).unwrap().len() > 50_000;
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
    let mut segments: Vec<PathBuf> = files_below(&node.data).into_iter().filter(is_segment).collect();
    segments.retain(is_large);
    segments.sort();
    assert_eq!(segments.len(), 3, "{segments:?}");
    let objects = files_below(&folder.join("v1/logs"));
    damage(&segments[0]);
    damage(&objects[1]);
    node.start();
    let after = until("a replay", async || node.replay(Auto, None).await).await;
    assert_eq!((&after.entries, &*after.missing), (&before.entries, ""));
    assert_eq!(after.end.unwrap().archived_entries, 1);
    // Of what both have damaged both reasons are named, and the rest comes.
    damage(&objects[0]);
    let neither = node.replay(Auto, None).await.unwrap();
    assert_eq!(neither.entries, before.entries[1..]);
    let name = objects[0].file_name().unwrap().to_string_lossy().into_owned();
    let says = neither.missing.contains("; and in the archive: object ") && neither.missing.contains(&name);
    assert!(says, "{}", neither.missing);
}

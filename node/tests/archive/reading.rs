//! Replays and exporters that read on from the archive, where no node has what was archived any more.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use gophership_proto::control::v1::ReplaySource::{Archive, Auto, Vault};

use crate::node::{Node, cluster, single, until};
use crate::sink::Sink;
use crate::store::{Mood, Store, files_below};
use crate::{NO_RETENTION, VAULT, in_bucket, records, set, until_archived};

/// Waits until a node has no sealed segment any more.
pub(crate) async fn until_trimmed(node: &Node) {
    until("all segments trimmed", async || match node.sealed().await?.len() {
        0 => Ok(()),
        left => Err(format!("{left} are left: {}", node.log())),
    })
    .await;
}

/// Sends records, each of which becomes a segment.
pub(crate) async fn send_apart(node: &Node, records: &[String]) {
    for record in records {
        node.send(std::slice::from_ref(record)).await;
        node.seal().await;
    }
}

/// The first exporter, as the admin port shows it.
fn exporter(node: &Node) -> serde_json::Value {
    node.shown("/api/v1/status")["exporters"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_in_the_archive_is_replayed_bit_for_bit_and_a_narrow_range_reads_little() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Works).await;
    let mut node = single(dir.path(), &format!("{VAULT}{}", in_bucket(&store)));
    let all = records("replayed", 8);
    send_apart(&node, &all[..4]).await;
    // Blocks of one segment, of different times.
    for (n, record) in (1..).zip(&all[4..]) {
        node.send_at(1_800_000_000_000_000_000 + n, std::slice::from_ref(record))
            .await;
    }
    node.seal().await;
    until_archived(&node, 5).await;
    let before = node.replay(Vault, None).await.unwrap();
    assert_eq!((before.entries.len(), &*before.missing), (8, ""), "{}", node.log());
    let end = before.end.unwrap();
    assert_eq!((end.archived_entries, end.archived_bytes), (0, 0));
    // Node and archive have all of it: it is read from the node.
    store.take_given();
    let auto = node.replay(Auto, None).await.unwrap();
    assert_eq!((auto.entries, store.take_given()), (before.entries.clone(), 0));

    node.kill();
    let config = dir.path().join("node-1.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("retention: 1h", "retention: 0s")).unwrap();
    node.start();
    until_trimmed(&node).await;
    for source in [Auto, Archive] {
        let after = node.replay(source, None).await.unwrap();
        assert_eq!((&after.entries, &*after.missing), (&before.entries, ""), "{source:?}");
        let end = after.end.unwrap();
        assert_eq!((end.archived_entries, end.archived_bytes), (8, end.bytes), "{source:?}");
    }
    let of_node = node.replay(Vault, None).await.unwrap();
    assert_eq!(of_node.entries, []);

    store.take_given();
    let last = node.replay(Auto, Some(1_800_000_000_000_000_004)).await.unwrap();
    let (given, sizes) = (store.take_given(), store.objects());
    let largest = sizes
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .max()
        .unwrap();
    assert!(
        given > 0 && given < largest,
        "{given} bytes were read for one block of an object of {largest}"
    );
    assert!(last.entries.len() < 4 && last.entries.last() == before.entries.last());

    // What is acknowledged and not archived is named by one who checks the archive.
    store.set(Mood::Away);
    node.send(&all[..1]).await;
    node.seal().await;
    store.set(Mood::Holds("PUT", "/v1/logs/"));
    let checked = node.replay(Archive, None).await.unwrap();
    assert_eq!(checked.entries, before.entries);
    assert!(checked.missing.contains("it is not archived"), "{}", checked.missing);
    let auto = node.replay(Auto, None).await.unwrap();
    assert_eq!((auto.entries.len(), &*auto.missing), (9, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_whose_sink_was_down_past_the_retention_goes_on_from_the_archive_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Works).await;
    let sink = Sink::start();
    let export = format!(
        "export:\n  - {{ name: a, otlp_http: {{ endpoint: \"http://{}\", compression: none }}, start: oldest }}\n",
        sink.address
    );
    let mut node = single(dir.path(), &format!("{NO_RETENTION}{}{export}", in_bucket(&store)));
    let all = records("exported", 9);
    sink.take(1);
    send_apart(&node, &all[..1]).await;
    until("the first record", async || match sink.taken().len() {
        1 => Ok(()),
        _ => Err(node.log()),
    })
    .await;
    // From here on the sink takes nothing.
    until("a cursor", async || match exporter(&node)["debt_entries"].as_u64() {
        Some(0) => Ok(()),
        _ => Err(node.log()),
    })
    .await;
    until_trimmed(&node).await;
    send_apart(&node, &all[1..6]).await;
    until_archived(&node, 6).await;
    until_trimmed(&node).await;
    until(
        "a debt that only the archive has",
        async || match exporter(&node)["debt_entries"].as_u64() {
            Some(5) => Ok(()),
            other => Err(format!("{other:?} {}", node.log())),
        },
    )
    .await;
    // It may have read a batch while that was there; a new start has not.
    node.kill();
    store.set(Mood::Away);
    node.start();
    until("a node that serves", async || node.sealed().await.map(drop)).await;
    sink.take(1000);
    until("a wait for the store", async || {
        let shown = exporter(&node);
        match shown["waiting"].as_str() {
            Some(why) if why.contains("only the archive has") => Ok(()),
            _ => Err(format!("{shown} {}", node.log())),
        }
    })
    .await;
    // What comes meanwhile is acknowledged, and sent behind it.
    node.send(&all[6..]).await;
    assert_eq!(sink.taken(), all[..1]);
    store.set(Mood::Works);
    until("all of it", async || match sink.taken().len() >= all.len() {
        true => Ok(()),
        false => Err(format!("{} {}", exporter(&node), node.log())),
    })
    .await;
    assert_eq!(sink.taken(), all, "in order, each once");
    until("nothing owed", async || {
        match exporter(&node)["debt_entries"].as_u64() {
            Some(0) => Ok(()),
            other => Err(format!("{other:?} {}", exporter(&node))),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_replays_what_all_its_nodes_have_trimmed_and_names_what_the_archive_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let nodes = cluster(dir.path(), VAULT).await;
    set(&nodes[0], "archive.object_size", "64KiB").await;
    set(&nodes[0], "archive.url", &format!("file://{}", folder.display())).await;
    for (n, node) in nodes.iter().enumerate() {
        send_apart(node, &records(&format!("of {n}"), 2)).await;
    }
    for node in &nodes {
        until_archived(node, 6).await;
    }
    let before = nodes[1].replay(Vault, None).await.unwrap();
    assert_eq!((before.entries.len(), &*before.missing), (6, ""));
    set(&nodes[0], "vault.retention", "0s").await;
    for node in &nodes {
        until_trimmed(node).await;
    }
    for node in &nodes {
        let after = node.replay(Auto, None).await.unwrap();
        assert_eq!((&after.entries, &*after.missing), (&before.entries, ""));
        assert_eq!(after.end.unwrap().archived_entries, 6);
    }

    // One object is tampered with, and one is gone: those are named, and all others come.
    let objects: Vec<PathBuf> = files_below(&folder.join("v1/logs"));
    let (bad, away) = (&objects[0], &objects[1]);
    let whole = fs::read(bad).unwrap();
    let file = fs::File::options().write(true).open(bad).unwrap();
    file.write_all_at(&[whole[2000] ^ 1], 2000).unwrap();
    let aside = dir.path().join("aside");
    fs::rename(away, &aside).unwrap();
    let after = nodes[2].replay(Auto, None).await.unwrap();
    assert_eq!(after.entries.len(), 4, "{}", after.missing);
    assert!(after.entries.iter().all(|entry| before.entries.contains(entry)));
    for key in [bad, away] {
        let name = key.file_name().unwrap().to_string_lossy().into_owned();
        assert!(after.missing.contains(&name), "{name}: {}", after.missing);
    }
    assert!(after.missing.contains("put it back"), "{}", after.missing);
    fs::write(bad, whole).unwrap();
    fs::rename(&aside, away).unwrap();
    let after = nodes[2].replay(Auto, None).await.unwrap();
    assert_eq!((&after.entries, &*after.missing), (&before.entries, ""));
}

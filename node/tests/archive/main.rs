//! Nodes that archive: into a folder, and into an S3 server in this process that fails as stores do.
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod identity;
mod node;
mod reading;
mod reading_jobs;
mod restore;
#[path = "../debt/sink.rs"]
#[allow(dead_code)] // the other tests use all of it
mod sink;
mod store;
mod superseded;
mod weather;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

use crate::node::{Node, cluster, single, until};
use crate::store::{Mood, Store, files_below};

/// Records of 90 KB that do not compress: a sealed segment of any of them is large enough for an object of its own.
fn records(name: &str, count: usize) -> Vec<String> {
    let seed = |state: u64, byte: u8| state.wrapping_mul(31).wrapping_add(byte.into());
    let mut state = name.bytes().fold(1_u64, seed);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let text = |n| {
        let noise: String = (0..90_000)
            .map(|_| {
                char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"[next() as usize % 64])
            })
            .collect();
        format!("{name} {n:05} {noise}")
    };
    (0..count).map(text).collect()
}

const VAULT: &str = "vault: { segment_size: 512KiB, disk_limit: 512MiB, any_filesystem: true, retention: 1h }\n";
/// One from which what is released goes at once.
const NO_RETENTION: &str = "vault: { segment_size: 512KiB, disk_limit: 512MiB, any_filesystem: true, retention: 0s }\n";

fn in_bucket(store: &Store) -> String {
    let endpoint = &store.url;
    format!("archive: {{ url: \"s3://logs/some/prefix\", endpoint: \"{endpoint}\", object_size: 64KiB }}\n")
}

/// What is in these objects: how often each record is, by the hash of its text.
fn content(objects: &[PathBuf]) -> HashMap<blake3::Hash, usize> {
    let mut found = HashMap::new();
    for path in objects {
        let decoded = zstd::stream::decode_all(&*fs::read(path).unwrap());
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let logs = ExportLogsServiceRequest::decode(&*decoded).unwrap();
        let scopes = logs.resource_logs.into_iter().flat_map(|of| of.scope_logs);
        for record in scopes.flat_map(|of| of.log_records) {
            let Some(Value::StringValue(text)) = record.body.and_then(|body| body.value) else {
                panic!("a record of these tests has a text")
            };
            *found.entry(blake3::hash(text.as_bytes())).or_default() += 1;
        }
    }
    found
}

/// Each record once.
fn once(records: &[String]) -> HashMap<blake3::Hash, usize> {
    records.iter().map(|text| (blake3::hash(text.as_bytes()), 1)).collect()
}

/// Waits until everything that is sealed is archived.
async fn until_archived(node: &Node, objects: u64) {
    until("everything in the archive", async || {
        let seen = node.archive().await?;
        let is_all = seen.debt_segments == 0 && seen.listed_objects >= objects && seen.fault.is_empty();
        if is_all {
            Ok(())
        } else {
            Err(format!("{seen:?} {}", node.log()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_in_a_folder_as_objects_that_zstd_decodes_and_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let rest = format!(
        "{VAULT}archive: {{ url: \"file://{}\", object_size: 64KiB }}\n",
        folder.display()
    );
    let node = single(dir.path(), &rest);
    let all = records("folder", 12);
    node.send(&all).await;
    node.seal().await;
    until_archived(&node, 1).await;
    let objects = files_below(&folder.join("v1/logs"));
    assert_eq!(content(&objects), once(&all));

    let listed = node.archived().await.unwrap();
    let keys: Vec<PathBuf> = listed.iter().map(|object| folder.join(&object.key)).collect();
    assert_eq!(
        (keys.len(), listed.iter().map(|object| object.entries).sum::<u64>()),
        (objects.len(), 12)
    );
    assert!(keys.iter().all(|key| objects.contains(key)), "{keys:?} {objects:?}");
    for (object, file) in listed.iter().zip(&keys) {
        assert_eq!(object.state, "listed");
        assert_eq!(object.blake3, blake3::hash(&fs::read(file).unwrap()).to_string());
    }
    // The chain of manifests, from the head that the catalogue has to the first.
    let status = node.archive().await.unwrap();
    let mut expected = status.manifest_blake3.clone();
    let mut seen = 0;
    for seq in (1..=status.manifest).rev() {
        let of_seq = |path: &&PathBuf| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&format!("{seq}-"))
        };
        let manifests = files_below(&folder.join("v1/manifests"));
        let bytes = fs::read(manifests.iter().find(of_seq).unwrap()).unwrap();
        assert_eq!(blake3::hash(&bytes).to_string(), expected);
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest["store_id"], status.store_id);
        seen += manifest["objects"].as_array().unwrap().len();
        expected = manifest["prev"].as_str().unwrap().to_owned();
    }
    assert_eq!((seen, expected), (objects.len(), "0".repeat(64)));
    let metrics = node.text("/metrics");
    assert!(metrics.contains("\ngophership_archive_debt_segments 0\n"), "{metrics}");
    assert_eq!(node.shown("/api/v1/status")["archive"]["debt_segments"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_between_put_and_commit_leaves_exactly_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Holds("GET", "/v1/logs/")).await;
    let mut node = single(dir.path(), &format!("{VAULT}{}", in_bucket(&store)));
    let all = records("killed", 2);
    node.send(&all).await;
    node.seal().await;
    until("an object that is read back", async || match store.held().len() {
        0 => Err(node.log()),
        _ => Ok(()),
    })
    .await;
    node.kill();
    let before = store.objects();
    assert_eq!(before.len(), 1);
    store.set(Mood::Works);
    node.start();
    until_archived(&node, 1).await;
    assert_eq!(store.objects(), before, "the same object, under the same name");
    assert_eq!(content(&before), once(&all));
    assert_eq!(node.archived().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_denies_or_is_busy_costs_no_record_and_makes_no_object_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Away).await;
    let node = single(dir.path(), &format!("{VAULT}{}", in_bucket(&store)));
    let mut all = Vec::new();
    for (mood, said) in [
        (Mood::Away, "the store did not do it now"),
        (Mood::Answers(503, "SlowDown"), "503"),
        (Mood::Answers(403, "AccessDenied"), "access to"),
    ] {
        store.set(mood);
        let more = records(said, 4);
        node.send(&more).await;
        node.seal().await;
        all.extend(more);
        until("a debt, and what the store said", async || {
            let seen = node.archive().await?;
            let is_so = seen.debt_entries == all.len() as u64 && seen.fault.contains(said);
            if is_so {
                Ok(())
            } else {
                Err(format!("{mood:?} {seen:?} {}", node.log()))
            }
        })
        .await;
    }
    until(
        "a fault that is shown, of a node that serves all the same",
        async || {
            let problems = node.shown("/api/v1/cluster")["problems"].to_string();
            let metrics = node.text("/metrics");
            let is_shown = problems.contains("archiving does not go on")
                && metrics.contains("\ngophership_archive_working 0\n")
                && node.shown("/api/v1/status")["node"]["ready"].as_bool().unwrap();
            if is_shown {
                Ok(())
            } else {
                Err(format!("{problems} {metrics}"))
            }
        },
    )
    .await;

    store.set(Mood::Works);
    until_archived(&node, 1).await;
    // And once more in the middle of the work; of what is done, the answer may be lost.
    for mood in [Mood::Answers(503, "SlowDown"), Mood::Loses(503, "SlowDown")] {
        let more = records(&format!("later {mood:?}"), 6);
        node.send(&more).await;
        store.set(mood);
        node.seal().await;
        until("a fault", async || match node.archive().await?.fault {
            fault if fault.is_empty() => Err(node.log()),
            _ => Ok(()),
        })
        .await;
        store.set(Mood::Works);
        all.extend(more);
        until_archived(&node, 1).await;
    }
    assert_eq!(content(&store.objects()), once(&all));
    let listed = node.archived().await.unwrap();
    assert_eq!(listed.len(), store.objects().len());
    assert!(!node.log().contains(store::SECRET), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_goes_only_once_a_manifest_lists_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Holds("PUT", "/v1/manifests/")).await;
    let mut node = single(dir.path(), &format!("{NO_RETENTION}{}", in_bucket(&store)));
    let all = records("kept", 2);
    node.send(&all).await;
    node.seal().await;
    let is_committed = async |node: &Node| {
        let seen = node.archive().await?;
        let is_so = seen.committed_objects == 1;
        if is_so {
            Ok(())
        } else {
            Err(format!("{seen:?} {}", node.log()))
        }
    };
    until("a committed object", async || is_committed(&node).await).await;
    // Several turns of what removes segments; one that is slow removes nothing either.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.sealed().await.unwrap().len(), 1);
    // A new start has it on record before anything is removed.
    node.kill();
    node.start();
    until("a committed object", async || is_committed(&node).await).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((node.sealed().await.unwrap().len(), store.manifests().len()), (1, 0));
    store.set(Mood::Works);
    until("a segment that is gone", async || {
        let (left, manifests) = (node.sealed().await?, store.manifests().len());
        match (left.len(), manifests) {
            (0, 1) => Ok(()),
            seen => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    assert_eq!(content(&store.objects()), once(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_folder_under_the_same_url_is_refused_by_name_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let rest = format!(
        "{VAULT}archive: {{ url: \"file://{}\", object_size: 64KiB }}\n",
        folder.display()
    );
    let mut node = single(dir.path(), &rest);
    let all = records("mounted", 2);
    node.send(&all[..1]).await;
    node.seal().await;
    until_archived(&node, 1).await;
    node.kill();
    // The mount is missing.
    let away = dir.path().join("away");
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    node.start();
    node.send(&all[1..]).await;
    node.seal().await;
    until("a refusal", async || {
        let seen = node.archive().await?;
        let is_so = seen.fault.contains("is a mount missing") && seen.debt_entries == 1;
        if is_so {
            Ok(())
        } else {
            Err(format!("{seen:?} {}", node.log()))
        }
    })
    .await;
    assert_eq!(files_below(&folder.join("v1/logs")), Vec::<PathBuf>::new());
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    until_archived(&node, 2).await;
    assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_no_manifest_of_a_store_that_is_gone_is_archived_anew_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Holds("PUT", "/v1/manifests/")).await;
    let mut node = single(dir.path(), &format!("{NO_RETENTION}{}", in_bucket(&store)));
    let all = records("moved", 2);
    node.send(&all).await;
    node.seal().await;
    let left = until("a committed object", async || {
        let seen = node.archive().await?;
        match (seen.committed_objects, seen.waiting_store_id.as_str()) {
            (1, "") => Ok(seen.store_id),
            _ => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    node.kill();
    store.set(Mood::Away);
    // An operator names a folder, which is not there yet.
    let folder = dir.path().join("another");
    let config = dir.path().join("node-1.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let (before, _) = text.split_once("archive: ").unwrap();
    let url = folder.display();
    fs::write(
        &config,
        format!("{before}archive: {{ url: \"file://{url}\", object_size: 64KiB }}\n"),
    )
    .unwrap();
    node.start();
    until("the store for which an object waits", async || {
        let seen = node.archive().await?;
        match (seen.committed_objects, seen.waiting_store_id == left) {
            (1, true) => Ok(()),
            _ => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    fs::create_dir(&folder).unwrap();
    until_archived(&node, 1).await;
    until("a store for which nothing waits", async || {
        let seen = node.archive().await?;
        match seen.waiting_store_id.as_str() {
            "" => Ok(()),
            _ => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&all));
    until("a segment that is gone", async || match node.sealed().await?.len() {
        0 => Ok(()),
        left => Err(format!("{left} {}", node.log())),
    })
    .await;
}

fn holder(objects: &[gophership_proto::control::v1::ArchiveObject]) -> Vec<(u32, &str)> {
    objects
        .iter()
        .map(|object| (object.holder, object.state.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_paused_past_its_lease_commits_nothing_and_another_holder_makes_the_same_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Holds("GET", "/v1/logs/")).await;
    let nodes = cluster(dir.path(), &format!("{VAULT}{}", in_bucket(&store))).await;
    let own = nodes[2].cluster().await.unwrap().node;
    let all = records("paused", 2);
    nodes[2].send(&all).await;
    nodes[2].seal().await;
    until("an object that is read back", async || match store.held().len() {
        0 => Err(nodes[2].log()),
        _ => Ok(()),
    })
    .await;
    nodes[2].signal(rustix::process::Signal::STOP);
    // The others count it as dead, and one goes on with its lease: it waits for its reading, too.
    until("another holder", async || {
        let seen = nodes[0].archived().await?;
        match holder(&seen)[..] {
            [(node, "leased")] if node != own && store.held().len() > 1 => Ok(()),
            ref other => Err(format!("{other:?} {:?} {}", store.held(), nodes[0].log())),
        }
    })
    .await;
    // It goes on with its own reading while the other still reads.
    nodes[2].signal(rustix::process::Signal::CONT);
    store.release_first();
    until("a commit that is refused", async || {
        let log = nodes[2].log();
        if log.contains("archive.lease.lost") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert!(matches!(holder(&nodes[0].archived().await.unwrap())[..], [(node, "leased")] if node != own));
    store.set(Mood::Works);
    until_archived(&nodes[0], 1).await;
    until_archived(&nodes[2], 1).await;
    let listed = nodes[2].archived().await.unwrap();
    assert!(
        matches!(holder(&listed)[..], [(node, "listed")] if node != own),
        "{listed:?}"
    );
    assert_eq!(content(&store.objects()), once(&all));
    assert_eq!(store.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_only_the_cluster_has_counts_on_every_node() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let nodes = cluster(dir.path(), VAULT).await;
    set(&nodes[0], "archive.object_size", "64KiB").await;
    set(&nodes[0], "archive.url", &format!("file://{}", folder.display())).await;
    set(&nodes[0], "vault.retention", "0s").await;
    let all: Vec<String> = (0..3).flat_map(|n| records(&format!("of {n}"), 2)).collect();
    for (node, records) in nodes.iter().zip(all.chunks(2)) {
        node.send(records).await;
        node.seal().await;
    }
    for node in &nodes {
        until_archived(node, 3).await;
    }
    assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_with_an_archive_that_becomes_a_clusters_first_gives_it_all_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let rest = format!(
        "{VAULT}archive: {{ url: \"file://{}\", object_size: 64KiB }}\nexport:\n  - {{ name: a, otlp_http: {{ endpoint: \
         \"http://127.0.0.1:9\" }}, start: oldest }}\n",
        folder.display()
    );
    let mut alone = single(dir.path(), &rest);
    alone.send(&records("alone", 2)).await;
    alone.seal().await;
    until_archived(&alone, 1).await;
    alone.kill();
    drop(alone);
    // The folder of the first node is the single node's.
    let nodes = cluster(dir.path(), &rest).await;
    let url = format!("file://{}", folder.display());
    for node in &nodes {
        until("the settings of the first node", async || {
            let all = node.settings().await?;
            let from = |key: &str| {
                let found = all.iter().find(|(found, ..)| found == key);
                found.map(|(_, value, from)| (value.as_str(), from.as_str()))
            };
            let is_so = from("archive.url") == Some((url.as_str(), "cluster"))
                && from("archive.object_size") == Some(("64KiB", "cluster"))
                && from("vault.retention") == Some(("1h", "cluster"))
                && from("exporter.a").map(|(_, from)| from) == Some("cluster");
            if is_so {
                Ok(())
            } else {
                Err(format!("{all:?} {}", node.log()))
            }
        })
        .await;
    }
    let all = records("together", 2);
    nodes[1].send(&all).await;
    nodes[1].seal().await;
    until_archived(&nodes[1], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_cannot_be_read_keeps_no_other_one_from_the_archive() {
    // Those of one hour are one group: none is to begin while this runs.
    let left = 3600 - SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() % 3600;
    if left < 300 {
        tokio::time::sleep(Duration::from_secs(left + 1)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Away).await;
    let rest = in_bucket(&store).replace("64KiB", "192KiB");
    let node = single(dir.path(), &format!("{VAULT}{rest}"));
    // Of three each an object would be.
    let all = records("one is bad", 4);
    for record in &all {
        node.send(std::slice::from_ref(record)).await;
        node.seal().await;
    }
    let bad = node.sealed().await.unwrap()[1].segment.unwrap();
    let file = format!("segments/{:010}/{:04}/{:012}.seg", bad.node, bad.shard, bad.index);
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("node-1").join(file));
    file.unwrap().write_all_at(&[0; 64], 40_000).unwrap();
    store.set(Mood::Works);
    until("all but one in the archive", async || {
        let seen = node.archive().await?;
        match (seen.debt_segments, seen.listed_objects, seen.unreadable_segments) {
            (1, 1, 1) => Ok(()),
            _ => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    let others = [&all[..1], &all[2..]].concat();
    assert_eq!(content(&store.objects()), once(&others));
}

/// Sets a setting of the cluster.
async fn set(node: &Node, key: &str, value: &str) {
    until("a setting", async || node.set(key, value).await).await;
}

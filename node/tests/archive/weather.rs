//! A store that hangs, and one that is changed or left alone by an operator.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::node::{cluster, single, until};
use crate::store::{Mood, Store, files_below};
use crate::{VAULT, content, once, records, until_archived};

/// A folder hangs: an object in it is a FIFO, whose opening waits for a writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_hangs_is_told_and_holds_up_no_stop() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let url = format!("file://{}", folder.display());
    let mut node = single(
        dir.path(),
        &format!("{VAULT}archive: {{ url: \"{url}\", object_size: 64KiB }}\n"),
    );
    let all = records("hangs", 4);
    node.send(&all[..2]).await;
    node.seal().await;
    until_archived(&node, 1).await;

    let (json, away) = (folder.join("v1/store.json"), dir.path().join("away"));
    fs::rename(&json, &away).unwrap();
    assert!(Command::new("mkfifo").arg(&json).status().unwrap().success());
    node.send(&all[2..]).await;
    node.seal().await;
    until("the fault", async || {
        let seen = node.archive().await?;
        match seen.fault.contains("the folder has not answered since") {
            true => Ok(()),
            false => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
    assert!(node.text("/metrics").contains("\ngophership_archive_working 0\n"));
    node.signal(Signal::TERM);
    until("the end of the node", async || match node.has_ended() {
        true => Ok(()),
        false => Err(node.log()),
    })
    .await;

    // It is back, and so is the node: it goes on where it was.
    fs::rename(&away, &json).unwrap();
    node.start();
    until_archived(&node, 2).await;
    assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_the_clusters_is_shown_and_ends_by_an_operator_or_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(Mood::Works).await;
    let nodes = cluster(dir.path(), &format!("{VAULT}{}", crate::in_bucket(&store))).await;
    until("a pause", async || nodes[0].pause(3600).await.map(drop)).await;
    let too_long = nodes[0].pause(8 * 24 * 3600).await.unwrap_err();
    assert!(too_long.contains("7 days"), "{too_long}");
    until("the pause at another node", async || {
        let metrics = nodes[1].text("/metrics");
        match metrics.contains("\ngophership_archive_paused 1\n") {
            true => Ok(()),
            false => Err(nodes[1].log()),
        }
    })
    .await;
    let all = records("paused", 4);
    nodes[1].send(&all[..2]).await;
    nodes[1].seal().await;
    let seen = nodes[1].archive().await.unwrap();
    assert!(
        seen.paused_until_unix_nano > 0 && seen.waits_for.contains("gs-ctl archive resume"),
        "{seen:?}"
    );
    // It looks several times, and leaves it.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(store.objects().len(), 0);
    until("its end", async || nodes[2].pause(0).await.map(drop)).await;
    until_archived(&nodes[1], 1).await;

    until("a short pause", async || nodes[0].pause(3).await.map(drop)).await;
    nodes[1].send(&all[2..]).await;
    nodes[1].seal().await;
    until_archived(&nodes[1], 2).await;
    assert_eq!(content(&store.objects()), once(&all));
    let seen = nodes[1].archive().await.unwrap();
    assert_eq!((seen.paused_until_unix_nano, seen.waits_for.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_from_a_folder_to_a_bucket_in_one_change_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let store = Store::start(Mood::Works).await;
    let url = format!("file://{}", folder.display());
    let rest = format!("{VAULT}archive: {{ url: \"{url}\", object_size: 64KiB }}\n");
    let nodes = cluster(dir.path(), &rest).await;
    let all = records("moves", 6);
    nodes[1].send(&all[..2]).await;
    nodes[1].seal().await;
    until_archived(&nodes[1], 1).await;

    let bucket = [
        ("archive.url", "s3://logs/some/prefix"),
        ("archive.endpoint", store.url.as_str()),
        ("archive.region", "eu-west-1"),
    ];
    // Nothing is changed where one of them cannot be.
    let bad = nodes[0]
        .set_all(&[bucket[0], ("archive.zstd_level", "99")])
        .await
        .unwrap_err();
    assert!(bad.contains("archive.zstd_level"), "{bad}");
    let twice = nodes[0].set_all(&[bucket[0], bucket[0]]).await.unwrap_err();
    assert!(twice.contains("named twice"), "{twice}");
    let versions = until("the bucket", async || nodes[0].set_all(&bucket).await).await;
    assert!(
        versions.iter().all(|version| *version == versions[0] && *version > 0),
        "{versions:?}"
    );
    until("the bucket at another node", async || {
        let seen = nodes[1].archive().await?;
        match seen.url == bucket[0].1 && !seen.store_id.is_empty() {
            true => Ok(()),
            false => Err(format!("{seen:?} {}", nodes[1].log())),
        }
    })
    .await;
    nodes[1].send(&all[2..4]).await;
    nodes[1].seal().await;
    until_archived(&nodes[1], 2).await;
    assert_eq!(content(&store.objects()), once(&all[2..4]));
    // No node has asked another store meanwhile, and failed.
    for node in &nodes {
        let log = node.log();
        let failed = log
            .lines()
            .find(|line| line.contains("archive.failed") && line.contains("s3://"));
        assert_eq!(failed, None);
    }

    // Back: endpoint and region stay, and count for nothing.
    until("the folder", async || {
        nodes[0].set_all(&[("archive.url", url.as_str())]).await.map(drop)
    })
    .await;
    nodes[1].send(&all[4..]).await;
    nodes[1].seal().await;
    until_archived(&nodes[1], 3).await;
    until("no region", async || {
        nodes[0]
            .set_all(&[("archive.region", "none"), ("archive.endpoint", "none")])
            .await
            .map(drop)
    })
    .await;
    let found = nodes[0].settings().await.unwrap();
    let region = found.iter().find(|(key, ..)| key == "archive.region").unwrap();
    assert_eq!((region.1.as_str(), region.2.as_str()), ("none", "cluster"));
}

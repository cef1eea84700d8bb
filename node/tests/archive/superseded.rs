//! A node that archives, and finds that another cluster was restored from its archive: at any step of its work.

use std::fs;

use crate::node::{Node, single, until};
use crate::store::{Mood, Store};
use crate::{VAULT, in_bucket, records, until_archived};

/// A look for the marker of the restore that comes after a cluster which did not begin with one.
const LOOK: (&str, &str) = ("HEAD", "/superseded-by-1.json");
/// A part of the paths of all objects.
const OBJECTS: &str = "/v1/logs/";

/// The marker's name and its content, as another cluster with the id of this one puts it.
async fn marker(node: &Node) -> (String, String) {
    let cluster = node.cluster().await.unwrap().cluster_id;
    let content = format!(
        r#"{{"format":1,"cluster_id":"{cluster}","generation":1,"restore_id":"00000000-0000-0000-0000-000000000007"}}"#
    );
    (
        format!("some/prefix/v1/manifests/{cluster}/superseded-by-1.json"),
        content,
    )
}

async fn until_superseded(node: &Node) {
    until("a node that knows it was superseded", async || {
        let seen = node.archive().await?;
        let knows = seen.fault.contains("was restored from this archive elsewhere");
        let has_id = seen.fault.contains("00000000-0000-0000-0000-000000000007");
        match knows && has_id {
            true => Ok(()),
            false => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await;
}

/// What is done of an object and of its manifest where the marker appears in the moment after the look number `looks`.
async fn done_after(looks: usize) -> ([usize; 4], Vec<String>) {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::start(Mood::Works).await);
    let node = single(dir.path(), &format!("{VAULT}{}", in_bucket(&store)));
    until("an open store", async || {
        match node.archive().await?.store_id.is_empty() {
            true => Err(node.log()),
            false => Ok(()),
        }
    })
    .await;
    let (name, content) = marker(&node).await;
    store.write_after(looks, LOOK, &name, content.as_bytes());
    node.send(&records("one", 1)).await;
    node.seal().await;
    until_superseded(&node).await;
    let manifest = format!("{}/1-", node.cluster().await.unwrap().cluster_id);
    let answered = store.answered();
    let count = |method: &str, part: &str| {
        let is_one = |of: &&String| of.starts_with(method) && of.contains(part);
        answered.iter().filter(is_one).count()
    };
    let done = [
        count("PUT", OBJECTS),
        count("GET", OBJECTS),
        count("PUT", &manifest),
        count("GET", &manifest),
    ];
    let states = node.archived().await.unwrap().into_iter().map(|object| object.state);
    (done, states.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marker_is_looked_for_before_each_put_read_and_commit_and_ends_the_work_there() {
    for (looks, done, state) in [
        (0, [0, 0, 0, 0], "leased"),
        (1, [1, 0, 0, 0], "leased"),
        (2, [1, 1, 0, 0], "leased"),
        (3, [1, 1, 0, 0], "committed"),
        (4, [1, 1, 1, 0], "committed"),
        (5, [1, 1, 1, 1], "committed"),
    ] {
        assert_eq!(done_after(looks).await, (done, vec![state.to_owned()]), "{looks} looks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marker_is_looked_for_before_a_duplicate_is_deleted() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::start(Mood::Works).await);
    let mut node = single(dir.path(), &format!("{VAULT}{}", in_bucket(&store)));
    // Something else has the name of the object, which is put under another one.
    store.set(Mood::Holds("PUT", OBJECTS));
    node.send(&records("one", 1)).await;
    node.seal().await;
    let held = until("a put", async || {
        store.held().first().cloned().ok_or_else(|| node.log())
    })
    .await;
    let taken = store.path(&held.replace("%3D", "="));
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    fs::write(&taken, b"something else").unwrap();
    store.set(Mood::Works);
    until_archived(&node, 1).await;
    let (name, content) = marker(&node).await;
    // It has become a duplicate of the object, as one has that was put late. A node that starts deletes those.
    let objects = store.objects();
    let listed = objects.iter().find(|path| **path != taken).unwrap();
    fs::copy(listed, &taken).unwrap();
    node.kill();
    store.write_after(1, LOOK, &name, content.as_bytes());
    node.start();
    until_superseded(&node).await;
    assert_eq!(store.objects(), objects);

    // Where there is no marker it does.
    node.kill();
    fs::remove_file(store.path(&format!("/logs/{name}"))).unwrap();
    node.start();
    until("no duplicate", async || match taken.exists() {
        true => Err(node.log()),
        false => Ok(()),
    })
    .await;
}

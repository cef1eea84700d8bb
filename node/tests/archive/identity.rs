//! Which store it is: a folder whose mount goes, a URL that comes back, a `store.json` that was lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::node::{Node, single, until};
use crate::store::files_below;
use crate::{NO_RETENTION, VAULT, content, once, records, until_archived};

fn in_folder(folder: &Path) -> String {
    format!(
        "archive: {{ url: \"file://{}\", object_size: 64KiB }}\n",
        folder.display()
    )
}

/// Waits for a fault that says all of this, of a node with one entry that is not archived. Returns what it says.
async fn refused(node: &Node, says: &[&str]) -> String {
    until("a refusal", async || {
        let seen = node.archive().await?;
        let is_so = says.iter().all(|said| seen.fault.contains(said)) && seen.debt_entries == 1;
        match is_so {
            true => Ok(seen.fault),
            false => Err(format!("{seen:?} {}", node.log())),
        }
    })
    .await
}

/// The id in a folder's `store.json`.
fn id_in(folder: &Path) -> String {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("v1/store.json")).unwrap()).unwrap();
    json["store_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_unmounted_under_a_running_node_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [folder, away, bare] = ["archive", "away", "bare"].map(|name| dir.path().join(name));
    fs::create_dir(&folder).unwrap();
    let node = single(dir.path(), &format!("{NO_RETENTION}{}", in_folder(&folder)));
    let all = records("unmounted", 2);
    node.send(&all[..1]).await;
    node.seal().await;
    until_archived(&node, 1).await;
    until("a segment that is gone", async || match node.sealed().await?.len() {
        0 => Ok(()),
        _ => Err(node.log()),
    })
    .await;
    let id = id_in(&folder);

    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    node.send(&all[1..]).await;
    node.seal().await;
    refused(&node, &["is a mount missing", &id]).await;
    assert_eq!(node.sealed().await.unwrap().len(), 1, "it is not released");

    fs::rename(&folder, &bare).unwrap();
    fs::rename(&away, &folder).unwrap();
    until_archived(&node, 2).await;
    assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&all));
    assert!(!bare.join("v1/store.json").exists());
    assert_eq!(files_below(&bare.join("v1/manifests")), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_stands_for_its_store_also_after_another_url_and_nothing_is_written_where_store_json_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, away] = ["first", "second", "away"].map(|name| dir.path().join(name));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    let mut node = single(dir.path(), &format!("{VAULT}{}", in_folder(&first)));
    let all = records("back", 3);
    let config = dir.path().join("node-1.yaml");
    let of_first = fs::read_to_string(&config).unwrap();
    for (n, text) in [of_first.clone(), of_first.replace("/first\"", "/second\"")]
        .iter()
        .enumerate()
    {
        node.kill();
        fs::write(&config, text).unwrap();
        node.start();
        node.send(&all[n..=n]).await;
        node.seal().await;
        until_archived(&node, n as u64 + 1).await;
    }
    let id = id_in(&first);
    assert_ne!(id, id_in(&second));

    // Back to the first one, whose mount is missing.
    node.kill();
    fs::rename(&first, &away).unwrap();
    fs::create_dir(&first).unwrap();
    fs::write(&config, of_first).unwrap();
    node.start();
    node.send(&all[2..]).await;
    node.seal().await;
    let content_lost = format!("{{\"format\":1,\"store_id\":\"{id}\"}}");
    refused(&node, &["is a mount missing", &content_lost]).await;
    fs::remove_dir(&first).expect("nothing was written");

    // It is mounted, and the file is lost: what is said to be put back is what was there.
    let lost = first.join("v1/store.json");
    assert_eq!(fs::read_to_string(away.join("v1/store.json")).unwrap(), content_lost);
    fs::remove_file(away.join("v1/store.json")).unwrap();
    fs::rename(&away, &first).unwrap();
    refused(&node, &["v1/store.json is missing", &content_lost]).await;
    assert!(!lost.exists());
    fs::write(&lost, &content_lost).unwrap();
    until_archived(&node, 3).await;
    for (folder, of) in [(&first, [0, 2].as_slice()), (&second, &[1])] {
        let of: Vec<String> = of.iter().map(|n| all[*n].clone()).collect();
        assert_eq!(content(&files_below(&folder.join("v1/logs"))), once(&of));
    }
}

//! Clusters that begin with what an archive has, by `gs-ctl cluster provision --restore-from`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gophership_proto::control::v1::ReplaySource::Auto;
use serde_json::Value;

use crate::node::{Node, candidates, cluster, single, until, until_whole};
use crate::sink::Sink;
use crate::store::{KEY_ID, Mood, SECRET, Store, files_below};
use crate::{VAULT, in_bucket, once, records, until_archived};

/// The exit code of `gs-ctl` where something is damaged or missing.
const DAMAGED: i32 = 4;

/// Runs the tool that is built beside the node. Returns its exit code, and what it printed, as JSON where it is that.
fn gs_ctl(socket: Option<&Path>, args: &[&str]) -> (i32, Value, String) {
    let tool = Path::new(env!("CARGO_BIN_EXE_gophership")).with_file_name("gs-ctl");
    assert!(tool.exists(), "build gs-ctl first: cargo test --workspace does");
    let mut command = Command::new(tool);
    if let Some(socket) = socket {
        command.arg("--socket").arg(socket);
    }
    let ran = command
        .args(args)
        .args(["-o", "json"])
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    eprintln!("{args:?}: {:?} {said}", ran.status.code());
    let shown = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
    (ran.status.code().unwrap_or(-1), shown, said)
}

/// The names of all objects on record, of which each is listed.
async fn listed(node: &Node) -> BTreeSet<String> {
    let objects = node.archived().await.unwrap();
    assert!(objects.iter().all(|object| object.state == "listed"), "{objects:?}");
    objects.into_iter().map(|object| object.key).collect()
}

fn names_below(folder: &Path) -> BTreeSet<String> {
    let name = |path: PathBuf| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
    files_below(&folder.join("v1/logs")).into_iter().map(name).collect()
}

/// The names of the objects with faults.
fn faulty(view: &Value) -> BTreeSet<String> {
    let faults = view["faults"].as_array().unwrap_or_else(|| panic!("{view}"));
    let key = |fault: &Value| fault["key"].as_str().unwrap_or_default().to_owned();
    faults.iter().map(key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_has_all_that_the_archive_of_a_lost_one_has_and_the_lost_one_never_writes_to_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let (old_dir, new_dir, folder) = (
        dir.path().join("old"),
        dir.path().join("new"),
        dir.path().join("archive"),
    );
    for made in [&old_dir, &new_dir, &folder] {
        fs::create_dir(made).unwrap();
    }
    let url = format!("file://{}", folder.display());
    let rest = format!("{VAULT}archive: {{ url: \"{url}\", object_size: 64KiB }}\n");
    let mut old = cluster(&old_dir, &rest).await;
    let all = records("lost", 18);
    for (node, sent) in old.iter().zip(all.chunks(6)) {
        node.send(sent).await;
        node.seal().await;
    }
    until_archived(&old[0], 3).await;
    let lost = old[0].replay(Auto, None).await.unwrap();
    assert_eq!((lost.entries.len(), &*lost.missing), (18, ""));
    old.iter_mut().for_each(Node::kill);
    let there = names_below(&folder);
    let highest = there
        .iter()
        .map(|key| key.split('-').nth(3).unwrap().parse::<u64>().unwrap())
        .max();

    // Of two objects, one is gone and one is damaged.
    let (gone, bad) = (there.first().unwrap().clone(), there.last().unwrap().clone());
    let kept = [&gone, &bad].map(|key| (folder.join(key), fs::read(folder.join(key)).unwrap()));
    fs::remove_file(folder.join(&gone)).unwrap();
    let mut damaged = kept[1].1.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(folder.join(&bad), damaged).unwrap();
    let wrong = BTreeSet::from([gone.clone(), bad.clone()]);

    let restore = ["cluster", "provision", "--restore-from", &url, "--full"];
    let (code, dry, said) = gs_ctl(None, &[&restore[..], &["--dry-run"]].concat());
    assert_eq!((code, faulty(&dry)), (DAMAGED, wrong.clone()), "{said}");
    let new = candidates(&new_dir, &rest);
    until("a socket", async || match new[0].cluster().await {
        Ok(_) => Ok(()),
        Err(why) => Err(why),
    })
    .await;
    let (code, shown, said) = gs_ctl(Some(&new[0].socket()), &restore);
    assert_eq!((code, faulty(&shown)), (DAMAGED, wrong.clone()), "{shown} {said}");
    assert_eq!(shown["state"], "incomplete");
    assert_eq!(shown["objects"].as_u64().unwrap() as usize, there.len() - 2);
    until_whole(&new).await;
    for node in &new {
        until("what was taken in", async || {
            let seen = listed(node).await;
            let whole: BTreeSet<String> = there.difference(&wrong).cloned().collect();
            let known = seen.intersection(&there).cloned().collect::<BTreeSet<_>>();
            if known == whole {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
    }
    let status = new[0].cluster().await.unwrap();
    let first = u32::try_from(shown["first_node"].as_u64().unwrap()).unwrap();
    let alive = status.nodes.iter().filter(|node| node.report.is_some());
    assert!(
        alive.clone().count() == 3 && alive.clone().all(|node| node.id >= first),
        "{status:?}"
    );
    assert!(first > 3);

    // What it receives goes on behind the old chain.
    let more = records("new", 3);
    new[1].send(&more).await;
    new[1].seal().await;
    until_archived(&new[1], there.len() as u64 - 1).await;
    let (code, verdict, said) = gs_ctl(None, &["archive", "verify", &url, "--full"]);
    assert_eq!((code, faulty(&verdict)), (DAMAGED, wrong), "{verdict} {said}");
    let by_new: BTreeSet<String> = names_below(&folder).difference(&there).cloned().collect();
    assert!(!by_new.is_empty());
    for key in &by_new {
        assert!(key.split('-').nth(3).unwrap().parse::<u64>().ok() > highest, "{key}");
    }

    // What is put back is taken in by the same command, and once.
    for (path, bytes) in &kept {
        fs::write(path, bytes).unwrap();
    }
    for _ in 0..2 {
        let (code, shown, said) = gs_ctl(Some(&new[2].socket()), &restore);
        assert_eq!((code, shown["state"].as_str()), (0, Some("complete")), "{shown} {said}");
    }
    assert_eq!(listed(&new[0]).await, names_below(&folder));
    let (code, verdict, said) = gs_ctl(None, &["archive", "verify", &url, "--full"]);
    assert_eq!((code, verdict["ok"].as_bool()), (0, Some(true)), "{verdict} {said}");
    let both: Vec<String> = all.iter().chain(&more).cloned().collect();
    assert_eq!(crate::content(&files_below(&folder.join("v1/logs"))), once(&both));

    // The logs of the lost one's nodes are read with the own ones, bit for bit.
    for node in &new {
        let replayed = node.replay(Auto, None).await.unwrap();
        assert_eq!((replayed.entries.len(), &*replayed.missing), (21, ""));
        let (of_lost, of_new): (Vec<_>, Vec<_>) = replayed.entries.into_iter().partition(|entry| entry.node < first);
        assert_eq!((of_lost, of_new.len()), (lost.entries.clone(), 3));
        assert_eq!(replayed.end.unwrap().archived_entries, 18);
    }
    // An exporter that is set up now begins at the oldest that nodes have, not with the whole archive.
    let sink = Sink::start();
    sink.take(usize::MAX);
    until("an exporter", async || new[0].set_exporter("late", sink.address).await).await;
    let last = records("last", 3);
    for (node, record) in new.iter().zip(&last) {
        node.send(std::slice::from_ref(record)).await;
    }
    let sent: BTreeSet<String> = more.iter().chain(&last).cloned().collect();
    until("what nodes have", async || {
        let taken: BTreeSet<String> = sink.taken().into_iter().collect();
        let debts: Vec<Value> = new
            .iter()
            .map(|node| node.shown("/api/v1/status")["exporters"][0]["debt_entries"].clone())
            .collect();
        match taken.is_superset(&sent) && debts.iter().all(|debt| debt == 0) {
            true => Ok(()),
            false => Err(format!("{} {debts:?}", taken.len())),
        }
    })
    .await;
    assert_eq!(sink.taken().into_iter().collect::<BTreeSet<_>>(), sent);

    // The lost cluster wakes: it takes logs, and leaves the archive alone.
    drop(new);
    let before = (names_below(&folder), files_below(&folder.join("v1/manifests")));
    old.iter_mut().for_each(Node::start);
    until_whole(&old).await;
    old[0].send(&records("late", 2)).await;
    old[0].seal().await;
    for node in &old {
        until("a cluster that knows it was superseded", async || {
            let seen = node.archive().await?;
            match seen.fault.contains("was restored from this archive elsewhere") {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        })
        .await;
    }
    assert_eq!(
        (names_below(&folder), files_below(&folder.join("v1/manifests"))),
        before
    );
    let (code, _, said) = gs_ctl(Some(&old[0].socket()), &restore);
    assert!(
        code == 1 && said.contains("did not begin with a restore"),
        "{code} {said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_bucket_with_two_clusters_one_is_restored_by_name_also_where_a_manifest_is_gone() {
    let store = Store::start(Mood::Works).await;
    let rest = format!("{VAULT}{}", in_bucket(&store));
    let mut ids = Vec::new();
    for (name, count) in [("one", 6), ("other", 4)] {
        let dir = tempfile::tempdir().unwrap();
        let node = single(dir.path(), &rest);
        node.send(&records(name, count)).await;
        node.seal().await;
        until_archived(&node, 1).await;
        ids.push(node.cluster().await.unwrap().cluster_id);
    }
    let url = "s3://logs/some/prefix";
    let options = ["cluster", "provision", "--restore-from", url, "--endpoint", &store.url];
    let run = |more: &[&str]| tokio::task::block_in_place(|| gs_ctl(None, &[&options[..], more].concat()));
    let (code, _, said) = run(&["--dry-run"]);
    assert!(
        code == 2 && ids.iter().all(|id| said.contains(id.as_str())),
        "{code} {said}"
    );
    let (code, dry, said) = run(&["--dry-run", "--cluster", &ids[0]]);
    assert_eq!(
        (code, dry["faults"].as_array().map(Vec::len)),
        (0, Some(0)),
        "{dry} {said}"
    );

    // The newest manifest is damaged: what it alone lists is found by a scan.
    let manifests = store.files(&format!("some/prefix/v1/manifests/{}", ids[0]));
    let last = manifests.iter().max_by_key(|path| number_of(path)).unwrap();
    let whole = fs::read(last).unwrap();
    fs::write(last, b"{").unwrap();
    let (code, dry, said) = run(&["--dry-run", "--cluster", &ids[0]]);
    assert_eq!((code, dry["ok"].as_bool()), (DAMAGED, Some(false)), "{dry} {said}");

    let dir = tempfile::tempdir().unwrap();
    let new = candidates(dir.path(), &rest);
    until("a socket", async || new[0].cluster().await.map(drop)).await;
    let before = store.answered().len();
    // Nothing is read for good before the marker is there: whatever comes into the archive until then counts.
    store.set(Mood::Holds("PUT", "/superseded-by-1.json"));
    let words: Vec<String> = options
        .iter()
        .chain(&["--cluster", &ids[0], "--scan"])
        .map(ToString::to_string)
        .collect();
    let socket = new[0].socket();
    let restored = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        gs_ctl(Some(&socket), &words)
    });
    until("a restore that waits for the store", async || {
        match new[0].restore_state().await {
            Ok(state) => panic!("it is {state}"),
            Err(why) if why.contains("has not opened the store") => Ok(()),
            Err(why) => Err(why),
        }
    })
    .await;
    fs::write(last, whole).unwrap();
    store.set(Mood::Works);
    let (code, shown, said) = restored.await.unwrap();
    assert_eq!((code, shown["state"].as_str()), (0, Some("complete")), "{shown} {said}");
    assert_eq!(shown["passed_over"], Value::Array(Vec::new()), "{shown}");
    assert_eq!(shown["manifest"].as_u64(), Some(number_of(last)), "{shown}");
    assert_eq!(shown["cluster_id"].as_str(), Some(ids[0].as_str()));
    until_whole(&new).await;
    // What no manifest lists is listed by the new cluster.
    until("every object in a manifest", async || {
        let objects = new[0].archived().await?;
        let is_all = objects.len() as u64 == shown["objects"].as_u64().unwrap_or(0);
        match is_all && objects.iter().all(|object| object.state == "listed") {
            true => Ok(()),
            false => Err(format!("{objects:?} {:?}", new[0].archive().await)),
        }
    })
    .await;
    // Before it writes anything it says that it goes on with the archive.
    let written = store.answered().split_off(before);
    let is_of_archive =
        |of: &&String| of.starts_with("PUT") && (of.contains("/v1/logs/") || of.contains("/manifests/"));
    let first = written.iter().find(is_of_archive);
    assert!(
        first.is_some_and(|of| of.ends_with("/superseded-by-1.json")),
        "{first:?}"
    );
    assert_eq!(
        new[0]
            .archived()
            .await
            .unwrap()
            .iter()
            .map(|of| of.entries)
            .sum::<u64>(),
        6
    );
}

/// The number in the name of a manifest; 0 for another file.
fn number_of(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_string_lossy();
    name.split('-')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_where_one_of_the_nodes_has_data() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let url = format!("file://{}", folder.display());
    let rest = format!("{VAULT}archive: {{ url: \"{url}\", object_size: 64KiB }}\n");
    let mut node = single(dir.path(), &rest);
    node.send(&records("kept", 1)).await;
    node.seal().await;
    until_archived(&node, 1).await;
    node.kill();
    let before = files_below(&folder);
    // The first of these has the folder of that node.
    let nodes = candidates(dir.path(), &rest);
    until("a socket", async || nodes[0].cluster().await.map(drop)).await;
    let words = ["cluster", "provision", "--restore-from", &url];
    let (code, _, said) = tokio::task::block_in_place(|| gs_ctl(Some(&nodes[0].socket()), &words));
    assert!(
        code == 1 && said.contains("node-1 has the data of a single node"),
        "{code} {said}"
    );
    assert_eq!(files_below(&folder), before);
    let seen = nodes[0].restore_state().await;
    assert!(seen.is_err(), "it begins no cluster: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_puts_nothing_finds_out_that_its_archive_was_restored_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("archive");
    fs::create_dir(&folder).unwrap();
    let rest = format!("{VAULT}archive: {{ url: \"file://{}\" }}\n", folder.display());
    let node = single(dir.path(), &rest);
    node.send(&records("late", 2)).await;
    until("an open store", async || match node.archive().await? {
        seen if seen.store_id.is_empty() => Err(format!("{seen:?}")),
        _ => Ok(()),
    })
    .await;
    let (code, shown, said) = gs_ctl(Some(&node.socket()), &["check"]);
    assert_eq!(code, 0, "{shown} {said}");
    let manifests = folder.join(format!("v1/manifests/{}", node.cluster().await.unwrap().cluster_id));
    fs::create_dir_all(&manifests).unwrap();
    fs::write(manifests.join("superseded-by-1.json"), "{}").unwrap();
    until("a cluster that knows it was superseded", async || {
        let (code, shown, said) = tokio::task::block_in_place(|| gs_ctl(Some(&node.socket()), &["check"]));
        match code == 2
            && shown["what"]
                .as_str()
                .is_some_and(|what| what.contains("nobody will read"))
        {
            true => Ok(()),
            false => Err(format!("{code} {shown} {said} {}", node.log())),
        }
    })
    .await;
    // It was found without anything that is put.
    assert_eq!(files_below(&folder.join("v1/logs")), Vec::<std::path::PathBuf>::new());
}

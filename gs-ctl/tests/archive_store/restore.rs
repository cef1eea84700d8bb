//! `gs-ctl cluster provision --restore-from`: what it finds in an archive, and what it tells the node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream;
use gophership_archiver::store::Succession;
use gophership_proto::control::v1::cluster_server::{Cluster, ClusterServer};
use gophership_proto::control::v1::*;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

use super::*;

/// The segment `index` of a node.
fn id_of(node: u32, index: u32) -> SegmentId {
    SegmentId {
        node: NodeId::new(node).unwrap(),
        shard: ShardId::new(0),
        index: SegmentIndex::new(index).unwrap(),
    }
}

/// Exit code, view and stderr of a restore from this folder.
fn restore(dir: &Path, words: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gs-ctl"))
        .args(["cluster", "provision", "-o", "json", "--restore-from", &url(dir)])
        .args(words)
        .output()
        .unwrap();
    let view = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), view, said)
}

fn dry_run(dir: &Path, words: &[&str]) -> (i32, Value, String) {
    restore(dir, &[&["--dry-run"], words].concat())
}

/// What is in a folder.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

/// The names and the words of faults.
fn faults(view: &Value, list: &str) -> Vec<(String, String)> {
    let of = |fault: &Value| {
        let key = fault["key"].as_str().unwrap_or_default().to_owned();
        (key, format!("{} {}", fault["state"], fault["what"]))
    };
    view[list].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn a_dry_run_counts_above_every_number_of_the_archive_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let (store, [a, b, c]) = three(dir.path()).await;
    let (code, view, said) = dry_run(dir.path(), &[]);
    let shown = |view: &Value, key: &str| view[key].as_u64().unwrap();
    assert_eq!(
        (code, &view["ok"], &view["restore_id"]),
        (0, &true.into(), &Value::Null),
        "{view} {said}"
    );
    assert_eq!(
        ["first_node", "generation", "manifest"].map(|key| shown(&view, key)),
        [2, 1, 2]
    );
    assert_eq!((shown(&view, "objects"), shown(&view, "segments")), (3, 3));
    assert_eq!(shown(&view, "bytes"), a.bytes + b.bytes + c.bytes);

    // An object that no manifest lists counts for the number of nodes, and so does one that is gone, by its manifest.
    put_object_of(&store, CLUSTER, id_of(5, 9), 50, 5000..5001).await;
    assert_eq!(dry_run(dir.path(), &[]).1["first_node"], 6);
    let gone = put_object_of(&store, CLUSTER, id_of(8, 9), 51, 5000..5001).await;
    let newest = fs::read(manifest_path(dir.path(), CLUSTER, 2)).unwrap();
    fs::remove_file(dir.path().join(&gone.key)).unwrap();
    // Its name says another node than its segments do.
    let key = gone.key.replace("-8-9-", "-3-9-");
    put_manifest(
        &store,
        CLUSTER,
        3,
        &newest,
        vec![Listed {
            key: key.clone(),
            ..gone
        }],
    )
    .await;
    for generation in [1, 2] {
        let restore = Uuid::from_u128(7);
        store
            .put_marker(CLUSTER, Succession { generation, restore })
            .await
            .unwrap();
    }
    let before = content(dir.path());
    let (code, view, said) = dry_run(dir.path(), &["--full", "--scan"]);
    assert_eq!((code, &faults(&view, "faults")[0].0), (4, &key), "{view} {said}");
    // Nodes of the two earlier restores may have had the numbers behind those of the archive.
    assert_eq!(
        ["first_node", "generation", "manifest"].map(|key| shown(&view, key)),
        [9 + 2 * 4096, 3, 3]
    );
    assert_eq!(content(dir.path()), before);
    let (code, view, said) = dry_run(dir.path(), &["--accept-loss"]);
    assert_eq!((code, &view["loss_accepted"]), (0, &true.into()), "{view} {said}");
}

#[tokio::test]
async fn what_is_missing_changed_of_another_name_or_twice_is_named_and_the_rest_is_taken() {
    let dir = TempDir::new().unwrap();
    let (store, [a, b, c]) = three(dir.path()).await;
    let newest = fs::read(manifest_path(dir.path(), CLUSTER, 2)).unwrap();
    let put = async |cluster, id, lease| put_object_of(&store, cluster, id, lease, 5000..5001).await;
    let (short, again, other) = (
        put(CLUSTER, id_of(1, 10), 10).await,
        put(CLUSTER, id_of(1, 11), 3).await,
        put(CLUSTER, id_of(1, 2), 12).await,
    );
    let of_another = put(ClusterId(Uuid::from_u128(7)), id_of(1, 13), 13).await;
    // They are there under names that say other numbers than their indexes and manifests do.
    let renamed = |of: &Listed, from: &str, to: &str| {
        let key = of.key.replace(from, to);
        assert_ne!(key, of.key);
        fs::copy(dir.path().join(&of.key), dir.path().join(&key)).unwrap();
        Listed { key, ..of.clone() }
    };
    let misnamed = renamed(&put(CLUSTER, id_of(1, 14), 14).await, "-1-14-14-", "-1-15-14-");
    let foreign = renamed(&of_another, "00000000-1-13-13-", "01234567-1-13-13-");
    let mut wrong = put(CLUSTER, id_of(1, 16), 16).await;
    wrong.segments.push(id_of(1, 17));
    let listed = [&short, &again, &other, &misnamed, &foreign, &wrong].map(Listed::clone);
    put_manifest(&store, CLUSTER, 3, &newest, listed.to_vec()).await;
    let path = dir.path().join(&short.key);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    let path = dir.path().join(&a.key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150] ^= 1;
    fs::write(&path, bytes).unwrap();

    let expected = |more: &[(&str, &str)]| {
        let mut all: BTreeMap<String, String> = [
            (&short, "bytes"),
            (&misnamed, "its name is not"),
            (&foreign, "cluster"),
            (&wrong, "other segments than"),
        ]
        .map(|(of, says)| (of.key.clone(), says.to_owned()))
        .into();
        all.extend(more.iter().map(|(key, says)| ((*key).to_owned(), (*says).to_owned())));
        all
    };
    for (words, more, objects) in [(&[][..], &[][..], 3), (&["--full"], &[(a.key.as_str(), "damaged")], 2)] {
        let (code, view, said) = dry_run(dir.path(), words);
        let found = faults(&view, "faults");
        assert_eq!((code, view["objects"].as_u64()), (4, Some(objects)), "{view} {said}");
        // Of two objects of one lease or segment, either is taken: which comes first is not fixed.
        let twice = |one: &Listed, two: &Listed, says: &str| {
            let is_one = |(key, what): &&(String, String)| (*key == one.key || *key == two.key) && what.contains(says);
            assert_eq!(found.iter().filter(is_one).count(), 1, "{says}: {found:?}");
        };
        twice(&c, &again, "another object has its lease, 3");
        twice(&b, &other, "another object has its segment 1/0/2");
        let expected = expected(more);
        assert_eq!(found.len(), expected.len() + 2, "{found:?}");
        for (key, says) in expected {
            let what = found.iter().find(|(of, _)| *of == key).map(|(_, what)| what);
            assert!(what.is_some_and(|what| what.contains(&says)), "{key} {says}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_scan_takes_each_object_once_and_only_those_of_the_cluster_and_whole_ones() {
    let dir = TempDir::new().unwrap();
    let (store, [a, _, c]) = three(dir.path()).await;
    put_object_of(&store, CLUSTER, id_of(2, 1), 20, 5000..5001).await;
    // Duplicates, as an attempt that was given up leaves them: of a segment that is listed, and of one that is not.
    let duplicate = put_object_of(&store, CLUSTER, id_of(1, 1), 21, 1000..1100).await;
    let torn = put_object_of(&store, CLUSTER, id_of(1, 22), 22, 5000..5100).await;
    let path = dir.path().join(&torn.key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150] ^= 1;
    fs::write(&path, bytes).unwrap();
    put_object(&store, ClusterId(Uuid::from_u128(7)), 1, 1000..1001).await;
    let cluster = CLUSTER.0.to_string();
    let words = ["--scan", "--cluster", &cluster];
    let (code, view, said) = dry_run(dir.path(), &words);
    let found = faults(&view, "faults");
    assert_eq!((code, &view["objects"]), (4, &4.into()), "{view} {said}");
    let keys: Vec<_> = found.iter().map(|(key, _)| key.clone()).collect();
    assert!(keys.contains(&torn.key) && keys.len() == 2, "{found:?}");
    assert!(keys.contains(&duplicate.key) || keys.contains(&a.key), "{found:?}");

    // What only a lost manifest lists is found by its own index, and the manifest is told beside.
    let newest = manifest_path(dir.path(), CLUSTER, 2);
    fs::write(&newest, b"{").unwrap();
    let (_, without, _) = dry_run(dir.path(), &["--cluster", &cluster]);
    assert!(
        faults(&without, "faults")[0]
            .1
            .contains(newest.file_name().unwrap().to_str().unwrap()),
        "{without}"
    );
    let (code, view, said) = dry_run(dir.path(), &words);
    assert_eq!(
        (code, &view["objects"], &view["manifest"]),
        (4, &4.into(), &1.into()),
        "{view} {said}"
    );
    let passed_over = faults(&view, "passed_over");
    assert!(
        passed_over.len() == 1 && passed_over[0].1.contains("hash in its name"),
        "{view}"
    );
    assert!(faults(&view, "faults").iter().all(|(key, _)| *key != c.key), "{view}");
}

#[tokio::test]
async fn two_clusters_are_told_by_their_ids_with_and_without_a_scan() {
    let dir = TempDir::new().unwrap();
    let (store, _) = three(dir.path()).await;
    let other = ClusterId(Uuid::from_u128(7));
    let object = put_object(&store, other, 1, 1000..1001).await;
    put_manifest(&store, other, 1, b"", vec![object]).await;
    for words in [&[][..], &["--scan"]] {
        let (code, _, said) = dry_run(dir.path(), words);
        let has_both = said.contains(&other.0.to_string()) && said.contains(&CLUSTER.0.to_string());
        assert!(code == 2 && has_both, "{words:?}: {code} {said}");
    }
}

#[tokio::test]
async fn a_newest_manifest_that_is_there_twice_is_told_and_one_in_another_store_is() {
    let dir = TempDir::new().unwrap();
    let (store, [a, b, c]) = three(dir.path()).await;
    let more = put_object(&store, CLUSTER, 9, 5000..5001).await;
    put_manifest(&store, CLUSTER, 2, b"another one", vec![more.clone()]).await;
    let (code, view, said) = dry_run(dir.path(), &[]);
    let found = faults(&view, "faults");
    assert!(
        code == 4 && found.iter().any(|(_, what)| what.contains("several times")),
        "{view} {said}"
    );
    assert_eq!(view["objects"], 4, "all of them give their objects: {view}");

    let dir = TempDir::new().unwrap();
    let store = self::store(dir.path()).await;
    for (of, seconds) in [(&a, 1000..1100), (&b, 1100..1200), (&c, 1200..1300)] {
        put_object(&store, CLUSTER, of.segments[0].index.get(), seconds).await;
    }
    let manifest = Manifest {
        cluster: CLUSTER,
        store: store.id().0,
        seq: 5,
        prev: [1; 32],
        prev_store: Uuid::from_u128(3),
        attempt: 1,
        objects: vec![a, b, c],
    };
    let bytes = manifest.encode();
    let key = manifest_key(CLUSTER, 5, blake3::hash(&bytes).as_bytes());
    store.put(&key, &Bytes::from(bytes)).await.unwrap();
    let (code, view, said) = dry_run(dir.path(), &[]);
    let found = faults(&view, "faults");
    let says = format!("before number 5 are in another store, {}", Uuid::from_u128(3));
    assert!(
        code == 1 && found.len() == 1 && found[0].1.contains(&says),
        "{view} {said}"
    );
}

/// A cluster that is being restored, as its node answers: it keeps what it is told.
#[derive(Clone)]
struct Told {
    origin: RestoreOrigin,
    state: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<RestoreRequest>>>,
    /// The parts that were missing at the latest end.
    missing: Arc<AtomicU64>,
    /// Two names: what has the first is there under the second once it was asked, and first it says that it waits.
    appears: Arc<Mutex<Option<(PathBuf, PathBuf)>>>,
}

impl Told {
    /// One that listens on this socket. It began with the store `store`, and its first node has the number 4.
    fn start(socket: &Path, store: &ArchiveStore, cluster: ClusterId, state: &str) -> Self {
        let told = Self {
            origin: RestoreOrigin {
                cluster_id: cluster.0.to_string(),
                restore_id: Uuid::from_u128(70).to_string(),
                store_id: store.id().0.to_string(),
                url: "file:///elsewhere".to_owned(),
                first_node: 4,
                generation: 1,
            },
            state: Arc::new(Mutex::new(state.to_owned())),
            requests: Arc::default(),
            missing: Arc::default(),
            appears: Arc::default(),
        };
        let (listener, service) = (UnixListener::bind(socket).unwrap(), ClusterServer::new(told.clone()));
        tokio::spawn(async move {
            let connections = stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                Some((accepted, listener))
            });
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(connections).await
        });
        told
    }

    /// What it was told since the last time, without what only asks.
    fn take(&self) -> Vec<RestoreRequest> {
        let told = std::mem::take(&mut *self.requests.lock().unwrap());
        let says = |of: &RestoreRequest| !of.objects.is_empty() || of.end.is_some();
        told.into_iter().filter(says).collect()
    }
}

#[tonic::async_trait]
impl Cluster for Told {
    async fn cluster_status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatusReply>, Status> {
        Err(Status::unimplemented("not by the fake"))
    }

    async fn provision(&self, _: Request<ProvisionClusterRequest>) -> Result<Response<ProvisionClusterReply>, Status> {
        Ok(Response::new(ProvisionClusterReply {
            already: true,
            ..ProvisionClusterReply::default()
        }))
    }

    async fn abort_provision(
        &self,
        _: Request<AbortProvisionRequest>,
    ) -> Result<Response<AbortProvisionReply>, Status> {
        Err(Status::unimplemented("not by the fake"))
    }

    async fn restore(&self, request: Request<RestoreRequest>) -> Result<Response<RestoreReply>, Status> {
        let request = request.into_inner();
        if let Some((from, to)) = self.appears.lock().unwrap().take() {
            fs::rename(from, to).unwrap();
            return Err(Status::unavailable("the store is not open"));
        }
        let mut state = self.state.lock().unwrap();
        if let Some(end) = &request.end {
            self.missing.store(end.missing, Ordering::Relaxed);
            let is_complete = end.missing == 0 || end.accept_loss;
            *state = if is_complete { "complete" } else { "incomplete" }.to_owned();
        }
        self.requests.lock().unwrap().push(request);
        Ok(Response::new(RestoreReply {
            origin: Some(self.origin.clone()),
            state: state.clone(),
            missing: self.missing.load(Ordering::Relaxed),
            ..RestoreReply::default()
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_is_told_what_is_whole_the_head_the_highest_lease_and_what_is_missing() {
    let dir = TempDir::new().unwrap();
    let (folder, socket) = (dir.path().join("archive"), dir.path().join("socket"));
    fs::create_dir(&folder).unwrap();
    let (store, [a, b, c]) = three(&folder).await;
    // The lease of an object that is gone and of one that no manifest lists count; the latter is of the new cluster.
    let newest = fs::read(manifest_path(&folder, CLUSTER, 2)).unwrap();
    let gone = put_object_of(&store, CLUSTER, id_of(1, 5), 60, 5000..5001).await;
    let head = put_manifest(&store, CLUSTER, 3, &newest, vec![gone.clone()]).await;
    fs::remove_file(folder.join(&gone.key)).unwrap();
    put_object_of(&store, CLUSTER, id_of(4, 1), 40, 5000..5001).await;
    let told = Told::start(&socket, &store, CLUSTER, "running");
    let run = |words: &[&str]| {
        let words = [&["--socket", socket.to_str().unwrap()], words].concat();
        tokio::task::block_in_place(|| restore(&folder, &words))
    };
    let (code, view, said) = run(&["--scan"]);
    assert_eq!((code, &view["state"]), (4, &"incomplete".into()), "{view} {said}");
    assert_eq!(view["restore_id"], told.origin.restore_id);
    let requests = told.take();
    assert!(
        requests.iter().all(|of| of.restore_id == told.origin.restore_id),
        "{requests:?}"
    );
    let mut objects: Vec<_> = requests.iter().flat_map(|of| &of.objects).collect();
    objects.sort_by_key(|of| of.lease);
    let seen: Vec<_> = objects
        .iter()
        .map(|of| (of.lease, of.manifest, &of.digest[..]))
        .collect();
    assert_eq!(seen, [(1, 1, &a.digest[..]), (2, 1, &b.digest), (3, 2, &c.digest)]);
    let end = requests.last().unwrap().end.clone().unwrap();
    let hash = blake3::hash(&head).as_bytes().to_vec();
    assert_eq!((end.manifest, end.manifest_hash, end.lease), (3, hash, 60));
    assert_eq!((end.missing, end.names.len(), end.accept_loss), (1, 1, false));
    assert!(end.names[0].contains(&gone.key), "{:?}", end.names);

    let (code, view, said) = run(&["--accept-loss"]);
    assert_eq!((code, &view["state"]), (0, &"complete".into()), "{view} {said}");
    assert!(told.take().last().unwrap().end.as_ref().unwrap().accept_loss);
    assert_eq!(view["full"], true, "what was damaged may be so deep within: {view}");
    // One that has ended is told nothing more.
    let (code, view, said) = run(&[]);
    assert_eq!((code, &view["loss_accepted"]), (0, &true.into()), "{view} {said}");
    assert_eq!(told.take(), []);
    // What is missing since, nobody has accepted, and it is too late for that.
    told.missing.store(0, Ordering::Relaxed);
    for words in [&[][..], &["--accept-loss"]] {
        let (code, view, said) = run(words);
        assert_eq!((code, &view["loss_accepted"]), (4, &false.into()), "{view} {said}");
    }
    assert_eq!(told.take(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_into_the_archive_before_the_cluster_answers_is_taken_in() {
    let dir = TempDir::new().unwrap();
    let (folder, socket, away) = (
        dir.path().join("archive"),
        dir.path().join("socket"),
        dir.path().join("away"),
    );
    fs::create_dir(&folder).unwrap();
    let (store, _) = three(&folder).await;
    let newest = fs::read(manifest_path(&folder, CLUSTER, 2)).unwrap();
    let late = put_object(&store, CLUSTER, 9, 5000..5001).await;
    put_manifest(&store, CLUSTER, 3, &newest, vec![late]).await;
    let manifest = manifest_path(&folder, CLUSTER, 3);
    fs::rename(&manifest, &away).unwrap();
    let told = Told::start(&socket, &store, CLUSTER, "running");
    *told.appears.lock().unwrap() = Some((away, manifest));
    let words = ["--socket", socket.to_str().unwrap()];
    let (code, view, said) = tokio::task::block_in_place(|| restore(&folder, &words));
    assert_eq!(
        (code, &view["objects"], &view["manifest"]),
        (0, &4.into(), &3.into()),
        "{view} {said}"
    );
    assert!(said.contains("waiting: the store is not open"), "{said}");
    let requests = told.take();
    assert_eq!(requests.iter().map(|of| of.objects.len()).sum::<usize>(), 4);
    assert_eq!(requests.last().unwrap().end.as_ref().unwrap().manifest, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_takes_in_another_archive_is_told_nothing() {
    let dir = TempDir::new().unwrap();
    let (folder, socket) = (dir.path().join("archive"), dir.path().join("socket"));
    fs::create_dir(&folder).unwrap();
    let (store, _) = three(&folder).await;
    let told = Told::start(&socket, &store, ClusterId(Uuid::from_u128(7)), "running");
    let words = ["--socket", socket.to_str().unwrap()];
    let (code, _, said) = tokio::task::block_in_place(|| restore(&folder, &words));
    assert!(
        code == 1 && said.contains("and nothing of another archive"),
        "{code} {said}"
    );
    assert_eq!(told.take(), []);
}

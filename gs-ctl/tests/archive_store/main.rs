//! `gs-ctl archive` on a store in a folder, without a node.

#![allow(clippy::unwrap_used)]

mod restore;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use bytes::Bytes;
use gophership_archiver::object::{ObjectWriter, read_index};
use gophership_archiver::round::{Listed, Manifest};
use gophership_archiver::store::{ArchiveStore, StoreSettings, manifest_key, object_key, open};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{
    ClusterId, EntryNumber, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
};
use gophership_vault::testkit::write_segment;
use gophership_vault::{SegmentFile, SegmentHeader, Tenant};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const SECOND: u64 = 1_000_000_000;
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// `LogsData` with one record.
fn logs(at: u64, text: &str) -> Vec<u8> {
    let record = [&[9][..], &at.to_le_bytes(), &field(5, &field(1, text.as_bytes()))].concat();
    field(1, &field(2, &field(2, &record)))
}

/// Puts an object with one segment, of a record for each of these seconds.
async fn put_object(store: &ArchiveStore, cluster: ClusterId, index: u32, seconds: std::ops::Range<u64>) -> Listed {
    let id = SegmentId {
        node: NodeId::new(1).unwrap(),
        shard: ShardId::new(0),
        index: SegmentIndex::new(index).unwrap(),
    };
    put_object_of(store, cluster, id, index.into(), seconds).await
}

/// Puts the object of a lease of this segment, which has a record for each of these seconds.
async fn put_object_of(
    store: &ArchiveStore,
    cluster: ClusterId,
    id: SegmentId,
    lease: u64,
    seconds: std::ops::Range<u64>,
) -> Listed {
    let header = SegmentHeader {
        id,
        epoch: Epoch::new(1).unwrap(),
        file_uuid: FileUuid(Uuid::from_u128(1)),
        cluster_id: cluster,
        created_ns: SECOND,
        tenants: vec![Tenant::default_tenant()],
    };
    let entries: Vec<_> = (1..)
        .zip(seconds)
        .map(|(number, second)| {
            let at = second * SECOND;
            let meta = EntryMeta {
                received_ns: at,
                min_event_ns: at,
                max_event_ns: at,
                record_count: 1,
                tenant: TenantId::DEFAULT,
                encoding: Encoding::Identity,
                state: EntryState::PLAIN,
            };
            (
                EntryNumber::new(number).unwrap(),
                meta,
                logs(at, &format!("second {second}.")),
            )
        })
        .collect();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.seg");
    let borrowed = entries
        .iter()
        .map(|(number, meta, payload)| (*number, meta, payload.as_slice()));
    write_segment(&path, header, borrowed, vec![]).unwrap();
    let mut writer = ObjectWriter::new(Vec::new(), 3).unwrap();
    writer.add(&mut SegmentFile::open(&path).unwrap()).unwrap();
    let bytes = writer.finish().unwrap();
    let index = read_index(bytes.len() as u64, &mut |range| {
        Ok(bytes[range.start as usize..range.end as usize].to_vec())
    });
    let stats = index.unwrap().members()[0].stats;
    let received = stats.received.unwrap();
    let listed = Listed {
        key: object_key(cluster, id.node, id.index, lease, 1, received.min),
        bytes: bytes.len() as u64,
        digest: *blake3::hash(&bytes).as_bytes(),
        entries: stats.entries,
        records: stats.records,
        received,
        event: stats.event.unwrap(),
        segments: vec![id],
    };
    store.put(&listed.key, &Bytes::from(bytes)).await.unwrap();
    listed
}

async fn put_manifest(
    store: &ArchiveStore,
    cluster: ClusterId,
    seq: u64,
    before: &[u8],
    objects: Vec<Listed>,
) -> Vec<u8> {
    let prev = match before {
        [] => [0; 32],
        before => *blake3::hash(before).as_bytes(),
    };
    let manifest = Manifest {
        cluster,
        store: store.id().0,
        seq,
        prev,
        prev_store: if seq == 1 { Uuid::nil() } else { store.id().0 },
        attempt: 1,
        objects,
    };
    let bytes = manifest.encode();
    let key = manifest_key(cluster, seq, blake3::hash(&bytes).as_bytes());
    store.put(&key, &Bytes::from(bytes.clone())).await.unwrap();
    bytes
}

async fn store(dir: &Path) -> ArchiveStore {
    let settings = StoreSettings {
        url: url(dir),
        endpoint: None,
        region: None,
        unsafe_store: false,
    };
    open(&settings).await.unwrap()
}

fn url(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

/// The file of the manifest of a number, which must be the only one.
fn manifest_path(dir: &Path, cluster: ClusterId, seq: u64) -> PathBuf {
    let folder = dir.join(format!("v1/manifests/{}", cluster.0));
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(&format!("{seq}-"))
    };
    let found: Vec<_> = all.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Three objects in two manifests, each with 100 seconds: those from 1,000 on, from 1,100 on and from 1,200 on.
async fn three(dir: &Path) -> (ArchiveStore, [Listed; 3]) {
    let store = store(dir).await;
    let a = put_object(&store, CLUSTER, 1, 1000..1100).await;
    let b = put_object(&store, CLUSTER, 2, 1100..1200).await;
    let c = put_object(&store, CLUSTER, 3, 1200..1300).await;
    let first = put_manifest(&store, CLUSTER, 1, b"", vec![a.clone(), b.clone()]).await;
    put_manifest(&store, CLUSTER, 2, &first, vec![c.clone()]).await;
    (store, [a, b, c])
}

/// Exit code, stdout and stderr of `gs-ctl archive` with these words.
fn archive(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gs-ctl"))
        .arg("archive")
        .args(words)
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(words: &[&str]) -> (i32, Value) {
    let (code, out, err) = archive(&[words, &["-o", "json"]].concat());
    (
        code,
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")),
    )
}

#[tokio::test]
async fn a_whole_store_is_verified_and_an_object_that_no_manifest_lists_is_told() {
    let dir = TempDir::new().unwrap();
    let (store, _) = three(dir.path()).await;
    let url = url(dir.path());
    for words in [
        &["verify", &url][..],
        &["verify", &url, "--full"],
        &["verify", &url, "--full", "--scan"],
    ] {
        let (code, verdict) = json(words);
        assert_eq!(
            (code, &verdict["ok"], &verdict["objects"]),
            (0, &true.into(), &3.into()),
            "{verdict}"
        );
    }
    let more = put_object(&store, CLUSTER, 9, 5000..5010).await;
    let (code, verdict) = json(&["verify", &url]);
    assert_eq!((code, &verdict["objects"]), (0, &3.into()), "{verdict}");
    assert_eq!(verdict["unlisted"]["keys"], serde_json::json!([more.key]));
    let (code, out, _) = archive(&["verify", &url]);
    assert!(
        code == 0 && out.contains(&more.key) && out.contains("no fault"),
        "{out}"
    );
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_named_one_by_one_and_the_rest_verified() {
    let dir = TempDir::new().unwrap();
    let (_, [a, b, c]) = three(dir.path()).await;
    let url = url(dir.path());
    let path = dir.path().join(&a.key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, verdict) = json(&["verify", &url]);
    assert_eq!(
        (code, &verdict["ok"]),
        (0, &true.into()),
        "a length shows no change: {verdict}"
    );
    let state = |verdict: &Value, key: &str| {
        let faults = verdict["faults"].as_array().unwrap();
        faults
            .iter()
            .find(|fault| fault["key"] == *key)
            .map(|fault| fault["state"].clone())
    };
    let (code, verdict) = json(&["verify", &url, "--full"]);
    assert_eq!(
        (code, state(&verdict, &a.key)),
        (4, Some("damaged".into())),
        "{verdict}"
    );
    assert_eq!(verdict["faults"].as_array().unwrap().len(), 1, "{verdict}");

    fs::remove_file(dir.path().join(&b.key)).unwrap();
    fs::remove_file(dir.path().join(&c.key)).unwrap();
    let (code, verdict) = json(&["verify", &url]);
    assert_eq!(
        (code, state(&verdict, &b.key)),
        (4, Some("missing".into())),
        "{verdict}"
    );
    let (code, out, _) = archive(&["verify", &url, "--full"]);
    assert!(code == 4 && out.contains("DAMAGED"), "{out}");
    for (state, key) in [("damaged", &a.key), ("missing", &b.key), ("missing", &c.key)] {
        assert!(
            out.lines()
                .any(|line| line.starts_with(state) && line.contains(key.as_str())),
            "{out}"
        );
    }
    // Of manifests that are gone, or damaged, the number is named.
    let folder = dir.path().join(format!("v1/manifests/{}", CLUSTER.0));
    let first = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let first = first
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("1-"))
        .last()
        .unwrap();
    fs::remove_file(first).unwrap();
    let (code, verdict) = json(&["verify", &url]);
    assert_eq!((code, &verdict["objects"]), (4, &1.into()), "{verdict}");
    assert!(
        verdict["faults"].to_string().contains("manifests 1 to 1 of cluster"),
        "{verdict}"
    );
    let (code, _, err) = archive(&["ls", &url]);
    assert!(code == 4 && err.contains("manifests 1 to 1"), "{err}");
}

#[tokio::test]
async fn a_range_of_a_store_is_printed_in_order_and_what_is_lost_of_it_named() {
    let dir = TempDir::new().unwrap();
    let (_, [a, _, c]) = three(dir.path()).await;
    let url = url(dir.path());
    let (code, out, err) = archive(&["cat", &url, "--from", "1195", "--to", "1203"]);
    let seconds: Vec<_> = out
        .lines()
        .map(|line| line.rsplit_once(": ").unwrap().1.to_owned())
        .collect();
    let expected: Vec<_> = (1195..1203).map(|second| format!("second {second}.")).collect();
    assert_eq!((code, seconds), (0, expected), "{err}");
    let (_, scanned, _) = archive(&["cat", &url, "--from", "1195", "--to", "1203", "--scan"]);
    assert_eq!(scanned, out);
    let (code, whole, _) = archive(&["cat", &url, &c.key]);
    assert_eq!((code, whole.lines().count()), (0, 100));
    let (code, line, _) = archive(&["cat", &url, "--from", "1299", "-o", "json"]);
    assert!(
        code == 0 && line.contains("\"x-gophership-entry\":\"1/0/3:100,1\""),
        "{line}"
    );

    let (_, list) = json(&["ls", &url, "--from", "1195", "--to", "1200"]);
    assert_eq!(list["objects"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["objects"][0]["listed"]["segments"], serde_json::json!(["1/0/2"]));
    let (code, list, _) = archive(&["ls", &url, "--scan"]);
    assert!(
        code == 0 && list.lines().count() == 4 && list.contains(&a.key),
        "{list}"
    );

    let (code, _, err) = archive(&["ls", &url, "--scan", "--from", "1195"]);
    assert!(code == 2 && err.contains("no times"), "{err}");

    let path = dir.path().join(&a.key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, out, err) = archive(&["cat", &url, "--to", "1110"]);
    assert_eq!((code, out.lines().count()), (4, 10), "{err}");
    assert!(
        err.contains("entries 1 to 100 of segment 1/0/1 are not printed") && err.contains(&a.key),
        "{err}"
    );
}

#[tokio::test]
async fn of_several_clusters_one_is_to_be_named() {
    let dir = TempDir::new().unwrap();
    let (store, _) = three(dir.path()).await;
    let other = ClusterId(Uuid::from_u128(7));
    let object = put_object(&store, other, 1, 1000..1001).await;
    put_manifest(&store, other, 1, b"", vec![object]).await;
    let (url, name) = (url(dir.path()), other.0.to_string());
    for words in [
        &["verify", &url][..],
        &["ls", &url],
        &["cat", &url, "--from", "1000"],
        &["cat", &url, "--from", "1000", "--scan"],
    ] {
        let (code, _, err) = archive(words);
        assert!(
            code == 2 && err.contains(&name) && err.contains(&CLUSTER.0.to_string()),
            "{words:?}: {err}"
        );
    }
    let (code, verdict) = json(&["verify", &url, "--cluster", &name]);
    assert_eq!(
        (code, &verdict["objects"], &verdict["unlisted"]["objects"]),
        (0, &1.into(), &0.into()),
        "{verdict}"
    );
    for (words, count) in [(&["--cluster", &name][..], 1), (&[], 4)] {
        let (code, verdict) = json(&[&["verify", &url, "--scan"], words].concat());
        assert_eq!((code, &verdict["objects"]), (0, &count.into()), "{verdict}");
    }
    let (code, out, _) = archive(&["cat", &url, "--from", "1000", "--scan", "--cluster", &name]);
    assert_eq!((code, out.lines().count()), (0, 1));
    let (code, _, err) = archive(&["verify", &url, "--cluster", &Uuid::nil().to_string()]);
    assert!(code == 2 && err.contains(&name), "{err}");
}

#[tokio::test]
async fn a_store_that_is_not_there_or_does_not_answer_is_an_error() {
    let dir = TempDir::new().unwrap();
    let (code, _, err) = archive(&["verify", &url(dir.path())]);
    assert!(code == 1 && err.contains("v1/store.json"), "{err}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is written into it"
    );
    drop(store(dir.path()).await);
    let (code, _, err) = archive(&["verify", &url(dir.path())]);
    assert!(
        code == 1 && err.contains("has no manifest") && err.contains("--scan"),
        "{err}"
    );
    let (code, _, err) = archive(&["ls", "s3://bucket/x", "--endpoint", "http://127.0.0.1:1"]);
    assert!(code == 1 && err.contains("can be tried again"), "{err}");
}

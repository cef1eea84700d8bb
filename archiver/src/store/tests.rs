use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error as Answer, ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

use self::server::{Fault, Mode, Server};
use super::archive_store::Client;
use super::bucket::bucket as s3_bucket;
use super::connect::connect;
use super::probe::open_client;
use super::*;
use crate::limits::STORE_TRIES;

mod hung_folder;
pub(crate) mod server;

const KEY: &str = "v1/logs/year=2026/month=11/day=23/hour=02/01234567-3-7-12-2.binpb.zst";

fn settings(url: &str) -> StoreSettings {
    StoreSettings {
        url: url.to_owned(),
        endpoint: None,
        region: None,
        unsafe_store: false,
    }
}

fn client(server: &Server) -> Client {
    client_with(server, server::SECRET)
}

fn client_with(server: &Server, secret: &str) -> Client {
    let settings = StoreSettings {
        endpoint: Some(server.url()),
        region: Some("eu-west-1".to_owned()),
        ..settings("s3://bucket/some/prefix")
    };
    let credentials = AmazonS3Builder::new()
        .with_access_key_id(server::KEY_ID)
        .with_secret_access_key(secret);
    s3_bucket(&settings, "bucket/some/prefix", credentials).unwrap()
}

async fn bucket(server: &Server) -> ArchiveStore {
    open_client(client(server), false).await.unwrap()
}

/// A store over any objects, to write and to read.
pub(crate) async fn over(objects: Arc<dyn ObjectStore>) -> (ArchiveStore, StoreReader) {
    let client = || Client {
        url: "memory:".to_owned(),
        objects: objects.clone(),
        damaging: None,
        folder: None,
        prefix: Path::from("some/prefix"),
    };
    let store = open_client(client(), false).await.unwrap();
    (store, StoreReader::of(client()).await.unwrap())
}

/// A store in a folder.
pub(crate) async fn in_folder(folder: &FsPath) -> (ArchiveStore, StoreReader) {
    let settings = settings(&format!("file://{}", folder.display()));
    (open(&settings).await.unwrap(), open_reader(&settings).await.unwrap())
}

/// A store in the bucket of a server.
pub(crate) async fn on(server: &Server) -> (ArchiveStore, StoreReader) {
    (bucket(server).await, StoreReader::of(client(server)).await.unwrap())
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The checks that every store passes.
async fn keeps_its_promises(store: &ArchiveStore, reopened: &ArchiveStore) {
    store.put(KEY, &bytes("what was sealed")).await.unwrap();
    store.put(KEY, &bytes("what was sealed")).await.unwrap();
    let other = store.put(KEY, &bytes("WHAT WAS SEALED")).await.unwrap_err();
    assert!(matches!(other, StoreError::OtherContent { .. }), "{other}");
    assert!(other.to_string().contains(KEY), "{other}");
    assert_eq!(reopened.get(KEY, 15).await.unwrap(), bytes("what was sealed"));
    assert_eq!(reopened.len(KEY).await.unwrap(), 15);
    assert!(reopened.has(KEY, &bytes("what was sealed")).await.unwrap());
    for not_it in ["what was", "what was sealed and more", "what was SEALED"] {
        assert!(!reopened.has(KEY, &bytes(not_it)).await.unwrap(), "{not_it}");
    }
    let large = reopened.get(KEY, 14).await.unwrap_err();
    assert!(
        matches!(
            large,
            StoreError::TooLarge {
                found: 15,
                limit: 14,
                ..
            }
        ),
        "{large}"
    );
    let missing = reopened.len("v1/logs/missing").await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { .. }), "{missing}");
    assert_eq!(store.id(), reopened.id());
}

#[tokio::test]
async fn a_folder_keeps_what_is_there() {
    let dir = TempDir::new().unwrap();
    let settings = settings(&format!("file://{}", dir.path().display()));
    let store = open(&settings).await.unwrap();
    keeps_its_promises(&store, &open(&settings).await.unwrap()).await;
    assert!(!store.checks_bytes(), "nothing checks what a folder was given");
    assert_eq!(fs::read(dir.path().join(KEY)).unwrap(), b"what was sealed");
    let elsewhere = TempDir::new().unwrap();
    let other = open(&super::tests::settings(&format!(
        "file://{}",
        elsewhere.path().display()
    )))
    .await;
    assert_ne!(store.id(), other.unwrap().id());
}

#[tokio::test]
async fn a_bucket_keeps_what_is_there() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    keeps_its_promises(&store, &bucket(&server).await).await;
    assert!(store.checks_bytes());
    assert_eq!(fs::read(server.file(KEY)).unwrap(), b"what was sealed");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_made_by_a_reader() {
    let dir = TempDir::new().unwrap();
    let error = open_reader(&settings(&format!("file://{}", dir.path().display())))
        .await
        .err();
    let error = error.expect("there is no store");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_put_whose_reply_was_lost_is_done() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    server.plan("PUT", [Fault::LostReply, Fault::LostReply]);
    store.put(KEY, &bytes("mine")).await.unwrap();
    assert_eq!(server.planned(), 0);
    assert!(store.has(KEY, &bytes("mine")).await.unwrap());
}

#[tokio::test]
async fn a_conflict_that_stored_nothing_is_no_object() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    server.plan("PUT", [Fault::Answer(409, "ConditionalRequestConflict")]);
    store.put(KEY, &bytes("mine")).await.unwrap();
    assert!(store.has(KEY, &bytes("mine")).await.unwrap());
    server.plan(
        "PUT",
        [const { Fault::Answer(409, "ConditionalRequestConflict") }; STORE_TRIES],
    );
    let never = store.put("v1/other", &bytes("mine")).await.unwrap_err();
    assert!(matches!(never, StoreError::Temporary { .. }), "{never}");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_not_for_ever() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    server.plan("PUT", [const { Fault::Answer(503, "SlowDown") }; STORE_TRIES - 1]);
    store.put(KEY, &bytes("mine")).await.unwrap();
    server.plan("GET", [const { Fault::Answer(500, "InternalError") }; STORE_TRIES]);
    let error = store.get(KEY, 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Temporary { .. }), "{error}");
    assert_eq!(server.planned(), 0, "as often as it is tried");
}

#[tokio::test]
async fn a_body_that_was_cut_off_says_nothing_about_the_object() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    store.put(KEY, &bytes("all of it")).await.unwrap();
    server.plan("GET", [Fault::CutBody]);
    assert!(store.has(KEY, &bytes("all of it")).await.unwrap());
    server.plan("GET", [Fault::CutBody]);
    assert_eq!(store.get(KEY, 100).await.unwrap(), bytes("all of it"));
    server.plan("GET", [const { Fault::CutBody }; STORE_TRIES]);
    let error = store.has(KEY, &bytes("all of it")).await.unwrap_err();
    assert!(matches!(error, StoreError::Temporary { .. }), "{error}");
}

#[tokio::test]
async fn each_answer_has_its_own_meaning_and_what_stays_is_not_tried_again() {
    let server = Server::start().await;
    let store = bucket(&server).await;
    let name = |error: &StoreError| format!("{error:?}").split([' ', '{']).next().unwrap().to_owned();
    for (status, code, meaning) in [
        (403, "AccessDenied", "Denied"),
        (403, "InvalidObjectState", "Frozen"),
        (401, "Unauthorized", "Denied"),
        (404, "NoSuchKey", "NotFound"),
        (404, "NoSuchBucket", "NotFound"),
        (400, "BadDigest", "Refused"),
        (301, "PermanentRedirect", "Refused"),
        (501, "NotImplemented", "Unsupported"),
    ] {
        server.plan("GET", [Fault::Answer(status, code), Fault::Answer(500, "not reached")]);
        let error = store.get(KEY, 10).await.unwrap_err();
        assert_eq!(name(&error), meaning, "{status} {code}");
        assert_eq!(server.planned(), 1, "{status} {code} is asked once");
        server.plan("GET", []);
    }
    // What asks to come back, and gets another answer then.
    for (status, code) in [(429, "SlowDown"), (408, "RequestTimeout"), (502, "")] {
        server.plan("GET", [Fault::Answer(status, code)]);
        let error = store.get(KEY, 10).await.unwrap_err();
        assert_eq!(name(&error), "NotFound", "{status} {code}");
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_by_name_unless_it_may() {
    for (mode, how) in [
        (Mode::Overwrites, "although it was told not to"),
        (Mode::NoCondition, "cannot be told"),
    ] {
        let server = Server::start().await;
        server.set(mode);
        for start in 1..=2 {
            let refused = open_client(client(&server), false).await.err().expect("it is refused");
            assert!(
                matches!(refused, StoreError::Overwrites { .. }),
                "start {start}: {refused}"
            );
            let text = refused.to_string();
            assert!(
                text.contains("s3://bucket/some/prefix") && text.contains(how) && text.contains("unsafe_store"),
                "{text}"
            );
        }
        let store = open_client(client(&server), true).await.unwrap();
        keeps_its_promises(&store, &open_client(client(&server), true).await.unwrap()).await;
    }
}

#[tokio::test]
async fn a_store_that_takes_damaged_bytes_is_known_as_such() {
    let server = Server::start().await;
    server.set(Mode::TakesAll);
    assert!(!bucket(&server).await.checks_bytes());
}

#[tokio::test]
async fn wrong_credentials_are_no_unsafe_store() {
    let server = Server::start().await;
    let error = open_client(client_with(&server, "another"), true)
        .await
        .err()
        .expect("it is refused");
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_not_used() {
    let server = Server::start().await;
    bucket(&server).await;
    let file = server.file("v1/store.json");
    let json = fs::read_to_string(&file).unwrap();
    let later = json.replace("\"format\":1", "\"format\":2");
    assert_ne!(json, later);
    fs::write(&file, later).unwrap();
    let error = open_client(client(&server), false).await.err().expect("it is refused");
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
}

#[tokio::test]
async fn settings_that_name_no_store_are_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = TempDir::new().unwrap();
    for (url, says) in [
        ("", "s3://BUCKET"),
        ("http://host/bucket", "s3://BUCKET"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("file://relative/folder", "three slashes"),
        (&format!("file://{}", file.path().display()), "no folder"),
        (&format!("file://{}/missing", dir.path().display()), "mount it"),
    ] {
        let error = connect(&settings(url), "mount it").await.err().expect(url);
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
    let with_region = StoreSettings {
        region: Some("eu-west-1".to_owned()),
        ..settings(&format!("file://{}", dir.path().display()))
    };
    assert!(connect(&with_region, "mount it").await.is_err());
    let missing = settings(&format!("file://{}/missing", dir.path().display()));
    let read = open_reader(&missing).await.err().expect("it is missing").to_string();
    assert!(read.ends_with("check the name, or mount it"), "{read}");
    let written = open(&missing).await.err().expect("it is missing").to_string();
    assert!(written.ends_with("create the folder, or mount it"), "{written}");
}

#[test]
fn a_folder_that_this_user_may_not_use_is_told_once_and_as_a_folder() {
    let answer = |code| Answer::Generic {
        store: "LocalFileSystem",
        source: Box::new(std::io::Error::from_raw_os_error(code)),
    };
    let uid = rustix::process::geteuid().as_raw();
    for (code, why) in [(13, "Permission denied"), (30, "Read-only file system")] {
        let error = StoreError::of("file:///mnt/logs", "v1/store.json", answer(code));
        assert_eq!(
            chain_of(&error),
            format!(
                "archive file:///mnt/logs: this user (uid {uid}) may not read or write /mnt/logs/v1/store.json: {why} \
                 (os error {code})"
            )
        );
    }
}

/// An error and all its causes.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_folder_that_went_away_is_no_new_store() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("mount");
    fs::create_dir(&folder).unwrap();
    let store = open(&settings(&format!("file://{}", folder.display()))).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = store.get("v1/store.json", 100).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_store_whose_id_is_known_is_that_one_or_nothing_is_put_into_it() {
    let dir = TempDir::new().unwrap();
    let [mount, away, other] = ["mount", "away", "other"].map(|name| dir.path().join(name));
    for folder in [&mount, &other] {
        fs::create_dir(folder).unwrap();
    }
    let settings_of = |folder: &FsPath| settings(&format!("file://{}", folder.display()));
    let store = open(&settings_of(&mount)).await.unwrap();
    let id = store.id();
    assert_eq!(open_known(&settings_of(&mount), id).await.unwrap().id(), id);
    store.is_the_same().await.unwrap();

    fs::rename(&mount, &away).unwrap();
    fs::create_dir(&mount).unwrap();
    let opened = open_known(&settings_of(&mount), id).await.err().expect("it is refused");
    let json = fs::read_to_string(away.join("v1/store.json")).unwrap();
    for error in [opened, store.is_the_same().await.unwrap_err()] {
        assert!(matches!(error, StoreError::IdMissing { .. }), "{error}");
        assert!(error.to_string().ends_with(&json), "{error}");
    }
    assert_eq!(fs::read_dir(&mount).unwrap().count(), 0);

    let another = open(&settings_of(&other)).await.unwrap().id();
    fs::remove_dir(&mount).unwrap();
    fs::rename(&other, &mount).unwrap();
    let opened = open_known(&settings_of(&mount), id).await.err().expect("it is refused");
    for error in [opened, store.is_the_same().await.unwrap_err()] {
        let StoreError::OtherId { found, id: of, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((found, of), (another.0, id.0));
    }
}

#[tokio::test]
async fn the_damaged_object_is_another_one() {
    let server = Server::start().await;
    let client = client(&server);
    server.set(Mode::TakesAll);
    let damaging = client.damaging.as_ref().unwrap();
    damaging
        .put(&client.path("v1/x").unwrap(), "whole".into())
        .await
        .unwrap();
    assert_eq!(fs::read(server.file("v1/x")).unwrap(), b"?????");
    server.set(Mode::Normal);
    let refused = damaging
        .put(&client.path("v1/y").unwrap(), "whole".into())
        .await
        .unwrap_err();
    assert!(!matches!(refused, Answer::NotFound { .. }), "{refused}");
    assert!(!server.file("v1/y").exists());
}

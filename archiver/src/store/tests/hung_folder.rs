//! A folder that hangs, as one behind a network does: an object in it is a FIFO, whose opening waits for a writer.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path as FsPath, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{KEY, bytes, in_folder, settings};
use crate::limits::{FOLDER_CALLS_MAX, FOLDER_TIME};
use crate::store::folder_calls::FolderCalls;
use crate::store::{StoreError, open_known};

const STORE_JSON: &str = "v1/store.json";

/// An object that is away, and the FIFO in its place.
struct Hanging {
    name: PathBuf,
    object: PathBuf,
}

impl Hanging {
    fn begin(folder: &FsPath, key: &str) -> Self {
        let (name, object) = (folder.join(key), folder.join("object"));
        fs::rename(&name, &object).unwrap();
        assert!(Command::new("mkfifo").arg(&name).status().unwrap().success());
        Self { name, object }
    }

    /// The object is back, and every thread that waits for the FIFO goes on.
    async fn end(self, calls: &FolderCalls) {
        let fifo = self.name.with_file_name("fifo");
        fs::rename(&self.name, &fifo).unwrap();
        fs::rename(&self.object, &self.name).unwrap();
        // The writer stays for threads that open it only now.
        let writer = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        until(|| calls.under_way() == 0).await;
        drop(writer);
    }
}

impl Drop for Hanging {
    /// Lets the threads of a test that failed go on: its runtime waits for them.
    fn drop(&mut self) {
        for name in [self.name.clone(), self.name.with_file_name("fifo")] {
            let is_fifo = fs::metadata(&name).is_ok_and(|found| found.file_type().is_fifo());
            if is_fifo && let Ok(both_ends) = OpenOptions::new().read(true).write(true).open(name) {
                std::mem::forget(both_ends);
            }
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The error of a call that is overdue. The clock moves once the call waits for the folder, or for a place.
async fn overdue<T>(call: impl Future<Output = Result<T, StoreError>>) -> String {
    tokio::time::pause();
    let late = async {
        // The call has begun, or found no place: both happen as it is polled first.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(FOLDER_TIME * 2).await;
    };
    let (answer, ()) = tokio::join!(call, late);
    tokio::time::resume();
    match answer {
        Err(error @ StoreError::NoAnswer { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it answered"),
    }
}

#[tokio::test]
async fn a_folder_that_hangs_has_a_time_limit_and_a_bound_and_works_once_it_is_back() {
    let dir = TempDir::new().unwrap();
    let url = format!("file://{}", dir.path().display());
    let (store, reader) = in_folder(dir.path()).await;
    store.put(KEY, &bytes("mine")).await.unwrap();
    let calls = FolderCalls::of(&url);
    let hanging = Hanging::begin(dir.path(), STORE_JSON);

    let first = overdue(store.is_the_same()).await;
    assert!(
        first.contains(&url) && first.contains("has not answered since 20"),
        "{first}"
    );
    assert_eq!(calls.under_way(), 1);
    for _ in 0..FOLDER_CALLS_MAX {
        assert_eq!(overdue(store.is_the_same()).await, first, "since the first call");
    }
    assert_eq!(calls.under_way(), FOLDER_CALLS_MAX);
    // Nor does another one who has it open, or opens it, begin more of them.
    assert_eq!(overdue(reader.is_the_same()).await, first);
    assert_eq!(overdue(open_known(&settings(&url), store.id())).await, first);
    assert_eq!(overdue(store.put(KEY, &bytes("mine"))).await, first);
    assert_eq!(calls.under_way(), FOLDER_CALLS_MAX);

    hanging.end(&calls).await;
    store.is_the_same().await.unwrap();
    assert!(store.has(KEY, &bytes("mine")).await.unwrap());
    assert_eq!(calls.under_way(), 0);
}

#[tokio::test]
async fn one_folder_that_hangs_holds_up_no_other_one() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, _) = in_folder(dir.path()).await;
    let calls = FolderCalls::of(store.url());
    let hanging = Hanging::begin(dir.path(), STORE_JSON);
    for _ in 0..FOLDER_CALLS_MAX {
        overdue(store.is_the_same()).await;
    }
    let (another, _) = in_folder(other.path()).await;
    another.put(KEY, &bytes("mine")).await.unwrap();
    hanging.end(&calls).await;
}

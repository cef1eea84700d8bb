//! Calls to a folder, each with a time limit: a file system on the network may hang, and then nothing ends the thread
//! that asked it.
//!
//! **Invariants**:
//! - I1: a caller has an answer, or an error, after a bounded time.
//! - I2: a process has at most [`FOLDER_CALLS_MAX`] calls to a folder under way, those that hang included, however
//!   often the folder is opened.
//!
//! **Not here**: requests to a bucket, whose client has time limits of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StoreError;
use crate::limits::{FOLDER_CALLS_MAX, folder_time};

/// The calls to each folder by its URL, as long as somebody has it open, or a call to it hangs.
static FOLDERS: Mutex<BTreeMap<String, Weak<FolderCalls>>> = Mutex::new(BTreeMap::new());

/// The calls to one folder.
pub(super) struct FolderCalls {
    url: String,
    places: Arc<Semaphore>,
    begun: Mutex<Begun>,
}

/// The calls that have begun, and have not ended.
#[derive(Default)]
struct Begun {
    latest: u64,
    at: BTreeMap<u64, Timestamp>,
}

/// A call that has begun. It ends with its last blocking step, also where nobody waits for its answer any more.
struct UnderWay {
    calls: Arc<FolderCalls>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        locked(&self.calls.begun).at.remove(&self.number);
    }
}

impl FolderCalls {
    /// The calls to the folder of a URL, the same for all who have it open.
    pub(super) fn of(url: &str) -> Arc<Self> {
        let mut folders = locked(&FOLDERS);
        if let Some(known) = folders.get(url).and_then(Weak::upgrade) {
            return known;
        }
        let calls = Arc::new(Self {
            url: url.to_owned(),
            places: Arc::new(Semaphore::new(FOLDER_CALLS_MAX)),
            begun: Mutex::default(),
        });
        folders.retain(|_, calls| calls.strong_count() > 0);
        folders.insert(url.to_owned(), Arc::downgrade(&calls));
        calls
    }

    /// Carries out a call that moves at most `bytes`. One that is overdue goes on without its caller.
    ///
    /// # Errors
    ///
    /// The call's own, or [`StoreError::NoAnswer`].
    pub(super) async fn limited<T: Send + 'static>(
        self: &Arc<Self>,
        bytes: u64,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = Timestamp::now();
        let answer = async {
            let places = Arc::clone(&self.places);
            let place = places.acquire_owned().await.expect("it is never closed");
            let under_way = self.begin(place);
            let called = tokio::spawn(async move {
                let answer = call.await;
                drop(under_way);
                answer
            });
            called
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        match tokio::time::timeout(folder_time(bytes), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::NoAnswer {
                store: self.url.clone(),
                since: self.oldest().unwrap_or(asked).min(asked),
            }),
        }
    }

    fn begin(self: &Arc<Self>, place: OwnedSemaphorePermit) -> UnderWay {
        let mut begun = locked(&self.begun);
        begun.latest += 1;
        let number = begun.latest;
        begun.at.insert(number, Timestamp::now());
        UnderWay {
            calls: Arc::clone(self),
            number,
            _place: place,
        }
    }

    /// The time at which the oldest call began that has not ended.
    fn oldest(&self) -> Option<Timestamp> {
        locked(&self.begun).at.values().min().copied()
    }

    /// The number of calls that have begun and have not ended.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        locked(&self.begun).at.len()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

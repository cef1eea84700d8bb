//! How archiving fares on this node: counts, and what keeps it from going on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

use super::limits::EVENT_AFTER;
use super::tally::ArchiveTally;

/// How archiving fares.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// Objects and their bytes put since the start.
    pub(super) objects: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Objects that are being made.
    pub(super) under_way: AtomicU64,
    /// 1 while an operator's pause lasts.
    pub(super) paused: AtomicU64,
    /// Segments that are to be in one object with others that are yet to come.
    pub(super) waiting: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    url: Option<String>,
    store: Option<Uuid>,
    fault: Option<Fault>,
    /// Leases that were lost again and again, though all else works.
    lost_leases: Option<Fault>,
    tally: ArchiveTally,
    /// The number of segments that could not be read, and why the last one could not.
    unreadable: (u64, Option<String>),
    /// True where an event says that it fails.
    is_event_noted: bool,
}

#[derive(Clone, Debug)]
struct Fault {
    what: String,
    since: Instant,
    since_ns: u64,
}

impl Fault {
    /// One after another, since whose beginning it has failed.
    fn after(before: Option<&Self>, what: String) -> Self {
        if before.is_none_or(|fault| fault.what != what) {
            tracing::warn!(error = what, "archive.failed: it is tried again");
        }
        let (since, since_ns) = before.map_or((Instant::now(), now_unix_nano()), |f| (f.since, f.since_ns));
        Self { what, since, since_ns }
    }
}

impl Inner {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref().or(self.lost_leases.as_ref())
    }
}

/// A view of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ArchiveView {
    /// `archive.url`, where there is an archive.
    pub(crate) url: Option<String>,
    /// The id of the store, once it is open.
    pub(crate) store: Option<Uuid>,
    /// What fails, and the time since which it does, nanoseconds since the Unix epoch.
    pub(crate) fault: Option<(String, u64)>,
    /// Segments of which no object could be made, since what is here of them cannot be read; they are tried again.
    pub(crate) unreadable: u64,
    /// Why the last of them could not.
    pub(crate) unreadable_why: Option<String>,
    /// The archive of the whole cluster, as the catalogue had it a moment ago.
    pub(crate) tally: ArchiveTally,
    /// Objects that are being made here.
    pub(crate) under_way: u64,
    /// True while an operator's pause lasts.
    pub(crate) is_paused: bool,
    /// Segments here that wait for others, to be in one object with them.
    pub(crate) waiting: u64,
    /// Objects put since the start of the node.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Tries that failed since the start of the node.
    pub(crate) failures: u64,
}

/// A change that is an event.
pub(super) enum Transition {
    /// It has failed for a while, with this.
    Failing(String),
    /// It works again.
    Working,
}

impl Status {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the store that is in use, or is to be.
    pub(super) fn set_store(&self, url: Option<&str>, store: Option<Uuid>) {
        let mut inner = self.inner();
        inner.url = url.map(str::to_owned);
        inner.store = store;
    }

    /// Notes a failure, which lasts until [`Self::works`]. The same one again is logged once.
    pub(super) fn fails(&self, what: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner();
        inner.fault = Some(Fault::after(inner.fault.as_ref(), what));
    }

    /// Notes what is to be told of leases that were lost again and again, if anything is.
    pub(super) fn set_lost_leases(&self, what: Option<String>) {
        let mut inner = self.inner();
        inner.lost_leases = what.map(|what| Fault::after(inner.lost_leases.as_ref(), what));
    }

    /// Notes what the catalogue has.
    pub(super) fn set_tally(&self, tally: ArchiveTally) {
        self.inner().tally = tally;
    }

    /// Notes segments that could not be read.
    pub(super) fn set_unreadable(&self, segments: u64, why: Option<String>) {
        self.inner().unreadable = (segments, why);
    }

    /// Notes that the store did what it was asked for.
    pub(super) fn works(&self) {
        self.inner().fault = None;
    }

    /// The change that is due as an event, if one is. It is due once.
    pub(super) fn take_transition(&self) -> Option<Transition> {
        let mut inner = self.inner();
        match (inner.fault(), inner.is_event_noted) {
            (Some(fault), false) if fault.since.elapsed() >= EVENT_AFTER => {
                let what = fault.what.clone();
                inner.is_event_noted = true;
                Some(Transition::Failing(what))
            }
            (None, true) => {
                inner.is_event_noted = false;
                Some(Transition::Working)
            }
            (Some(_) | None, _) => None,
        }
    }

    pub(super) fn view(&self) -> ArchiveView {
        let inner = self.inner();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        ArchiveView {
            url: inner.url.clone(),
            store: inner.store,
            fault: inner.fault().map(|fault| (fault.what.clone(), fault.since_ns)),
            tally: inner.tally,
            unreadable: inner.unreadable.0,
            unreadable_why: inner.unreadable.1.clone(),
            under_way: count(&self.under_way),
            is_paused: count(&self.paused) > 0,
            waiting: count(&self.waiting),
            objects: count(&self.objects),
            bytes: count(&self.bytes),
            failures: count(&self.failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_that_are_lost_again_and_again_are_told_though_the_store_works() {
        let status = Status::default();
        let fault = || status.view().fault.map(|(what, _)| what);
        status.set_lost_leases(Some("lost".to_owned()));
        status.works();
        assert_eq!(fault().as_deref(), Some("lost"));
        status.fails("away".to_owned());
        assert_eq!(fault().as_deref(), Some("away"));
        status.works();
        assert_eq!(fault().as_deref(), Some("lost"));
        status.set_lost_leases(None);
        assert_eq!(fault(), None);
    }
}

//! The archiver's thread: finds in the catalogue what is due, and runs a bounded number of tasks that do it.
//!
//! **Invariants**:
//! - I1: no two tasks work on the same segment at a time.
//! - I2: a store that does not answer, or is not the one on record, stops archiving and nothing else; it is tried
//!   again.
//! - I3: a later restore of the archive is found out while nothing is put, too, and during a pause.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gophership_archiver::round::{Candidate, ObjectEnding, PlanSettings, next_object};
use gophership_catalogue::event::What;
use gophership_catalogue::{Command, State};
use gophership_vault::DiskTier;
use gophership_vault::ids::SegmentId;
use gophership_vault::time::now_unix_nano;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};
use uuid::Uuid;

use super::doomed;
use super::due::{Asking, Due, due};
use super::left_alone::LeftAlone;
use super::limits::{DOOMED_INTERVAL, MARKER_INTERVAL, OBJECTS_AT_ONCE, TURN};
use super::manifest;
use super::object::{self, Made};
use super::opening::{follow_record, open};
use super::parts::{ArchiveParts, OpenArchive};
use super::status::{ArchiveView, Status, Transition};
use crate::config::Archive;
use crate::sink::Backoff;

/// The archiver of a node (see the module).
pub struct Archiver {
    status: Arc<Status>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// A handle on the state of an archiver, for whatever shows it to operators.
#[derive(Clone, Default)]
pub struct ArchiverSeen(Arc<Status>);

impl ArchiverSeen {
    /// The state of the archiver now.
    pub(crate) fn view(&self) -> ArchiveView {
        self.0.view()
    }
}

impl fmt::Debug for ArchiverSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArchiverSeen").finish()
    }
}

impl Archiver {
    /// Starts the archiver on a thread of its own.
    ///
    /// # Errors
    ///
    /// The thread, or its runtime, cannot be started.
    pub(crate) fn start(parts: ArchiveParts) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let status = Arc::new(Status::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let running = Running {
            parts: Arc::new(parts),
            status: Arc::clone(&status),
            tasks: JoinSet::new(),
            listing: JoinSet::new(),
            under_way: BTreeSet::new(),
            left_alone: LeftAlone::default(),
            doomed_examined: BTreeSet::new(),
            doomed_examined_at: None,
        };
        let thread = std::thread::Builder::new().name("archive".into()).spawn(move || {
            // A call to a store stays on one thread, so all tasks are local to this one.
            let tasks = LocalSet::new();
            runtime.block_on(tasks.run_until(running.run(stopped)));
            drop(tasks);
            // A blocking call that is still running is not waited for: the next start goes on with its work.
            runtime.shutdown_background();
        })?;
        Ok(Self { status, stop, thread })
    }

    /// A handle on the archiver's state.
    pub fn seen(&self) -> ArchiverSeen {
        ArchiverSeen(Arc::clone(&self.status))
    }

    /// Stops the archiver, and blocks until its thread has ended. The next start, or another node, goes on with the
    /// work that was under way.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("archive.thread.panicked");
        }
    }
}

/// A task's segments, the time that it took, and how it ended.
type Ended = (Vec<SegmentId>, Duration, Made);

struct Running {
    parts: Arc<ArchiveParts>,
    status: Arc<Status>,
    tasks: JoinSet<Ended>,
    /// The task that writes a manifest; there is at most one.
    listing: JoinSet<()>,
    under_way: BTreeSet<SegmentId>,
    /// Segments of which no object could be made.
    left_alone: LeftAlone,
    doomed_examined: BTreeSet<String>,
    doomed_examined_at: Option<Instant>,
}

impl Running {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let working = async {
            loop {
                let settings = self.parts.settings.archive();
                if let Some(archive) = self.open(settings).await {
                    self.work(&archive).await;
                }
            }
        };
        tokio::select! {
            () = working => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }

    /// Opens the store of these settings, and tries again until it is open. `None` once the settings have changed;
    /// where they have no URL, this waits for a change.
    async fn open(&mut self, settings: Archive) -> Option<Arc<OpenArchive>> {
        let url = settings.url.clone();
        self.status.set_store(url.as_deref(), None);
        self.status.works();
        let mut backoff = Backoff::default();
        while self.parts.settings.archive() == settings {
            if let Err(error) = follow_record(&self.parts, url.clone()).await {
                self.status.fails(error);
                tokio::time::sleep(backoff.next(None)).await;
                continue;
            }
            self.update_status().await;
            let Some(url) = &url else {
                tokio::time::sleep(TURN).await;
                continue;
            };
            match open(&self.parts, &settings, url).await {
                Ok(store) => {
                    self.status.set_store(Some(url), Some(store.id().0));
                    self.status.works();
                    return Some(Arc::new(OpenArchive {
                        parts: Arc::clone(&self.parts),
                        status: Arc::clone(&self.status),
                        settings,
                        store,
                        is_other: AtomicBool::new(false),
                    }));
                }
                Err(error) => self.status.fails(error),
            }
            tokio::time::sleep(backoff.next(None)).await;
        }
        None
    }

    /// Archives to an open store until the settings change, or the store proves to be another one.
    async fn work(&mut self, archive: &Arc<OpenArchive>) {
        let mut marker_looked_for = Instant::now();
        while self.parts.settings.archive() == archive.settings && !archive.is_other.load(Ordering::Relaxed) {
            if marker_looked_for.elapsed() >= MARKER_INTERVAL {
                archive.look_for_marker().await;
                marker_looked_for = Instant::now();
                continue;
            }
            if self.parts.pause().is_some() {
                self.status.waiting.store(0, Ordering::Relaxed);
                self.update_status().await;
                self.rest().await;
                continue;
            }
            let due = self.due(archive.store.id().0);
            doomed::doom_left_behind(archive, &due.left_behind).await;
            self.begin(archive, due);
            self.update_status().await;
            if self.doomed_examined_at.is_none_or(|at| at.elapsed() >= DOOMED_INTERVAL) {
                self.doomed_examined_at = Some(Instant::now());
                doomed::delete(archive, &mut self.doomed_examined).await;
            }
            self.rest().await;
        }
        self.tasks.shutdown().await;
        self.listing.shutdown().await;
        self.under_way.clear();
        self.status.under_way.store(0, Ordering::Relaxed);
        self.status.set_lost_leases(None);
        (self.doomed_examined, self.doomed_examined_at) = (BTreeSet::new(), None);
    }

    /// Waits until a task has ended, or it is time to look again.
    async fn rest(&mut self) {
        tokio::select! {
            Some(ended) = self.tasks.join_next() => self.ended(ended),
            Some(listed) = self.listing.join_next() => joined(listed),
            () = tokio::time::sleep(TURN) => {}
        }
    }

    fn due(&mut self, store: Uuid) -> Due {
        let parts = &self.parts;
        let is_dead = |node| (parts.is_dead)(node);
        let asking = Asking {
            own: parts.vault.identity().node_id,
            is_dead: &is_dead,
        };
        let (left_alone, now) = (&mut self.left_alone, Instant::now());
        let (mut due, unreadable) = parts.catalogue.read(|state| {
            left_alone.forget_past(state, now);
            (due(state, &asking, store), left_alone.unreadable(state))
        });
        if unreadable == 0 {
            self.status.set_unreadable(0, None);
        }
        self.status.set_lost_leases(left_alone.fault());
        let is_free = |id: SegmentId| !self.under_way.contains(&id) && !left_alone.is_lease_left_alone(id, now);
        due.candidates
            .retain(|candidate| is_free(candidate.id) && !left_alone.has(candidate.id, now));
        due.leases.retain(|(_, members)| members.iter().all(|id| is_free(*id)));
        due
    }

    /// Starts as many tasks as may run, and the task that lists committed objects in a manifest.
    fn begin(&mut self, archive: &Arc<OpenArchive>, mut due: Due) {
        for (store, members) in std::mem::take(&mut due.leases) {
            self.spawn(archive, store, members);
        }
        let settings = &archive.settings;
        let plan = PlanSettings {
            object_size: settings.object_size,
            max_delay: match self.parts.vault.tier() {
                DiskTier::Normal => settings.max_delay,
                DiskTier::Evict | DiskTier::Refuse | DiskTier::RefuseReplicas => Duration::ZERO,
            },
        };
        while self.tasks.len() < OBJECTS_AT_ONCE
            && let Some(members) = next_object(&due.candidates, plan, self.parts.vault.clock_ns())
        {
            due.candidates
                .retain(|candidate: &Candidate| !members.contains(&candidate.id));
            self.spawn(archive, archive.store.id().0, members);
        }
        let is_free = self.tasks.len() < OBJECTS_AT_ONCE;
        let waiting = if is_free { due.candidates.len() as u64 } else { 0 };
        self.status.waiting.store(waiting, Ordering::Relaxed);
        if !due.unlisted.is_empty() && self.listing.is_empty() {
            let head = self.parts.catalogue.read(State::manifest_head);
            let archive = Arc::clone(archive);
            self.listing
                .spawn_local(async move { manifest::list(&archive, head, &due.unlisted).await });
        }
    }

    fn spawn(&mut self, archive: &Arc<OpenArchive>, store: Uuid, members: Vec<SegmentId>) {
        if self.tasks.len() >= OBJECTS_AT_ONCE {
            return;
        }
        self.under_way.extend(&members);
        let archive = Arc::clone(archive);
        self.tasks.spawn_local(async move {
            let began = Instant::now();
            let made = object::make(&archive, store, members.clone()).await;
            (members, began.elapsed(), made)
        });
        self.status.under_way.store(self.tasks.len() as u64, Ordering::Relaxed);
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        let (members, took, made) = joined(ended);
        for id in &members {
            self.under_way.remove(id);
        }
        self.left_alone.ended(&members, &made, took, Instant::now());
        if let (ObjectEnding::Doomed, Some(why)) = (made.ending, made.why) {
            let unreadable = self.parts.catalogue.read(|state| self.left_alone.unreadable(state));
            self.status.set_unreadable(unreadable, Some(why.text));
        }
        self.status.under_way.store(self.tasks.len() as u64, Ordering::Relaxed);
    }

    /// Updates the counts that are shown, and records an event when archiving has begun to fail, or works again.
    async fn update_status(&self) {
        self.status.set_tally(self.parts.tally());
        let paused = u64::from(self.parts.pause().is_some());
        self.status.paused.store(paused, Ordering::Relaxed);
        let (what, detail) = match self.status.take_transition() {
            Some(Transition::Failing(why)) => (What::ArchiveFailing, why),
            Some(Transition::Working) => (What::ArchiveWorking, String::new()),
            None => return,
        };
        let note = Command::Note {
            what,
            subject: format!("node {}", self.parts.vault.identity().node_id),
            detail,
            at_ns: now_unix_nano(),
        };
        if let Err(error) = self.parts.submit(note).await {
            tracing::info!(%error, "archive.event.failed");
        }
    }
}

/// The result of a task. A panic of the task goes on in this thread.
fn joined<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

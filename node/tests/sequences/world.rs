//! The world of a sequence: a data folder, a node that is up or down, a sink, and the model that watches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use gophership::export::SeekTo;
use gophership_catalogue::State;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{ShardId, TenantId};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{AppendError, BlockRow, DiskTier, OnFull, SegmentState};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::damage;
use crate::faults::Copy;
use crate::gate;
use crate::model::{Checked, EXPORTER, Entry, Model, Seen};
use crate::node::{
    HANG, Node, RETENTION, Settings, Store, dropped, exporter, files_below, forget_trims, photograph, trimmed, wait,
};
use crate::payload::{is_poison, payload};
use crate::sink::{Mood, Sink};
use crate::step::{Point, Seek, Setup, Step};

const SHARD: ShardId = ShardId::new(0);
const ROOM: u64 = 1 << 40;

/// The world (see the module).
pub(crate) struct World {
    pub(crate) root: TempDir,
    /// The present data folder: each crash leaves a new one.
    pub(crate) data: PathBuf,
    folders: u32,
    setup: Setup,
    pub(crate) settings: Settings,
    /// True where the exporter is configured.
    pub(crate) exports: bool,
    node: Option<Node>,
    sink: Sink,
    runtime: Runtime,
    pub(crate) model: Model,
    pub(crate) boot: u64,
    /// True where this boot removes released segments whatever their age.
    may_go: bool,
    pub(crate) copies: Vec<Copy>,
    pub(crate) set_off_hours: i64,
    /// The blocks of each segment, as they were when it was first seen sealed.
    pub(crate) blocks: BTreeMap<u32, Vec<BlockRow>>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        gate::open();
        forget_trims();
        for point in ["file.open", "file.read", "clock.wall"] {
            fail::remove(point);
        }
        let root = tempdir();
        Self {
            data: root.path().join("0"),
            root,
            folders: 0,
            setup,
            settings: Settings {
                small_blocks: setup.small_blocks,
                rolls_by_age: setup.rolls_by_age,
                retention: RETENTION,
                disk_limit: ROOM,
                on_full: OnFull::Refuse,
            },
            exports: true,
            node: None,
            sink: Sink::start(),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            model: Model::default(),
            boot: 0,
            may_go: false,
            copies: Vec::new(),
            set_off_hours: 0,
            blocks: BTreeMap::new(),
        }
    }

    /// Executes a step, and checks every promise after it.
    pub(crate) fn apply(&mut self, step: &Step) -> Checked {
        match step {
            Step::Append { sizes, one_by_one } => {
                self.up()?;
                self.append(sizes, *one_by_one)?;
            }
            Step::Tick => self.tick()?,
            Step::Stop => self.stop()?,
            Step::Restart => self.restart()?,
            Step::Crash { at, sizes, torn } => self.crash(*at, sizes, *torn)?,
            Step::CrashUnsealed { sizes, torn } => self.crash_unsealed(sizes, *torn)?,
            Step::CrashInStart { at, torn } => self.crash_in_start(*at, *torn)?,
            Step::CopyCatalogue => self.copy_catalogue()?,
            Step::LoseCatalogue => self.lose_catalogue()?,
            Step::OldCatalogue(which) => self.old_catalogue(*which)?,
            Step::Flip { spot, bit } => {
                self.stop()?;
                damage::flip(self, *spot, *bit);
            }
            Step::Bar(which) => self.bar(*which),
            Step::BadPage { file, page } => self.bad_page(*file, *page),
            Step::Unbar => self.unbar()?,
            Step::FailInStart(at) => self.fail_in_start(*at)?,
            Step::Rebuild { is_lost } => self.rebuild(*is_lost)?,
            Step::AcceptLoss(which) => self.accept_loss(*which)?,
            Step::Fill => self.restart_with(RETENTION, 1)?,
            Step::Narrow { kib, drops } => {
                self.stop()?;
                self.settings.on_full = if *drops { OnFull::DropOldest } else { OnFull::Refuse };
                self.restart_with(RETENTION, u64::from(*kib) * 1024)?;
            }
            Step::MakeRoom => {
                self.stop()?;
                self.settings.on_full = OnFull::Refuse;
                self.restart_with(RETENTION, ROOM)?;
            }
            Step::Expire => self.restart_with(Duration::ZERO, self.settings.disk_limit)?,
            Step::Clock(hours) => self.set_clock(*hours),
            Step::Sink(mood) => self.sink.be(*mood),
            Step::Pause(paused) => self.pause(*paused)?,
            Step::ForgetExporter => self.forget_exporter()?,
            Step::KeepCursor => {
                self.up()?;
                self.node().keep_cursor(&self.runtime);
            }
            Step::Seek(to) => self.seek(*to)?,
            Step::Settle(mood) => self.settle(*mood)?,
        }
        self.check()
    }

    /// Checks at the end, with everything well again, that nothing is missing but what the sequence itself destroyed.
    pub(crate) fn finish(&mut self) -> Checked {
        self.unbar()?;
        self.settings.on_full = OnFull::Refuse;
        self.restart_with(RETENTION, ROOM)?;
        self.check()?;
        self.settle(Mood::Takes)?;
        self.check()?;
        self.stop()?;
        self.check()
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("it was started before")
    }

    /// Starts the node if it is down.
    pub(crate) fn up(&mut self) -> Checked {
        if self.node.is_some() {
            return Ok(());
        }
        self.boot += 1;
        let store = Store::open(&self.data, self.settings).map_err(|e| format!("the start fails: {e}"))?;
        wait("recovery", || store.is_recovered())?;
        self.may_go = self.settings.retention.is_zero() || self.settings.disk_limit < ROOM;
        if self.may_go {
            self.model.entries.values_mut().for_each(|e| e.may_go = true);
        }
        let floor = store
            .catalogue
            .read(|state| state.cursor(EXPORTER, store.vault.identity().node_id, SHARD));
        self.model.exporter_started(floor);
        self.model.unrecovered = unrecovered(&store);
        let of_exporter = |state: &State| state.exporter(EXPORTER).copied();
        self.model.is_paused = store.catalogue.read(of_exporter).is_some_and(|e| e.paused);
        let mut configs = exporter(self.sink.address, self.setup.expires);
        configs.retain(|_| self.exports);
        let node = Node::start(store, configs)?;
        wait("a look at the disk", || node.store.vault.status().disk.own > 0)?;
        self.node = Some(node);
        Ok(())
    }

    /// Ends the node cleanly if it is up.
    pub(crate) fn stop(&mut self) -> Checked {
        let Some(node) = self.node.take() else { return Ok(()) };
        let store = node.end_export(Some(&self.runtime));
        self.model.take(&self.sink.taken())?;
        let (mark, written) = (store.writer.watermark(), store.writer.last_written());
        store.end(true)?;
        if mark.failed() || mark.acked() < written {
            return Err(format!(
                "a clean end left {written:?} without an ack: {:?}",
                mark.failure()
            ));
        }
        self.model.acknowledged(written, self.boot);
        if let Some(entry) = written.and_then(|last| self.model.entries.get_mut(&last)) {
            entry.idle = true;
        }
        Ok(())
    }

    fn restart(&mut self) -> Checked {
        self.stop()?;
        self.up()
    }

    fn restart_with(&mut self, retention: Duration, disk_limit: u64) -> Checked {
        self.stop()?;
        (self.settings.retention, self.settings.disk_limit) = (retention, disk_limit);
        self.up()?;
        // The setting holds for one boot.
        self.settings.retention = RETENTION;
        let vault = &self.node().store.vault;
        wait("the tier of a full disk", || {
            disk_limit > 1 || vault.tier() >= DiskTier::Refuse
        })
    }

    /// Appends; ends early where the vault is full or the gate is frozen.
    fn append(&mut self, sizes: &[usize], one_by_one: bool) -> Checked {
        for size in sizes {
            let number = self.model.next_number();
            let payload = payload(number, *size);
            let Some(node) = &mut self.node else { return Ok(()) };
            let (vault, writer) = (&node.store.vault, &mut node.store.writer);
            let mark = writer.watermark();
            let meta = meta(number);
            let saw = mark.acked();
            let mut answer = Err(AppendError::NoSpare);
            wait("room for an entry", || {
                answer = writer.must_append(&meta, payload.len(), std::iter::once(&payload[..]));
                let is_full = vault.tier() >= DiskTier::Refuse;
                !matches!(answer, Err(AppendError::NoSpare | AppendError::DiskFull)) || is_full || gate::is_frozen()
            })?;
            let lsn = match answer {
                Ok(lsn) => lsn,
                Err(AppendError::NoSpare | AppendError::DiskFull) => break,
                Err(AppendError::TooLarge) => continue,
                Err(AppendError::Fenced) => return Err("nobody fences it".to_owned()),
                Err(AppendError::Failed) => return Err(format!("the vault has failed: {:?}", mark.failure())),
            };
            for ring in node.exporters.rings(SHARD).must_load().iter() {
                ring.must_try_push(lsn);
                ring.wake();
            }
            if one_by_one {
                wait("an ack", || mark.acked() >= Some(lsn) || gate::is_frozen())?;
            }
            self.model.appended(Entry {
                number,
                lsn,
                payload,
                boot: self.boot,
                kept: false,
                void: false,
                saw,
                idle: false,
                hurt: false,
                lost: false,
                trimmed: false,
                may_go: self.may_go,
                dropped: false,
                loss_is_accepted: false,
                delivered: 0,
            })?;
        }
        let writer = &self.node().store.writer;
        let (mark, written) = (writer.watermark(), writer.last_written());
        wait("the acks", || mark.acked() >= written || gate::is_frozen())?;
        self.model.acknowledged(mark.acked(), self.boot);
        Ok(())
    }

    fn tick(&mut self) -> Checked {
        self.up()?;
        let Some(node) = &mut self.node else { return Ok(()) };
        let writer = &mut node.store.writer;
        writer.must_tick();
        writer.must_tick();
        let last = writer.last_written().filter(|_| !self.setup.rolls_by_age);
        if let Some(entry) = last.and_then(|last| self.model.entries.get_mut(&last)) {
            entry.idle = true;
        }
        Ok(())
    }

    /// Appends until the gate freezes or all is appended; the state of the disk then is what the next start finds.
    fn crash(&mut self, at: Point, sizes: &[usize], torn: u64) -> Checked {
        self.up()?;
        gate::arm(at.name, at.after);
        self.append(sizes, true)?;
        self.die(torn)
    }

    /// Appends while the cutter is held up, and crashes.
    fn crash_unsealed(&mut self, sizes: &[usize], torn: u64) -> Checked {
        self.up()?;
        gate::hold("segment.write");
        let (before, last) = sizes.split_at(sizes.len().saturating_sub(1));
        self.append(before, false)?;
        self.append(last, true)?;
        self.die(torn)
    }

    /// Ends the node as a crash at this instant does.
    fn die(&mut self, torn: u64) -> Checked {
        gate::freeze();
        self.leave_as_it_is(torn);
        gate::open();
        let Some(node) = self.node.take() else { return Ok(()) };
        let store = node.end_export(None);
        self.model.take(&self.sink.taken())?;
        store.end(false)
    }

    /// Starts a node, up to the end of its recovery, with a crash on the way or at the end.
    fn crash_in_start(&mut self, at: Point, torn: u64) -> Checked {
        self.stop()?;
        self.boot += 1;
        gate::arm(at.name, at.after);
        let (tell, told) = mpsc::channel();
        let (data, settings) = (self.data.clone(), self.settings);
        let starting = thread::spawn(move || {
            let opened = Store::open(&data, settings);
            if let Ok(store) = &opened {
                let recovered = wait("recovery", || store.is_recovered() || gate::is_frozen());
                recovered.expect("a recovery ends, or freezes");
            }
            // The other end waits for this message or for the gate.
            let _ = tell.send(());
            opened
        });
        wait("a start", || told.try_recv().is_ok() || gate::is_frozen())?;
        gate::freeze();
        self.leave_as_it_is(torn);
        gate::open();
        let opened = starting.join().map_err(|_| "the start panicked".to_owned())?;
        opened.map_err(|e| format!("the start fails: {e}"))?.end(false)
    }

    /// Makes a copy of the disk, without bytes that were never synced, the data folder of the next start.
    fn leave_as_it_is(&mut self, torn: u64) {
        if let Some(node) = &self.node {
            self.model
                .acknowledged(node.store.writer.watermark().acked(), self.boot);
        }
        let mut photograph = photograph(&self.data);
        let synced = self
            .node
            .as_ref()
            .and_then(|node| node.store.writer.watermark().acked());
        damage::tear(&mut photograph, &self.model, self.boot, synced, torn);
        self.folders += 1;
        let to = self.root.path().join(self.folders.to_string());
        for (path, bytes) in photograph {
            let path = to.join(path);
            fs::create_dir_all(path.parent().expect("it is in a folder")).unwrap();
            fs::write(path, bytes).unwrap();
        }
        self.data = to;
    }

    /// Files of entries, by their segment.
    pub(crate) fn files(&self) -> BTreeMap<u32, Vec<PathBuf>> {
        let mut files: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
        for path in files_below(&self.data) {
            if let Some(index) = damage::index_of(&path) {
                files.entry(index).or_default().push(path);
            }
        }
        files
    }

    fn seek(&mut self, to: Seek) -> Checked {
        self.up()?;
        self.model.take(&self.sink.taken())?;
        self.model.sought(to == Seek::Now);
        let to = match to {
            Seek::Now => SeekTo::Now,
            Seek::Oldest => SeekTo::Oldest,
        };
        let sought = self.node().exporters.seek(EXPORTER, to, true, "a test");
        sought.map(drop).map_err(|e| e.to_string())
    }

    fn pause(&mut self, paused: bool) -> Checked {
        self.up()?;
        self.model.take(&self.sink.taken())?;
        self.model.is_paused = false;
        self.node().pause(paused)?;
        self.model.take(&self.sink.taken())?;
        self.model.is_paused = paused;
        Ok(())
    }

    /// Waits until the exporter has no debt, with a sink of this mood.
    fn settle(&mut self, mood: Mood) -> Checked {
        self.sink.be(mood);
        self.pause(false)?;
        let until = std::time::Instant::now() + HANG;
        loop {
            self.model.take(&self.sink.taken())?;
            let Some(node) = &self.node else { return Ok(()) };
            let done = node.done()?;
            let catalogue = node.store.catalogue.read(State::clone);
            self.model.note_dropped(&dropped(), &catalogue);
            let mut owed = self.model.owed(&catalogue, done);
            // An entry at which the sink fails is a dead letter only when others get through behind it.
            owed.retain(|(number, _)| mood != Mood::Breaks || !is_poison(*number));
            if owed.is_empty() {
                return Ok(());
            }
            let view = node.exporters.view(EXPORTER).map_err(|e| e.to_string())?;
            if std::time::Instant::now() > until {
                return Err(format!("the exporter does not send {owed:?}: {view:?}"));
            }
            // An operator who sees the exporter wait resumes it.
            if view.next_attempt_ns > 0 {
                node.exporters
                    .set_paused(EXPORTER, false, "a test")
                    .map_err(|e| e.to_string())?;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks every promise.
    fn check(&mut self) -> Checked {
        let Some(node) = &self.node else {
            return self.model.judge_files(&self.files().into_keys().collect());
        };
        let vault = &node.store.vault;
        let done = node.done()?;
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for found in vault.cursor(SHARD, None, TimeRange::ALL) {
            match found {
                Ok(entry) => entries.push(entry),
                Err(fault) => faults.push(fault),
            }
        }
        for (id, state) in vault.segments() {
            if let (SegmentState::Sealed(_), false) = (state, self.blocks.contains_key(&id.index.get()))
                && let Ok(detail) = vault.describe(id)
            {
                self.blocks.insert(id.index.get(), detail.blocks);
            }
        }
        // A file that vanishes meanwhile goes on record first, and is delivered before that.
        let files = self.files().into_keys().collect();
        let quarantined = vault.quarantined();
        let seen = Seen {
            done,
            entries,
            faults,
            quarantined,
            files,
            catalogue: node.store.catalogue.read(State::clone),
            dropped: dropped(),
            trimmed: trimmed(),
            taken: self.sink.taken(),
            boot: self.boot,
        };
        self.model.judge(&seen)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        gate::open();
        if let Some(node) = self.node.take() {
            // The world has failed already, so the result of this says nothing.
            let _ = node.end_export(None).end(false);
        }
        for point in ["file.open", "file.read", "clock.wall"] {
            fail::remove(point);
        }
    }
}

/// Segments whose recovery has failed because of an injected fault, or waits for another segment.
fn unrecovered(store: &Store) -> BTreeSet<u32> {
    let segments = store.vault.segments().into_iter();
    segments
        .filter(|(_, state)| {
            matches!(state, SegmentState::Unreadable(why) if ["injected", "waits for \
            segment"].iter().any(|w| why.contains(w)))
        })
        .map(|(id, _)| id.index.get())
        .collect()
}

/// A folder in memory where there is one: a crash is a copy of the files, so nothing depends on the disk, and syncs
/// cost nothing.
fn tempdir() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn meta(number: u64) -> EntryMeta {
    EntryMeta {
        received_ns: now_unix_nano(),
        min_event_ns: number,
        max_event_ns: number,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    }
}

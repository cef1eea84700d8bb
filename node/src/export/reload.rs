//! Exporters that come, change and go: at the start of a node, and while it runs.
//!
//! **Invariants.** I1: of two exporters of one name only one sends: the old one has ended before the new one begins, at
//! the cursor that the old one left. I2: the catalogue has every exporter as configured at this node before it is
//! started, and until it has ended.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gophership_catalogue::CatalogueError;
use gophership_catalogue::exporter::Generation;
use gophership_catalogue::limits::EXPORTERS_MAX;
use tokio::sync::watch;

use super::configure::configure;
use super::control::Control;
use super::error::ExportError;
use super::exporter::{self, ExporterSetup};
use super::exporters::{Exporters, Refused, Running, open_sink};
use super::limits::LOST_RUNS_EXPECTED;
use super::status::{CursorPosition, Status};
use crate::buffer::{Budget, LiveRing};
use crate::config::Export;
use crate::replay::LostLogs;

/// Interval at which the end of a thread is checked.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// The names of the exporters that a new configuration changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reloaded {
    /// New exporters.
    pub added: Vec<String>,
    /// Exporters with other settings.
    pub changed: Vec<String>,
    /// Exporters that are no longer there.
    pub removed: Vec<String>,
}

impl Running {
    /// True where its thread has ended by itself, or was joined.
    pub(super) fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the thread, which was told to end: until `until`, or without limit.
    pub(super) fn join(&self, until: Option<Instant>) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        while !thread.is_finished() && until.is_none_or(|until| Instant::now() < until) {
            std::thread::sleep(END_INTERVAL);
        }
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!(exporter = self.config.name, "export.thread.panicked");
        }
    }
}

impl Exporters {
    /// The errors for which exporters with these settings could not be started, as far as they can be foreseen.
    #[must_use]
    pub fn faults(configs: &[Export]) -> Vec<ExportError> {
        configs.iter().filter_map(|config| open_sink(config).err()).collect()
    }

    /// Takes a new list of exporters into use; `refused` are others that are to run and cannot. It blocks: exporters
    /// that go or change end first, and their requests in flight get their answer before.
    ///
    /// # Errors
    /// The catalogue does not take the names: no exporter is changed.
    pub fn reload(&self, configs: Vec<Export>, refused: Refused) -> Result<Reloaded, CatalogueError> {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin(&configs)?;
        // Those that go are configured until they have ended.
        let own = self.vault.identity().node_id;
        configure(self.catalogue.as_ref(), own, configured.iter().chain(&configs))?;
        let old = std::mem::replace(&mut *configured, configs.clone());
        let is_in = |list: &[Export], name: &str| list.iter().any(|e| e.name == name);
        let names = |list: &[Export], wanted: &dyn Fn(&Export) -> bool| -> Vec<String> {
            list.iter().filter(|e| wanted(e)).map(|e| e.name.clone()).collect()
        };
        let reloaded = Reloaded {
            added: names(&configs, &|e| !is_in(&old, &e.name)),
            changed: names(&configs, &|e| is_in(&old, &e.name) && !old.contains(e)),
            removed: names(&old, &|e| !is_in(&configs, &e.name)),
        };
        self.end(&[&reloaded.changed[..], &reloaded.removed].concat());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        if let Err(error) = configure(self.catalogue.as_ref(), own, &configs) {
            // Those that went cannot be forgotten before the next time.
            tracing::warn!(%error, "export.configure.failed");
        }
        for config in configs.iter().filter(|config| !old.contains(config)) {
            if let Err(error) = self.start_one(config, configs.len()) {
                // It counts as new at the next reload, which so begins it again.
                configured.retain(|started| started != config);
                self.cannot_start(&config.name, &error);
            }
        }
        self.name_those_not_configured();
        Ok(reloaded)
    }

    /// Ends exporters that prove to be such as this node cannot run, each with the reason. It blocks.
    pub fn refuse(&self, refused: Refused) {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        configured.retain(|config| !refused.contains_key(&config.name));
        self.end(&refused.keys().cloned().collect::<Vec<_>>());
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(refused);
    }

    /// Notes that an exporter could not be started.
    pub(super) fn cannot_start(&self, name: &str, error: &ExportError) {
        tracing::error!(
            exporter = name,
            %error,
            "export.start.failed: what it would send is held; reload the node (SIGHUP) once that is mended"
        );
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(name.to_owned(), error.to_string());
    }

    /// Ends exporters, and commits their cursors.
    fn end(&self, names: &[String]) {
        let running = self.running();
        let ending: Vec<_> = running.iter().filter(|r| names.contains(&r.config.name)).collect();
        for r in &ending {
            r.control.send_modify(|control| control.stop = true);
        }
        for r in &ending {
            r.join(None);
        }
        if let Err(error) = self.cursors.keep() {
            // Entries sent since the last commit are sent again.
            tracing::warn!(%error, "export.cursor.failed");
        }
        self.commit_taken();
        for r in ending {
            self.cursors.remove(&r.config.name);
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|r| {
            let ends = names.contains(&r.config.name);
            // The export of a lost node's logs may have begun meanwhile.
            r.control
                .send_if_modified(|control| ends && !std::mem::replace(&mut control.stop, true));
            !ends
        });
        drop(running);
        self.hand_over_to_all();
    }

    /// Starts an exporter, one of `of`.
    pub(super) fn start_one(&self, config: &Export, of: usize) -> Result<(), ExportError> {
        let name = &config.name;
        let Some(known) = self.catalogue.read(|state| state.exporter(name).copied()) else {
            return Err(ExportError::NoRoom {
                name: name.clone(),
                limit: EXPORTERS_MAX,
            });
        };
        let control = Control {
            paused: known.paused,
            generation: known.generation,
            nudge: 0,
            stop: false,
        };
        let status = self.status_of(name, known.generation);
        // Its lanes make their own sinks; this one shows whether that is possible.
        open_sink(config)?;
        let (control, receiver) = watch::channel(control);
        let share = self.memory / of.max(1) as u64;
        let budget = Budget::new(share.max(config.memory(self.max_message as u64)), 1);
        // In that of the exporter's own lanes, which may be as large as one batch, those of lost nodes would never have
        // enough while the others are busy.
        let for_lost = self.lost.as_ref().map(|lost| {
            let memory = Budget::new(config.memory(self.max_message as u64), LOST_RUNS_EXPECTED);
            (lost.logs.for_another(), memory)
        });
        let logs = for_lost.as_ref().map(|(logs, _)| logs.clone());
        let setup = ExporterSetup {
            config: config.clone(),
            vault: self.vault.clone(),
            catalogue: Arc::clone(&self.catalogue),
            letters: Arc::clone(&self.letters),
            status: Arc::clone(&status),
            throttle: self.throttle.clone(),
            zone: Arc::clone(&self.zone),
            budget,
            max_message: self.max_message,
            control: receiver,
            lost: None,
            logs: logs.or_else(|| self.logs.as_ref().map(LostLogs::for_another)),
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let thread = exporter::start(setup).map_err(|source| ExportError::Thread {
            name: name.clone(),
            source,
        })?;
        self.cursors.add(name, &status);
        running.push(Arc::new(Running {
            config: config.clone(),
            control,
            status,
            thread: Mutex::new(Some(thread)),
            lost: None,
            for_lost,
        }));
        drop(running);
        self.hand_over_to_all();
        Ok(())
    }

    /// The status of an exporter that starts, with its cursors as they are on record.
    fn status_of(&self, name: &str, generation: Generation) -> Arc<Status> {
        let node = self.vault.identity().node_id;
        let positions = self.shards.iter().map(|shard| {
            let done = self.catalogue.read(|state| state.cursor(name, node, *shard));
            (*shard, CursorPosition { generation, done })
        });
        let rings = self.shards.iter().map(|shard| (*shard, Arc::new(LiveRing::default())));
        Status::new(Default::default(), rings.collect(), positions.collect())
    }

    /// Gives the workers their live rings.
    fn hand_over_to_all(&self) {
        let running = self.running();
        for (shard, rings) in &self.rings {
            let of_shard = running.iter().filter_map(|r| r.status.rings.get(shard));
            rings.set(of_shard.map(Arc::clone).collect());
        }
    }

    /// Logs the exporters that an operator paused before, and nobody has resumed since.
    pub(super) fn name_those_paused(&self) {
        let running = self.running();
        let paused = running.iter().filter(|r| r.control.borrow().paused);
        let names: Vec<&str> = paused.map(|r| r.config.name.as_str()).collect();
        if !names.is_empty() {
            tracing::warn!(
                exporters = names.join(", "),
                "export.pause.kept: they send nothing until gs-ctl exporter resume NAME"
            );
        }
    }

    /// Says which exporters hold segments though nobody sends them.
    pub(super) fn name_those_not_configured(&self) {
        let names: Vec<String> = self
            .catalogue
            .read(|state| state.not_configured().map(str::to_owned).collect());
        for name in &names {
            tracing::warn!(
                exporter = name,
                "export.exporter.not_configured: what it has not got is kept for it; if it does not come back, gs-ctl \
                 exporter forget NAME"
            );
        }
    }
}

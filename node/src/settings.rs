//! The settings that are to be in force on this node, and those that are.
//!
//! On a single node they are those of its own configuration. In a cluster the catalogue has the cluster's settings,
//! each of which stands in place of the node's own (ADR 0020).
//!
//! **Invariants**:
//! - I1: a setting of the cluster that this node cannot have keeps it neither from starting nor from having the others,
//!   and is told.
//! - I2: what a reference stands for leaves this process only in what is sent to the exporter's own sink.
//!
//! **Not here**: what makes new values count (`reload.rs`), the keys (`config`), the record (`catalogue`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gophership_catalogue::setting::EXPORTER;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, State};
use gophership_vault::Tuning;
use gophership_vault::time::now_unix_nano;

use crate::config::{self, Archive, Cluster, Config, Environment, Origin, Values};
use crate::export::{Exporters, Refused};
use crate::machine::Machine;

/// The settings of a node (see the module).
pub struct Settings {
    /// The record of the cluster's; `None` on a single node.
    catalogue: Option<Arc<dyn Catalogue>>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The node's own configuration, as it was read last, and the source of each key that is set in it.
    own: Config,
    origins: BTreeMap<&'static str, Origin>,
    /// What is to be in force.
    wanted: Wanted,
    /// What is: as of the start, but for what is in force at once.
    running: Config,
}

/// The settings that are to be in force.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// The configuration with them.
    pub(crate) config: Config,
    /// Settings of the cluster that this node cannot have, each with the reason.
    pub(crate) refused: Values,
    /// The version of the latest change among them.
    version: u64,
}

impl Wanted {
    /// The exporters of the cluster that this node cannot have, by name, each with the reason.
    pub(crate) fn refused_exporters(&self) -> Refused {
        let named = |(key, why): (&String, &String)| Some((key.strip_prefix(EXPORTER)?.to_owned(), why.clone()));
        self.refused.iter().filter_map(named).collect()
    }

    /// Leaves exporters out, each with the reason.
    pub(crate) fn leave_out(&mut self, exporters: impl IntoIterator<Item = (String, String)>) {
        for (name, why) in exporters {
            self.config.export.retain(|export| export.name != name);
            self.refused.insert(format!("{EXPORTER}{name}"), why);
        }
    }
}

/// One setting as an operator sees it.
pub(crate) struct Shown {
    pub(crate) key: String,
    /// The value that stands; `None` for an exporter that only the node's own configuration has.
    pub(crate) value: Option<String>,
    /// The value of the node's own configuration, where it sets one.
    pub(crate) own: Option<String>,
    /// The source of the value that stands: `default`, `file`, `environment`, `cluster`.
    pub(crate) from: &'static str,
    /// The version of its latest change in the cluster; 0 where it has none.
    pub(crate) version: u64,
    /// The reason for which it is not in force here; empty where it is.
    pub(crate) not_in_force: String,
}

/// The settings of the cluster on record, and the version of their latest change.
fn on_record(state: &State) -> (Values, u64) {
    let settings = state.cluster_settings();
    let values = settings.map(|(key, setting)| (key.to_owned(), setting.value.clone()));
    (values.collect(), state.settings_version())
}

/// The cluster's part of a configuration as the record has it, which may be behind.
pub(crate) fn cluster_on_record(own: &Config, catalogue: &dyn Catalogue) -> Option<Cluster> {
    let mut values = Values::new();
    catalogue.view(&mut |state| values = on_record(state).0);
    let (config, _) = config::with_settings(own, &values, &Environment::of_process(), &Machine::detect());
    config.cluster
}

impl Settings {
    /// Those of a single node.
    #[must_use]
    pub fn single(own: &Config, file: Option<&Path>) -> Arc<Self> {
        Self::new(own, file, None)
    }

    /// Those of a node of a cluster. The first one that starts puts its own on record. It blocks.
    ///
    /// # Errors
    /// The catalogue's.
    pub fn of_member(
        own: &Config,
        file: Option<&Path>,
        catalogue: Arc<dyn Catalogue>,
    ) -> Result<Arc<Self>, CatalogueError> {
        if !catalogue.read(State::has_cluster_settings) {
            let begin = Command::BeginSettings {
                node: catalogue.identity().node_id,
                settings: config::cluster_values(own).into_iter().collect(),
                at_ns: now_unix_nano(),
            };
            catalogue.submit(Actor::Node, begin)?;
        }
        // This node's copy may be behind, of what it submitted itself, too.
        catalogue.catch_up()?;
        Ok(Self::new(own, file, Some(catalogue)))
    }

    fn new(own: &Config, file: Option<&Path>, catalogue: Option<Arc<dyn Catalogue>>) -> Arc<Self> {
        let wanted = wanted(own, catalogue.as_deref());
        Arc::new(Self {
            catalogue,
            inner: Mutex::new(Inner {
                own: own.clone(),
                origins: config::origins(file, &Environment::of_process()),
                running: wanted.config.clone(),
                wanted,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where the catalogue has the cluster's settings.
    pub(crate) fn are_of_cluster(&self) -> bool {
        self.catalogue.is_some()
    }

    /// The configuration that is to be in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.inner().wanted.config.clone()
    }

    /// `vault.scrub_interval`.
    pub(crate) fn scrub_interval(&self) -> Duration {
        self.inner().wanted.config.vault.scrub_interval
    }

    /// `archive`.
    pub(crate) fn archive(&self) -> Archive {
        self.inner().wanted.config.archive.clone()
    }

    /// The node's own configuration.
    pub(crate) fn own(&self) -> Config {
        self.inner().own.clone()
    }

    /// True where the record has changed since it was looked at last.
    pub(crate) fn is_behind(&self) -> bool {
        let version = self
            .catalogue
            .as_ref()
            .map(|catalogue| catalogue.read(State::settings_version));
        version.is_some_and(|version| version != self.inner().wanted.version)
    }

    /// What is to be in force by the record, and by `own`, or else the configuration that was read last. It blocks.
    pub(crate) fn read_wanted(&self, own: Option<&Config>) -> Wanted {
        let own = own.cloned().unwrap_or_else(|| self.own());
        wanted(&own, self.catalogue.as_deref())
    }

    /// True where what is wanted differs from what was taken last.
    pub(crate) fn is_new(&self, wanted: &Wanted) -> bool {
        let inner = self.inner();
        (&wanted.config, &wanted.refused) != (&inner.wanted.config, &inner.wanted.refused)
    }

    /// Notes the node's own configuration, which was read again.
    pub(crate) fn set_own(&self, own: Config, file: Option<&Path>) {
        let origins = config::origins(file, &Environment::of_process());
        let mut inner = self.inner();
        (inner.own, inner.origins) = (own, origins);
    }

    /// Notes what is wanted, of which everything is in force by now that can be at once. Returns the keys whose values
    /// count from the next start on.
    pub(crate) fn set_taken(&self, wanted: Wanted) -> Vec<&'static str> {
        let mut inner = self.inner();
        let (running, config) = (&mut inner.running, &wanted.config);
        running.export.clone_from(&config.export);
        (running.vault.segment_age, running.vault.retention) = (config.vault.segment_age, config.vault.retention);
        (running.vault.scrub_interval, running.vault.on_full) = (config.vault.scrub_interval, config.vault.on_full);
        if let (Some(running), Some(config)) = (&mut running.cluster, &config.cluster) {
            let (name, peers) = (std::mem::take(&mut running.name), std::mem::take(&mut running.peers));
            *running = Cluster {
                name,
                peers,
                ..config.clone()
            };
        }
        running.archive.clone_from(&config.archive);
        let waiting = config::changed_keys(running, config);
        inner.wanted = wanted;
        waiting
    }

    /// The exporters of the cluster that this node cannot have, by name, each with the reason.
    pub(crate) fn refused_exporters(&self) -> Refused {
        self.inner().wanted.refused_exporters()
    }

    /// Number of settings that are not in force on this node.
    pub(crate) fn not_in_force(&self) -> usize {
        let inner = self.inner();
        let waiting = config::changed_keys(&inner.running, &inner.wanted.config);
        inner.wanted.refused.len() + waiting.len()
    }

    /// Notes that exporters which are wanted are left out on this node, each with the reason.
    pub(crate) fn leave_out(&self, exporters: impl IntoIterator<Item = (String, String)>) {
        self.inner().wanted.leave_out(exporters);
    }

    /// The version at which a setting of the cluster stands, and its value.
    pub(crate) fn stands(&self, key: &str) -> Option<(u64, String)> {
        let catalogue = self.catalogue.as_ref()?;
        catalogue.read(|state| {
            state
                .setting(key)
                .map(|setting| (setting.version, setting.value.clone()))
        })
    }

    /// All settings, in the order of the keys.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let record = self.catalogue.as_ref().map(|catalogue| {
            let all = |state: &State| {
                let settings = state.cluster_settings();
                settings
                    .map(|(key, s)| (key.to_owned(), (s.value.clone(), s.version)))
                    .collect()
            };
            catalogue.read(all)
        });
        let inner = self.inner();
        let mut record: BTreeMap<String, (String, u64)> = record.unwrap_or_default();
        let waiting = config::changed_keys(&inner.running, &inner.wanted.config);
        let mut all = Vec::new();
        for (key, own) in config::values(&inner.own) {
            let origin = inner.origins.get(key.as_str());
            let is_set = key.starts_with(EXPORTER) || key == "cluster.peers" || origin.is_some();
            let stands = record.remove(&key);
            let is_out = stands.is_none() && self.are_of_cluster() && key.starts_with(EXPORTER);
            let from = match (&stands, origin) {
                (Some(_), _) => "cluster",
                (None, Some(Origin::Environment(_))) => "environment",
                (None, _) if is_set => "file",
                (None, _) => "default",
            };
            let (value, version) = match stands {
                Some((value, version)) => (Some(value), version),
                None => (Some(own.clone()).filter(|_| !is_out), 0),
            };
            let not_in_force = inner.why_not(&key, &waiting);
            let own = Some(own).filter(|_| is_set);
            all.push(Shown {
                key,
                value,
                own,
                from,
                version,
                not_in_force,
            });
        }
        let others = record.into_iter().map(|(key, (value, version))| Shown {
            not_in_force: inner.why_not(&key, &waiting),
            key,
            value: Some(value),
            own: None,
            from: "cluster",
            version,
        });
        all.extend(others);
        all
    }
}

impl Inner {
    fn why_not(&self, key: &str, waiting: &[&str]) -> String {
        match self.wanted.refused.get(key) {
            Some(why) => why.clone(),
            None if waiting.contains(&key) => "it counts from the next start of the node on".to_owned(),
            None => String::new(),
        }
    }
}

/// What is to be in force by a node's own configuration and the record. An exporter of the cluster whose sink cannot be
/// opened here is left out.
fn wanted(own: &Config, catalogue: Option<&dyn Catalogue>) -> Wanted {
    let Some(catalogue) = catalogue else {
        return Wanted {
            config: own.clone(),
            refused: Values::new(),
            version: 0,
        };
    };
    let (values, version) = catalogue.read(on_record);
    let (config, refused) = config::with_settings(own, &values, &Environment::of_process(), &Machine::detect());
    let faults = config.export.iter().filter_map(|export| {
        let fault = Exporters::faults(std::slice::from_ref(export)).pop()?;
        Some((export.name.clone(), fault.to_string()))
    });
    let faults = faults.collect::<Vec<_>>();
    let mut wanted = Wanted {
        config,
        refused,
        version,
    };
    wanted.leave_out(faults);
    wanted
}

/// The part of a configuration that a vault takes into use at once.
pub(crate) fn tuning(config: &Config) -> Tuning {
    Tuning {
        segment_age: config.vault.segment_age,
        retention: config.vault.retention,
        on_full: match config.vault.on_full {
            config::OnFull::Refuse => gophership_vault::OnFull::Refuse,
            config::OnFull::DropOldest => gophership_vault::OnFull::DropOldest,
        },
    }
}

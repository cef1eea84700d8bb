//! The settings, and those among them that are the cluster's.

use super::{Setting, State};
use crate::setting::{ARCHIVE_URL, is_of_cluster};

impl State {
    /// The version of the latest change of a setting; 0 before the first.
    pub fn settings_version(&self) -> u64 {
        self.counters.settings_version
    }

    /// The setting of this name.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// All settings, by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// True once the first node of the cluster has put the cluster's settings on record. [`ARCHIVE_URL`] counts for
    /// nothing here: a single node has it, too.
    pub fn has_cluster_settings(&self) -> bool {
        self.cluster_settings().any(|(key, _)| key != ARCHIVE_URL)
    }

    /// The settings of the cluster's configuration, by name.
    pub fn cluster_settings(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings().filter(|(key, _)| is_of_cluster(key))
    }
}

//! Settings of a node and of its cluster.

use schemars::JsonSchema;
use serde::Serialize;

use super::some_text;
use crate::control::v1;

/// A setting of a node, or of its cluster.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct SettingView {
    /// A key of the configuration such as `vault.retention`, or `exporter.NAME`.
    pub key: String,
    /// The value that stands: of an exporter its element of `export` as JSON, references not replaced. Null for an
    /// exporter that the node's own file has and the cluster does not.
    pub value: Option<String>,
    /// The value of the node's own configuration; null where that sets none.
    pub own: Option<String>,
    /// `default`, `file`, `environment` or `cluster`.
    pub from: String,
    /// The version of its latest change in the cluster; null where it is none of the cluster's.
    pub version: Option<u64>,
    /// The reason for which it is not in force on the node; null where it is.
    pub not_in_force: Option<String>,
}

impl SettingView {
    /// True where the node's own configuration has another value than the one that stands.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.own.is_some() && self.own != self.value
    }
}

impl From<v1::Setting> for SettingView {
    fn from(setting: v1::Setting) -> Self {
        Self {
            key: setting.key,
            value: setting.value,
            own: setting.own,
            from: setting.from,
            version: Some(setting.version).filter(|version| *version > 0),
            not_in_force: some_text(setting.not_in_force),
        }
    }
}

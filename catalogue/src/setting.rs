//! The settings of the cluster's configuration, among all settings: their names and their form.
//!
//! The form is what every version of the program agrees on: of two nodes of which one knows a name or a bound that the
//! other does not, both must come to the same record. So whether there is such a setting, and which values are
//! within its bounds, is checked by the node that is asked, before it submits anything.
//!
//! **Not here**: the meaning of the values (`node/src/config`).

use crate::limits::{EXPORTER_NAME_BYTES_MAX, SETTING_URL_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTING_WORD_BYTES_MAX};

/// The setting that says where segments are archived: the URL of a store, or [`ARCHIVE_NONE`]. A single node has it on
/// record too: it decides what may be removed.
pub const ARCHIVE_URL: &str = "archive.url";

/// The value of [`ARCHIVE_URL`] where there is no archive.
pub const ARCHIVE_NONE: &str = "none";

/// The setting with the ids of stores and the URLs that they were opened under, a line each, which nodes keep for
/// themselves.
pub const ARCHIVE_STORES: &str = "archived.store";

const ARCHIVE: &str = "archive.";

/// The beginning of the name of a setting that is an exporter; the exporter's name follows.
pub const EXPORTER: &str = "exporter.";

/// A setting, its new value, and the version that whoever sets it saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingSet {
    /// The setting's name.
    pub key: String,
    /// The setting's new value.
    pub value: String,
    /// Its version, 0 where there was none. If it has changed, nothing is set.
    pub seen: u64,
}

/// True where a setting is one of the cluster's configuration, and none that nodes keep for themselves.
pub fn is_of_cluster(key: &str) -> bool {
    ["vault.", "cluster.", ARCHIVE, EXPORTER]
        .iter()
        .any(|section| key.starts_with(section))
}

/// True where a value has the form of this setting of the cluster: of an exporter a mapping on one line, of another one
/// a word.
pub(crate) fn is_well_formed(key: &str, value: &str) -> bool {
    match key.strip_prefix(EXPORTER) {
        Some(name) => {
            let is_name = !name.is_empty() && name.len() <= EXPORTER_NAME_BYTES_MAX && !name.contains(char::is_control);
            let is_mapping = value.starts_with('{') && value.ends_with('}') && !value.contains(char::is_control);
            is_name && is_mapping && value.len() <= SETTING_VALUE_BYTES_MAX
        }
        None => {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
            let limit = match key.starts_with(ARCHIVE) {
                true => SETTING_URL_BYTES_MAX,
                false => SETTING_WORD_BYTES_MAX,
            };
            let is_word = !value.is_empty() && value.len() <= limit;
            key.bytes().all(is_name) && is_word && value.bytes().all(|byte| byte.is_ascii_graphic())
        }
    }
}

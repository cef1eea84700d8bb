//! What a reading of logs reads from.

use serde::{Deserialize, Serialize};

/// The source of the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// What nodes have from them, and all else from the archive.
    Auto,
    /// What nodes have.
    Vault,
    /// What is archived, from there.
    Archive,
}

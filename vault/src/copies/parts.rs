//! State that the store of copies and each copy share.

use std::path::PathBuf;
use std::sync::Arc;

use super::shared::CopyShared;
use crate::ids::NodeId;
use crate::read::quarantine::Quarantine;

/// The copies' folder, its node, and what they share with the threads that keep the vault.
#[derive(Clone)]
pub(super) struct CopyParts {
    pub(super) data: PathBuf,
    pub(super) node: NodeId,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) shared: CopyShared,
}

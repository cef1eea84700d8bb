//! Tells the catalogue which exporters a node is configured with, in place of what that node said before.
//!
//! **Not here**: what follows from it for what is held and forgotten, which the catalogue decides.

use std::collections::BTreeSet;

use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::ids::NodeId;

use crate::config::Export;

/// Tells the catalogue which exporters a node is configured with, and so for whom everything is held from now on.
///
/// # Errors
/// The catalogue's.
pub fn configure<'a>(
    catalogue: &dyn Catalogue,
    node: NodeId,
    configs: impl IntoIterator<Item = &'a Export>,
) -> Result<(), CatalogueError> {
    let names: BTreeSet<&str> = configs.into_iter().map(|config| config.name.as_str()).collect();
    let (node, names) = (Some(node), names.into_iter().map(str::to_owned).collect());
    catalogue
        .submit(Actor::Node, Command::ConfigureExporters { node, names })
        .map(drop)
}

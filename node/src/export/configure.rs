//! Tells the catalogue which exporters a node is configured with, in place of what that node said before.
//!
//! **Not here**: what follows from it for what is held and forgotten, which the catalogue decides.

use std::collections::BTreeSet;

use gophership_catalogue::limits::EXPORTERS_MAX;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command};
use gophership_vault::ids::NodeId;

use crate::config::Export;

/// Tells the catalogue which exporters a node is configured with, and so for whom everything is held from now on: as
/// many as there is room for, those first that are on record.
///
/// # Errors
/// The catalogue's.
pub fn configure<'a>(
    catalogue: &dyn Catalogue,
    node: NodeId,
    configs: impl IntoIterator<Item = &'a Export>,
) -> Result<(), CatalogueError> {
    let names: BTreeSet<&str> = configs.into_iter().map(|config| config.name.as_str()).collect();
    // There is a bound for those on record and for a list. One that has no room on record is not started.
    let (mut names, others): (Vec<&str>, Vec<&str>) =
        catalogue.read(|state| names.into_iter().partition(|name| state.exporter(name).is_some()));
    let room = EXPORTERS_MAX.saturating_sub(names.len());
    names.extend(others.into_iter().take(room));
    let (node, names) = (Some(node), names.into_iter().map(str::to_owned).collect());
    catalogue
        .submit(Actor::Node, Command::ConfigureExporters { node, names })
        .map(drop)
}

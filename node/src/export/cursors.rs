//! Keeps cursors: all of a node's in one command, now and then.

use std::collections::HashMap;
use std::sync::Arc;

use super::status::Place;
use gophership_catalogue::exporter::ExportCursor;
use gophership_catalogue::{CatalogueError, Command, LocalCatalogue};
use gophership_vault::ids::{NodeId, ShardId};

use super::dead_letters::submit;
use super::status::Status;

/// What is kept, as far as is known here.
pub(super) struct Keeper {
    pub(super) node: NodeId,
    pub(super) catalogue: Arc<LocalCatalogue>,
    pub(super) exporters: Vec<(String, Arc<Status>)>,
    kept: HashMap<(String, ShardId), Place>,
}

impl Keeper {
    pub(super) fn new(node: NodeId, catalogue: Arc<LocalCatalogue>, exporters: Vec<(String, Arc<Status>)>) -> Self {
        Self {
            node,
            catalogue,
            exporters,
            kept: HashMap::new(),
        }
    }

    /// Keeps what has moved since the last time.
    ///
    /// # Errors
    /// The catalogue's: what moved is kept the next time.
    pub(super) async fn keep(&mut self) -> Result<(), CatalogueError> {
        let mut cursors = Vec::new();
        for (name, status) in &self.exporters {
            for (shard, place) in status.places() {
                let Some(done) = place.done else { continue };
                // After a seek the same place must be kept once more.
                if self.kept.get(&(name.clone(), shard)) != Some(&place) {
                    cursors.push(ExportCursor {
                        exporter: name.clone(),
                        generation: place.generation,
                        shard,
                        done,
                    });
                }
            }
        }
        if cursors.is_empty() {
            return Ok(());
        }
        let command = Command::CommitCursors {
            node: self.node,
            cursors: cursors.clone(),
        };
        submit(&self.catalogue, command).await?;
        for cursor in cursors {
            let place = Place {
                generation: cursor.generation,
                done: Some(cursor.done),
            };
            self.kept.insert((cursor.exporter, cursor.shard), place);
        }
        Ok(())
    }
}

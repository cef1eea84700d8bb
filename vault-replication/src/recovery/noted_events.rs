//! What only a leader knows, put on record as events: that it leads, and which nodes it finds dead.
//!
//! **Invariants**:
//! - I1: nobody waits for it, and at most one command for each change is under way. What was not answered is submitted
//!   again.
//! - I2: the catalogue passes over what it has on record already.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gophership_catalogue::event::What;
use gophership_catalogue::{Actor, Command};
use gophership_vault::ids::NodeId;

use super::parts::Parts;

/// What was submitted since this node leads.
#[derive(Default)]
pub(super) struct NotedEvents {
    leads: bool,
    dead: BTreeSet<NodeId>,
    /// True where something was not answered.
    unanswered: Arc<AtomicBool>,
}

impl NotedEvents {
    /// Submits what is new, while this node leads.
    pub(super) fn submit_new(&mut self, parts: &Arc<Parts>, dead: BTreeSet<NodeId>) {
        if self.unanswered.swap(false, Ordering::AcqRel) {
            *self = Self::default();
        }
        if !self.leads {
            self.submit(parts, What::LeaderChanged, parts.node);
        }
        for node in dead.difference(&self.dead) {
            self.submit(parts, What::NodeDead, *node);
        }
        (self.leads, self.dead) = (true, dead);
    }

    fn submit(&self, parts: &Arc<Parts>, what: What, node: NodeId) {
        let note = Command::Note {
            what,
            subject: format!("node {node}"),
            detail: String::new(),
            at_ns: (parts.clock_ns)(),
        };
        let (shared, unanswered) = (Arc::clone(parts), Arc::clone(&self.unanswered));
        parts.runtime.spawn_blocking(move || {
            if let Err(error) = shared.catalogue.submit(Actor::Node, note) {
                tracing::warn!(%error, node_id = node.get(), what = what.name(), "cluster.event.not_kept");
                unanswered.store(true, Ordering::Release);
            }
        });
    }
}

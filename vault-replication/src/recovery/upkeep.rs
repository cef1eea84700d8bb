//! The leader's standing care of sealed segments: what nodes that were replaced have left is trimmed and confirmed
//! in their place, and copies that are missing are planned.
//!
//! **Owns**: a thread.
//!
//! **Invariants**:
//! - I1: nothing is submitted while another node leads, nor by what an older state says.
//!
//! **Not here**: the decisions (`decide::gc_horizon`, `decide::repair_plan`); the fetch of a copy (`repair`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gophership_catalogue::{Actor, Catalogue, CatalogueError, State};
use gophership_vault::ids::NodeId;
use gophership_vault::ledger::SealRecord;

use super::pacing::is_stopped;
use super::parts::{Clock, Leads};
use super::repair::IsLongDead;
use crate::decide::gc_horizon::due_for_the_lost;
use crate::decide::repair_plan::{Staying, copies_to_plan};
use crate::limits::UPKEEP_INTERVAL;

/// See [`UpkeepSetup::keeps`].
pub type Keeps = Box<dyn Fn(&State, &SealRecord, u64) -> bool + Send>;

/// What the care needs.
pub struct UpkeepSetup {
    /// The catalogue of the cluster.
    pub catalogue: Arc<dyn Catalogue>,
    /// Says whether this node leads.
    pub leads: Leads,
    /// Says whether a node is alive.
    pub is_alive: Arc<dyn Fn(NodeId) -> bool + Send + Sync>,
    /// This node.
    pub node: NodeId,
    /// The clock of this node's vault, nanoseconds since the Unix epoch.
    pub clock_ns: Clock,
    /// The number of copies that a segment is to have.
    pub replicas: Box<dyn Fn() -> usize + Send>,
    /// Says whether a node is silent for so long that others make up for its copies.
    pub is_long_dead: IsLongDead,
    /// The time for which a released segment is kept.
    pub retention: Box<dyn Fn() -> Duration + Send>,
    /// Says whether something that the record's rules do not know keeps a segment that is released, at a time in
    /// nanoseconds since the Unix epoch: a pause of archiving.
    pub keeps: Keeps,
}

/// A thread that takes care of sealed segments while its node leads.
pub struct Upkeep {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Upkeep {
    /// Begins to look.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(setup: UpkeepSetup) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            while !is_stopped(&stopped, UPKEEP_INTERVAL) {
                if (setup.leads)()
                    && let Err(error) = submit_due(&setup)
                {
                    tracing::warn!(%error, "segment.upkeep.waiting");
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends. It blocks until the command that is waited for is answered, or late.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("segment.upkeep.panicked");
        }
    }
}

/// Submits what is due now.
fn submit_due(setup: &UpkeepSetup) -> Result<(), CatalogueError> {
    let now_ns = (setup.clock_ns)();
    let due = setup.catalogue.read_latest(|state| {
        let mut due = due_for_the_lost(state, setup.node, now_ns, (setup.retention)(), &|seal| {
            (setup.keeps)(state, seal, now_ns)
        });
        let staying = Staying::of(state, (setup.replicas)(), &*setup.is_long_dead);
        due.extend(copies_to_plan(state, &staying, &*setup.is_alive));
        due
    })?;
    for command in due {
        tracing::info!(?command, "segment.upkeep.due");
        match setup.catalogue.submit(Actor::Node, command) {
            Ok(_) => {}
            // The record has changed meanwhile.
            Err(CatalogueError::Refused(refusal)) => tracing::info!(%refusal, "segment.upkeep.refused"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

//! The peers' port over loopback: what goes over it between nodes that trust each other, and what is refused.
#![allow(clippy::unwrap_used)]

#[path = "peer/consensus.rs"]
mod consensus;
#[path = "peer/recovery.rs"]
mod recovery;
#[path = "peer/refusals.rs"]
mod refusals;
#[path = "peer/replay.rs"]
mod replay;
#[path = "peer/segment.rs"]
mod segment;
#[path = "peer/support.rs"]
mod support;
#[path = "peer/tail.rs"]
mod tail;

//! The catalogue over a cluster of nodes in one process: what every catalogue must do, and what faults must not undo.
#![allow(clippy::unwrap_used)]

#[path = "raft/conformance.rs"]
mod conformance;
#[path = "raft/faults.rs"]
mod faults;
#[path = "raft/life.rs"]
mod life;
#[path = "raft/storage.rs"]
mod storage;

//! Nodes of this machine as child processes of one command, each with a configuration of its own on loopback: for a
//! demonstration, and to try things out.
//!
//! - `plan`: a node's files and addresses. `child`: its process. `form`: several of them made a cluster.

mod child;
mod form;
mod plan;

pub(crate) use child::Child;
pub(crate) use form::form;
pub(crate) use plan::{Addresses, DEAD_AFTER_SECONDS, NodePlan};

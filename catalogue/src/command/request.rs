//! Commands as they are submitted, and the answers.

use gophership_vault::RecoveryNumber;
use gophership_vault::ids::{Epoch, NodeId};

use super::{Command, Refusal};
use crate::actor::Actor;
use crate::job::JobId;

/// A command and its submitter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The submitter.
    pub actor: Actor,
    /// The command.
    pub command: Command,
}

/// The answer to a command that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The command was executed, now or before.
    Done,
    /// The storage has this node id.
    Registered(NodeId),
    /// The boot has this epoch.
    Up(Epoch),
    /// The request has this job.
    Job(JobId),
    /// The recovery has this number.
    Recovering(RecoveryNumber),
}

/// The answer to a command.
pub type Outcome = Result<Reply, Refusal>;

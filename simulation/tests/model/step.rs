//! The steps of the model, and their lines in a trace.

use std::fmt;

use super::content::{Content, Nodes, name};

/// A step: something that a node does, or a fault. Segments, nodes and recoveries are given by their places.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Step {
    // The owner.
    Append {
        g: usize,
        number: u8,
    },
    SyncWal {
        g: usize,
    },
    Roll {
        shard: usize,
        to: Option<u8>,
    },
    HearAnswer {
        g: usize,
        from: usize,
    },
    SealByOwner {
        g: usize,
        holders: Nodes,
    },
    Substitute {
        g: usize,
        to: usize,
    },
    Reassign {
        g: usize,
        from: usize,
        to: usize,
    },
    NewEpoch {
        epoch: u8,
    },
    Start {
        epoch: u8,
    },
    Continue {
        epoch: u8,
    },
    // A replica.
    Take {
        g: usize,
        at: usize,
        first: u8,
        last: u8,
    },
    TakeForSame {
        g: usize,
        at: usize,
        last: u8,
    },
    SyncCopy {
        g: usize,
        at: usize,
    },
    // A leader.
    ChangeLeader {
        leader: u8,
    },
    Begin {
        g: usize,
        number: u8,
    },
    Report {
        g: usize,
        number: usize,
        from: usize,
        content: Content,
    },
    Choose {
        g: usize,
        number: usize,
        content: Content,
    },
    Copy {
        g: usize,
        number: usize,
        to: usize,
    },
    Seal {
        g: usize,
        number: usize,
        content: Content,
        holders: Nodes,
    },
    // Faults.
    OwnerPowerCut,
    OwnerKilled,
    ReplicaPowerCut {
        at: usize,
    },
    PowerCutOfAll,
    Lost {
        node: usize,
    },
    Forgets {
        g: usize,
        at: usize,
    },
    MergeTorn {
        g: usize,
        at: usize,
    },
}

impl Step {
    /// True where the step is no fault and brings no new client, so that a way to the end may depend on it.
    pub(crate) fn finishes(self) -> bool {
        match self {
            Self::Append { .. }
            | Self::OwnerPowerCut
            | Self::OwnerKilled
            | Self::ReplicaPowerCut { .. }
            | Self::PowerCutOfAll
            | Self::Lost { .. }
            | Self::Forgets { .. }
            | Self::MergeTorn { .. } => false,
            Self::SyncWal { .. }
            | Self::Roll { .. }
            | Self::HearAnswer { .. }
            | Self::SealByOwner { .. }
            | Self::Substitute { .. }
            | Self::Reassign { .. }
            | Self::NewEpoch { .. }
            | Self::Start { .. }
            | Self::Continue { .. }
            | Self::Take { .. }
            | Self::TakeForSame { .. }
            | Self::SyncCopy { .. }
            | Self::ChangeLeader { .. }
            | Self::Begin { .. }
            | Self::Report { .. }
            | Self::Choose { .. }
            | Self::Copy { .. }
            | Self::Seal { .. } => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Append { g, number } => {
                write!(f, "O appends entry {number} to s{g}; its frame may arrive from now on")
            }
            Self::SyncWal { g } => write!(f, "O syncs s{g}"),
            Self::Roll { shard, to: Some(g) } => write!(f, "O rolls shard {shard} to s{g}"),
            Self::Roll { shard, to: None } => write!(f, "O closes the last segment of shard {shard}"),
            Self::HearAnswer { g, from } => write!(f, "O hears the answer of {} for s{g}", name(from)),
            Self::SealByOwner { g, holders } => write!(f, "O seals s{g}, holders {holders}"),
            Self::Substitute { g, to } => write!(f, "O copies all of s{g} to {}, which is not in its set", name(to)),
            Self::Reassign { g, from, to } => {
                write!(f, "catalogue: the replica {} of s{g} becomes {}", name(from), name(to))
            }
            Self::NewEpoch { epoch } => write!(f, "O, alive, finds itself fenced and takes epoch {epoch}"),
            Self::Start { epoch } => write!(f, "O starts in epoch {epoch}"),
            Self::Continue { epoch } => write!(f, "O starts in epoch {epoch} and continues its open files"),
            Self::Take { g, at, first, last } => {
                write!(f, "{} takes a frame of s{g} with entries {first} to {last}", name(at))
            }
            Self::TakeForSame { g, at, last } => write!(
                f,
                "{} takes a frame of s{g} that ends with entry {last} for one that it has, and answers for it",
                name(at)
            ),
            Self::SyncCopy { g, at } => write!(f, "{} syncs its copy of s{g} and answers", name(at)),
            Self::ChangeLeader { leader } => write!(f, "leader {} takes over", leader + 1),
            Self::Begin { g, number } => write!(f, "recovery {number} of s{g} begins"),
            Self::Report {
                g,
                number,
                from,
                content,
            } => {
                write!(
                    f,
                    "{} promises recovery {} of s{g} and reports {content}",
                    name(from),
                    number + 1
                )
            }
            Self::Choose { g, number, content } => write!(f, "recovery {} of s{g} decides on {content}", number + 1),
            Self::Copy { g, number, to } => {
                write!(
                    f,
                    "{} takes the copy of recovery {} of s{g} and confirms it",
                    name(to),
                    number + 1
                )
            }
            Self::Seal {
                g,
                number,
                content,
                holders,
            } => {
                write!(f, "recovery {} seals s{g} as {content}, holders {holders}", number + 1)
            }
            Self::OwnerPowerCut => f.write_str("FAULT O loses power"),
            Self::OwnerKilled => f.write_str("FAULT O is killed; what it did not sync is in the page cache"),
            Self::ReplicaPowerCut { at } => write!(f, "FAULT {} loses power", name(at)),
            Self::PowerCutOfAll => f.write_str("FAULT all nodes lose power"),
            Self::Lost { node } => write!(f, "FAULT {} is lost for good", name(node)),
            Self::Forgets { g, at } => {
                write!(
                    f,
                    "FAULT {} lost an entry of s{g} that it had synced, and is started again",
                    name(at)
                )
            }
            Self::MergeTorn { g, at } => {
                write!(
                    f,
                    "FAULT {} loses power while it merges s{g}; its last entry is gone",
                    name(at)
                )
            }
        }
    }
}

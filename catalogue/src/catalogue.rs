//! The trait of a catalogue, which all code above a catalogue uses, whether that is local, in memory or over Raft.
//!
//! An implementation names its node, commits commands and lets its state be read; all else is written once, here and in
//! `ledger.rs`.
//!
//! **Invariants** of every implementation:
//! - I1: a command is answered only when its effect is durable.
//! - I2: readers see only durable state.
//! - I3: a command whose answer is unknown may be submitted again.
//!
//! **Not here**: the effects of commands (`apply.rs`); the vault's view of a catalogue (`ledger.rs`).

use gophership_vault::Identity;
use gophership_vault::ids::Epoch;
use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

use crate::actor::Actor;
use crate::command::{Command, Reply, Request};
use crate::error::CatalogueError;
use crate::node::NodeRecord;
use crate::state::State;

/// The setting of a catalogue that was made anew: exporters that it does not know begin at the oldest entry.
pub const EXPORTERS_BEGIN_AT_OLDEST: &str = "export.begin_at_oldest";

/// A replicated or local state machine that records nodes, segments, jobs and exporters.
pub trait Catalogue: Send + Sync + std::fmt::Debug {
    /// The identity of the node that this catalogue serves.
    fn identity(&self) -> Identity;

    /// Applies the command of a request, durably. Callers use [`Self::submit`].
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Refused`] where the state machine refused it. After any other error its effect is unknown:
    /// submit it again.
    fn commit(&self, request: Request) -> Result<Reply, CatalogueError>;

    /// Calls `f` once with the state. The method `read` of `dyn Catalogue`, which callers use, is built on this.
    fn view(&self, f: &mut dyn FnMut(&State));

    /// Returns once [`Self::view`] shows all that anybody was answered before the call. A catalogue whose only writer
    /// is itself always does.
    ///
    /// # Errors
    /// The cluster that keeps the catalogue did not answer: what `view` shows may be old.
    fn catch_up(&self) -> Result<(), CatalogueError> {
        Ok(())
    }

    /// Applies a command, durably. What an operator changes is logged as such.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    fn submit(&self, actor: Actor, command: Command) -> Result<Reply, CatalogueError> {
        let (name, operator) = (
            command.kind().name(),
            matches!(actor, Actor::Operator { .. }).then(|| actor.to_string()),
        );
        let answer = self.commit(Request {
            actor: actor.asking_at(now_unix_nano()),
            command,
        });
        if let Some(actor) = operator {
            let refused = answer.as_ref().err().map(tracing::field::display);
            tracing::info!(actor, command = name, refused, "catalogue.command.asked");
        }
        answer
    }

    /// The epoch of the newest boot of this node that is on record.
    fn newest_epoch(&self) -> Option<Epoch> {
        let node = self.identity().node_id;
        let mut newest = None;
        self.view(&mut |state| newest = state.node(node).and_then(NodeRecord::epoch));
        newest
    }

    /// Grants the epoch of this boot: a new one for a new `boot_uuid`, the same for the same; above every one `seen` on
    /// the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::submit`].
    fn node_up(&self, boot_uuid: Uuid, seen: Option<Epoch>) -> Result<Epoch, CatalogueError> {
        let Identity {
            node_id: node,
            storage_uuid,
            ..
        } = self.identity();
        match self.submit(
            Actor::Node,
            Command::NodeUp {
                node,
                storage_uuid,
                boot_uuid,
                seen,
                at_ns: now_unix_nano(),
            },
        )? {
            Reply::Up(epoch) => Ok(epoch),
            other @ (Reply::Done | Reply::Registered(_) | Reply::Job(_) | Reply::Recovering(_)) => {
                unreachable!("NodeUp is answered with an epoch, not {other:?}")
            }
        }
    }

    /// Makes exporters that are on no record begin at the oldest entry, whatever their settings say, until all that are
    /// configured are on record.
    ///
    /// # Errors
    ///
    /// As [`Self::submit`].
    fn begin_unknown_exporters_at_oldest(&self) -> Result<(), CatalogueError> {
        let command = Command::SetConfig {
            key: EXPORTERS_BEGIN_AT_OLDEST.to_owned(),
            value: Some("true".to_owned()),
            at_ns: now_unix_nano(),
            seen: None,
        };
        self.submit(Actor::Node, command).map(drop)
    }
}

impl dyn Catalogue + '_ {
    /// Reads the state. It blocks no commit for longer than `f` takes.
    pub fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        let mut f = Some(f);
        let mut read = None;
        self.view(&mut |state| read = f.take().map(|f| f(state)));
        read.expect("a catalogue calls the function that it is given")
    }

    /// Reads the state after [`Catalogue::catch_up`]: for what decides by it, such as a removal.
    ///
    /// # Errors
    /// As [`Catalogue::catch_up`]; then nothing was read.
    pub fn read_latest<T>(&self, f: impl FnOnce(&State) -> T) -> Result<T, CatalogueError> {
        self.catch_up()?;
        Ok(self.read(f))
    }
}

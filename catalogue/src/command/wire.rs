//! The stored form of a request, which an entry of a replicated log carries; its bytes are those of `docs/formats.md`.
//!
//! - `read`: the fields of each kind of command. `parts`: fields that several kinds, or lists, share.
//!   `versions`: of the kinds that gained fields.
//!
//! **Invariants**:
//! - I1: reading back written bytes yields the same request.
//! - I2: any other bytes are an error that names the command, never a panic and never a guess.
//! - I3: a number of a format, kind or version is never reused; an added field is a new version of its kind.
//!
//! **Not here**: the bounds of a command's texts and lists, which `apply` checks.

use gophership_vault::ids::Epoch;

use self::versions::{NAMED_RECOVERY, WITH_ARCHIVED, WITH_ASKED, WITH_LOSS, WITH_NEEDED, WITH_NODE, WITH_TERM};
use super::{Command, Kind, Request};
use crate::actor::Actor;
use crate::job::{JobArchived, JobLoss, LossNames};
use crate::row::archive::write_stored;
use crate::row::job::{write_archived, write_loss, write_loss_names};
use crate::row::restore::{write_end, write_origin, write_restored};
use crate::row::segment::{reason_code, write_accepted, write_nodes};
use crate::setting::SettingSet;
use crate::wire::{Reader, WireError, Writer};

mod parts;
mod read;
mod versions;

/// The format of the bytes before a command's fields.
const FORMAT: u8 = 1;

/// The version of most commands.
const VERSION: u8 = 1;

const ACTOR_VAULT: u8 = 1;
const ACTOR_NODE: u8 = 2;
const ACTOR_OPERATOR: u8 = 3;
/// An operator, and when that one asked.
const ACTOR_OPERATOR_AT: u8 = 4;

impl Request {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let w = Writer::default().u8(FORMAT);
        let w = match &self.actor {
            Actor::Vault => w.u8(ACTOR_VAULT),
            Actor::Node => w.u8(ACTOR_NODE),
            Actor::Operator { name, at_ns: 0 } => w.u8(ACTOR_OPERATOR).text(name),
            Actor::Operator { name, at_ns } => w.u8(ACTOR_OPERATOR_AT).text(name).u64(*at_ns),
        };
        let (kind, version) = (self.command.kind(), version_of(&self.command));
        write_fields(w.u8(kind as u8).u8(version), &self.command).done()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The bytes are not a request, or have a kind or version that this program does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut v = Reader::of_command(bytes);
        let format = v.u8()?;
        if format != FORMAT {
            return Err(v.unknown("format", format));
        }
        let actor = match v.u8()? {
            ACTOR_VAULT => Actor::Vault,
            ACTOR_NODE => Actor::Node,
            ACTOR_OPERATOR => Actor::Operator {
                name: v.text()?,
                at_ns: 0,
            },
            ACTOR_OPERATOR_AT => Actor::Operator {
                name: v.text()?,
                at_ns: v.u64()?,
            },
            found => return Err(v.unknown("actor", found)),
        };
        let kind = v.u8()?;
        let kind = Kind::from_stored(kind).ok_or_else(|| v.unknown("kind", kind))?;
        v.name_command(kind.name());
        let version = v.version(newest(kind))?;
        let command = read::fields(kind, version, &mut v)?;
        v.end()?;
        Ok(Self { actor, command })
    }
}

/// The newest version of a kind.
fn newest(kind: Kind) -> u8 {
    match kind {
        Kind::BeginRecovery => NAMED_RECOVERY,
        Kind::JobProgress => WITH_ARCHIVED,
        Kind::FinishJob => WITH_TERM,
        Kind::ConfigureExporters => WITH_NODE,
        Kind::AcceptCopyLoss => WITH_ASKED,
        Kind::RemoveNode => WITH_NEEDED,
        _ => VERSION,
    }
}

/// The oldest version that has all of a command.
fn version_of(command: &Command) -> u8 {
    match command {
        Command::BeginRecovery { request, .. } if !request.is_nil() => NAMED_RECOVERY,
        Command::JobProgress { positions, .. }
            if positions.iter().any(|(.., at)| at.archived != JobArchived::default()) =>
        {
            WITH_ARCHIVED
        }
        Command::JobProgress {
            positions, loss_names, ..
        } if *loss_names != LossNames::default() || positions.iter().any(|(.., at)| at.loss != JobLoss::default()) => {
            WITH_LOSS
        }
        Command::JobProgress { term, .. } | Command::FinishJob { term, .. } if *term > 0 => WITH_TERM,
        Command::ConfigureExporters { node: Some(_), .. } => WITH_NODE,
        Command::AcceptCopyLoss { asked: Some(_), .. } => WITH_ASKED,
        Command::RemoveNode { seen: Some(_), .. } => WITH_NEEDED,
        _ => VERSION,
    }
}

fn write_fields(w: Writer, command: &Command) -> Writer {
    match command {
        Command::RegisterNode { storage_uuid, at_ns } => w.uuid(*storage_uuid).u64(*at_ns),
        Command::NodeUp {
            node,
            storage_uuid,
            boot_uuid,
            seen,
            at_ns,
        } => {
            let w = w.u32(node.get()).uuid(*storage_uuid).uuid(*boot_uuid);
            w.u64(seen.map_or(0, Epoch::get)).u64(*at_ns)
        }
        Command::SetNodeState { node, state, seen } => w.u32(node.get()).u8(*state as u8).option(*seen, Writer::u64),
        Command::Note {
            what,
            subject,
            detail,
            at_ns,
        } => w.u8(*what as u8).text(subject).text(detail).u64(*at_ns),
        Command::LetterCopied { node, entry } => parts::write_entry(w.u32(node.get()), entry),
        Command::ArchiveLease {
            store,
            node,
            epoch,
            members,
        } => {
            let w = w.uuid(*store).u32(node.get()).u64(epoch.get());
            w.list(members, |w, id| w.segment(*id))
        }
        Command::ArchiveCommit {
            lease,
            attempt,
            node,
            epoch,
            stored,
        } => {
            let w = w.u64(*lease).u32(*attempt).u32(node.get()).u64(epoch.get());
            write_stored(w, stored)
        }
        Command::ManifestCommit { next, prev, leases } => {
            let w = w.u64(next.seq).bytes(&next.hash).bytes(prev).uuid(next.store);
            w.list(leases, |w, lease| w.u64(*lease))
        }
        Command::ArchiveDoom {
            lease,
            attempt,
            node,
            epoch,
            ends,
        } => {
            let w = w.u64(*lease).u32(*attempt).u32(node.get()).u64(epoch.get());
            w.u8(u8::from(*ends))
        }
        Command::RemoveNode {
            node,
            accept_loss,
            seen,
        } => {
            let w = w.u32(node.get()).u8(u8::from(*accept_loss));
            seen.iter().fold(w, parts::write_needed)
        }
        Command::BeginRestore { origin, at_ns } => write_origin(w, origin).u64(*at_ns),
        Command::RestorePage { id, objects, end } => {
            let w = w.uuid(*id).list(objects, write_restored);
            w.option(end.as_ref(), write_end)
        }
        Command::Roll { seal, open, at_ns } => {
            parts::write_open(w.option(seal.as_ref(), parts::write_seal), open).u64(*at_ns)
        }
        Command::BeginRecovery { id, request, at_ns } => {
            let w = w.segment(*id).u64(*at_ns);
            if request.is_nil() { w } else { w.uuid(*request) }
        }
        Command::SegmentLost { id, at_ns } => w.segment(*id).u64(*at_ns),
        Command::AcceptLoss { id, loss } => write_accepted(w.segment(*id), loss),
        Command::AcceptCopyLoss { id, loss, asked } => {
            let w = write_accepted(w.segment(*id), loss);
            asked.iter().copied().fold(w, write_nodes)
        }
        Command::RecoveredNothing { id, number, at_ns } => w.segment(*id).u64(*number).u64(*at_ns),
        Command::SealRecovered { seal, number } => parts::write_seal(w, seal).u64(*number),
        Command::ReplicaAdded { id, node, digest } => w.segment(*id).u32(node.get()).bytes(digest),
        Command::CopyPlanned { id, node } => w.segment(*id).u32(node.get()),
        Command::Seal { seal } => parts::write_seal(w, seal),
        Command::Trim { id, why } => w.segment(*id).u8(reason_code(*why)),
        Command::Unlinked { segments } => w.list(segments, |w, id| w.segment(*id)),
        Command::UnlinkedOn { node, segments } => w.u32(node.get()).list(segments, |w, id| w.segment(*id)),
        Command::KeepClock { node, mark } => w.u32(node.get()).u64(mark.now_ns).u64(mark.credit_ns),
        Command::CreateJob { request, spec, at_ns } => w.uuid(*request).text(spec).u64(*at_ns),
        Command::TakeJob { job, node, seen } => w.u64(job.get()).u32(node.get()).u64(*seen),
        Command::JobProgress {
            job,
            term,
            positions,
            loss_names,
        } => {
            let (w, version) = (w.u64(job.get()), version_of(command));
            if version < WITH_LOSS {
                return write_term(w.list(positions, parts::write_position), *term);
            }
            let w = w.list(positions, |w, at| {
                let w = write_loss(parts::write_position(w, at), &at.2.loss);
                match version {
                    WITH_LOSS => w,
                    _ => write_archived(w, &at.2.archived),
                }
            });
            write_loss_names(w.u64(*term), loss_names)
        }
        Command::FinishJob {
            job,
            term,
            result,
            at_ns,
        } => write_term(parts::write_result(w.u64(job.get()), result).u64(*at_ns), *term),
        Command::CancelJob { job, at_ns } => w.u64(job.get()).u64(*at_ns),
        Command::SetConfig {
            key,
            value,
            seen,
            at_ns,
        } => {
            let w = w.text(key).option(value.as_deref(), Writer::text);
            w.option(*seen, Writer::u64).u64(*at_ns)
        }
        Command::BeginSettings { node, settings, at_ns } => {
            let w = w.u32(node.get());
            w.list(settings, |w, (key, value)| w.text(key).text(value)).u64(*at_ns)
        }
        Command::SetSettings { settings, at_ns } => {
            let set = |w: Writer, set: &SettingSet| w.text(&set.key).text(&set.value).u64(set.seen);
            w.list(settings, set).u64(*at_ns)
        }
        Command::SetExporter {
            exporter,
            paused,
            at_ns,
        } => w.text(exporter).u8(u8::from(*paused)).u64(*at_ns),
        Command::ForgetExporter { exporter } => w.text(exporter),
        Command::CommitCursors { node, cursors } => w.u32(node.get()).list(cursors, parts::write_cursor),
        Command::TakeExport {
            exporter,
            owner,
            runner,
            seen,
        } => w.text(exporter).u32(owner.get()).u32(runner.get()).u64(*seen),
        Command::CommitTakenCursors {
            owner,
            runner,
            term,
            cursors,
        } => {
            let w = w.u32(owner.get()).u32(runner.get()).u64(*term);
            w.list(cursors, parts::write_cursor)
        }
        Command::SeekExporter {
            exporter,
            node,
            shards,
            at_ns,
        } => {
            let w = w.text(exporter).u32(node.get());
            w.list(shards, parts::write_target).u64(*at_ns)
        }
        Command::BeginExporter { exporter, done, at_ns } => w.text(exporter).list(done, parts::write_entry).u64(*at_ns),
        Command::AddDeadLetters { letters } => w.list(letters, parts::write_letter),
        Command::DropDeadLetters { exporter, letters } => w.text(exporter).list(letters, parts::write_entry),
        Command::DescribeNode {
            node,
            name,
            address,
            failure_domain,
            replaces,
        } => {
            let w = w.u32(node.get()).text(name).text(address).text(failure_domain);
            w.option(*replaces, |w, node| w.u32(node.get()))
        }
        Command::ConfigureExporters { node, names } => {
            let w = w.list(names, |w, name| w.text(name));
            match node {
                Some(node) => w.u32(node.get()),
                None => w,
            }
        }
    }
}

fn write_term(w: Writer, term: u64) -> Writer {
    if term == 0 { w } else { w.u64(term) }
}

#[cfg(test)]
mod tests;

//! The fields of each kind of command, as they are read.

use gophership_vault::ids::Epoch;

use uuid::Uuid;

use super::parts;
use super::versions::{NAMED_RECOVERY, WITH_ARCHIVED, WITH_ASKED, WITH_LOSS, WITH_NEEDED, WITH_NODE, WITH_TERM};
use crate::archive::ManifestHead;
use crate::command::{Command, Kind};
use crate::job::{JobPosition, LossNames};
use crate::row::archive::read_stored;
use crate::row::event;
use crate::row::job::{read_archived, read_loss, read_loss_names};
use crate::row::restore::{read_end, read_origin, read_restored};
use crate::row::segment::{read_accepted, read_nodes, read_reason};
use crate::setting::SettingSet;
use crate::wire::{Reader, WireError};

type Read = Result<Command, WireError>;

/// Reads the fields of a command of this kind and version.
pub(super) fn fields(kind: Kind, version: u8, v: &mut Reader<'_>) -> Read {
    match kind {
        Kind::RegisterNode => register_node(v),
        Kind::NodeUp => node_up(v),
        Kind::SetNodeState => set_node_state(v),
        Kind::Roll => roll(v),
        Kind::BeginRecovery => begin_recovery(version, v),
        Kind::Seal => seal(v),
        Kind::Trim => trim(v),
        Kind::Unlinked => unlinked(v),
        Kind::KeepClock => keep_clock(v),
        Kind::SegmentLost => segment_lost(v),
        Kind::CreateJob => create_job(v),
        Kind::JobProgress => job_progress(version, v),
        Kind::FinishJob => finish_job(version, v),
        Kind::CancelJob => cancel_job(v),
        Kind::SetConfig => set_config(v),
        Kind::SetExporter => set_exporter(v),
        Kind::ForgetExporter => forget_exporter(v),
        Kind::CommitCursors => commit_cursors(v),
        Kind::SeekExporter => seek_exporter(v),
        Kind::AddDeadLetters => add_dead_letters(v),
        Kind::DropDeadLetters => drop_dead_letters(v),
        Kind::SealRecovered => seal_recovered(v),
        Kind::ReplicaAdded => replica_added(v),
        Kind::ConfigureExporters => configure_exporters(version, v),
        Kind::DescribeNode => describe_node(v),
        Kind::UnlinkedOn => unlinked_on(v),
        Kind::CopyPlanned => copy_planned(v),
        Kind::TakeJob => take_job(v),
        Kind::TakeExport => take_export(v),
        Kind::CommitTakenCursors => commit_taken_cursors(v),
        Kind::AcceptLoss => accept_loss(v),
        Kind::RecoveredNothing => recovered_nothing(v),
        Kind::AcceptCopyLoss => accept_copy_loss(version, v),
        Kind::BeginExporter => begin_exporter(v),
        Kind::RemoveNode => remove_node(version, v),
        Kind::LetterCopied => letter_copied(v),
        Kind::Note => note(v),
        Kind::BeginSettings => begin_settings(v),
        Kind::SetSettings => set_settings(v),
        Kind::ArchiveLease => archive_lease(v),
        Kind::ArchiveCommit => archive_commit(v),
        Kind::ManifestCommit => manifest_commit(v),
        Kind::ArchiveDoom => archive_doom(v),
        Kind::BeginRestore => begin_restore(v),
        Kind::RestorePage => restore_page(v),
    }
}

fn register_node(v: &mut Reader<'_>) -> Read {
    Ok(Command::RegisterNode {
        storage_uuid: v.uuid()?,
        at_ns: v.u64()?,
    })
}

fn node_up(v: &mut Reader<'_>) -> Read {
    Ok(Command::NodeUp {
        node: v.node()?,
        storage_uuid: v.uuid()?,
        boot_uuid: v.uuid()?,
        seen: Epoch::new(v.u64()?),
        at_ns: v.u64()?,
    })
}

fn set_node_state(v: &mut Reader<'_>) -> Read {
    Ok(Command::SetNodeState {
        node: v.node()?,
        state: parts::read_state(v)?,
        seen: v.option(Reader::u64)?,
    })
}

fn remove_node(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::RemoveNode {
        node: v.node()?,
        accept_loss: v.bool("acceptance of a loss")?,
        seen: (version >= WITH_NEEDED).then(|| parts::read_needed(v)).transpose()?,
    })
}

fn letter_copied(v: &mut Reader<'_>) -> Read {
    Ok(Command::LetterCopied {
        node: v.node()?,
        entry: parts::read_entry(v)?,
    })
}

fn roll(v: &mut Reader<'_>) -> Read {
    Ok(Command::Roll {
        seal: v.option(parts::read_seal)?,
        open: parts::read_open(v)?,
        at_ns: v.u64()?,
    })
}

fn begin_recovery(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::BeginRecovery {
        id: v.segment()?,
        at_ns: v.u64()?,
        request: if version < NAMED_RECOVERY {
            Uuid::nil()
        } else {
            v.uuid()?
        },
    })
}

fn seal_recovered(v: &mut Reader<'_>) -> Read {
    Ok(Command::SealRecovered {
        seal: parts::read_seal(v)?,
        number: v.u64()?,
    })
}

fn replica_added(v: &mut Reader<'_>) -> Read {
    Ok(Command::ReplicaAdded {
        id: v.segment()?,
        node: v.node()?,
        digest: v.array()?,
    })
}

fn copy_planned(v: &mut Reader<'_>) -> Read {
    Ok(Command::CopyPlanned {
        id: v.segment()?,
        node: v.node()?,
    })
}

fn seal(v: &mut Reader<'_>) -> Read {
    Ok(Command::Seal {
        seal: parts::read_seal(v)?,
    })
}

fn trim(v: &mut Reader<'_>) -> Read {
    Ok(Command::Trim {
        id: v.segment()?,
        why: read_reason(v)?,
    })
}

fn unlinked(v: &mut Reader<'_>) -> Read {
    Ok(Command::Unlinked {
        segments: v.list(Reader::segment)?,
    })
}

fn keep_clock(v: &mut Reader<'_>) -> Read {
    Ok(Command::KeepClock {
        node: v.node()?,
        mark: parts::read_mark(v)?,
    })
}

fn segment_lost(v: &mut Reader<'_>) -> Read {
    Ok(Command::SegmentLost {
        id: v.segment()?,
        at_ns: v.u64()?,
    })
}

fn accept_loss(v: &mut Reader<'_>) -> Read {
    Ok(Command::AcceptLoss {
        id: v.segment()?,
        loss: read_accepted(v)?,
    })
}

fn recovered_nothing(v: &mut Reader<'_>) -> Read {
    Ok(Command::RecoveredNothing {
        id: v.segment()?,
        number: v.u64()?,
        at_ns: v.u64()?,
    })
}

fn accept_copy_loss(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::AcceptCopyLoss {
        id: v.segment()?,
        loss: read_accepted(v)?,
        asked: (version >= WITH_ASKED).then(|| read_nodes(v)).transpose()?,
    })
}

fn create_job(v: &mut Reader<'_>) -> Read {
    Ok(Command::CreateJob {
        request: v.uuid()?,
        spec: v.text()?,
        at_ns: v.u64()?,
    })
}

fn take_job(v: &mut Reader<'_>) -> Read {
    Ok(Command::TakeJob {
        job: parts::read_job(v)?,
        node: v.node()?,
        seen: v.u64()?,
    })
}

fn take_export(v: &mut Reader<'_>) -> Read {
    Ok(Command::TakeExport {
        exporter: v.text()?,
        owner: v.node()?,
        runner: v.node()?,
        seen: v.u64()?,
    })
}

fn commit_taken_cursors(v: &mut Reader<'_>) -> Read {
    Ok(Command::CommitTakenCursors {
        owner: v.node()?,
        runner: v.node()?,
        term: v.u64()?,
        cursors: v.list(parts::read_cursor)?,
    })
}

fn job_progress(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::JobProgress {
        job: parts::read_job(v)?,
        positions: v.list(|v| {
            let (node, shard, at) = parts::read_position(v)?;
            let loss = if version < WITH_LOSS { at.loss } else { read_loss(v)? };
            let archived = if version < WITH_ARCHIVED {
                at.archived
            } else {
                read_archived(v)?
            };
            Ok((node, shard, JobPosition { archived, loss, ..at }))
        })?,
        term: term(version, v)?,
        loss_names: if version < WITH_LOSS {
            LossNames::default()
        } else {
            read_loss_names(v)?
        },
    })
}

fn finish_job(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::FinishJob {
        job: parts::read_job(v)?,
        result: parts::read_result(v)?,
        at_ns: v.u64()?,
        term: term(version, v)?,
    })
}

fn term(version: u8, v: &mut Reader<'_>) -> Result<u64, WireError> {
    if version < WITH_TERM { Ok(0) } else { v.u64() }
}

fn cancel_job(v: &mut Reader<'_>) -> Read {
    Ok(Command::CancelJob {
        job: parts::read_job(v)?,
        at_ns: v.u64()?,
    })
}

fn set_config(v: &mut Reader<'_>) -> Read {
    Ok(Command::SetConfig {
        key: v.text()?,
        value: v.option(Reader::text)?,
        seen: v.option(Reader::u64)?,
        at_ns: v.u64()?,
    })
}

fn begin_settings(v: &mut Reader<'_>) -> Read {
    Ok(Command::BeginSettings {
        node: v.node()?,
        settings: v.list(|v| Ok((v.text()?, v.text()?)))?,
        at_ns: v.u64()?,
    })
}

fn set_settings(v: &mut Reader<'_>) -> Read {
    let set = |v: &mut Reader<'_>| {
        Ok(SettingSet {
            key: v.text()?,
            value: v.text()?,
            seen: v.u64()?,
        })
    };
    Ok(Command::SetSettings {
        settings: v.list(set)?,
        at_ns: v.u64()?,
    })
}

fn set_exporter(v: &mut Reader<'_>) -> Read {
    Ok(Command::SetExporter {
        exporter: v.text()?,
        paused: v.bool("exporter state")?,
        at_ns: v.u64()?,
    })
}

fn forget_exporter(v: &mut Reader<'_>) -> Read {
    Ok(Command::ForgetExporter { exporter: v.text()? })
}

fn commit_cursors(v: &mut Reader<'_>) -> Read {
    Ok(Command::CommitCursors {
        node: v.node()?,
        cursors: v.list(parts::read_cursor)?,
    })
}

fn seek_exporter(v: &mut Reader<'_>) -> Read {
    Ok(Command::SeekExporter {
        exporter: v.text()?,
        node: v.node()?,
        shards: v.list(parts::read_target)?,
        at_ns: v.u64()?,
    })
}

fn begin_exporter(v: &mut Reader<'_>) -> Read {
    Ok(Command::BeginExporter {
        exporter: v.text()?,
        done: v.list(parts::read_entry)?,
        at_ns: v.u64()?,
    })
}

fn add_dead_letters(v: &mut Reader<'_>) -> Read {
    Ok(Command::AddDeadLetters {
        letters: v.list(parts::read_letter)?,
    })
}

fn drop_dead_letters(v: &mut Reader<'_>) -> Read {
    Ok(Command::DropDeadLetters {
        exporter: v.text()?,
        letters: v.list(parts::read_entry)?,
    })
}

fn configure_exporters(version: u8, v: &mut Reader<'_>) -> Read {
    Ok(Command::ConfigureExporters {
        names: v.list(Reader::text)?,
        node: (version >= WITH_NODE).then(|| v.node()).transpose()?,
    })
}

fn describe_node(v: &mut Reader<'_>) -> Read {
    Ok(Command::DescribeNode {
        node: v.node()?,
        name: v.text()?,
        address: v.text()?,
        failure_domain: v.text()?,
        replaces: v.option(Reader::node)?,
    })
}

fn unlinked_on(v: &mut Reader<'_>) -> Read {
    Ok(Command::UnlinkedOn {
        node: v.node()?,
        segments: v.list(Reader::segment)?,
    })
}

fn note(v: &mut Reader<'_>) -> Read {
    Ok(Command::Note {
        what: event::read_what(v)?,
        subject: v.text()?,
        detail: v.text()?,
        at_ns: v.u64()?,
    })
}

fn archive_lease(v: &mut Reader<'_>) -> Read {
    Ok(Command::ArchiveLease {
        store: v.uuid()?,
        node: v.node()?,
        epoch: v.epoch()?,
        members: v.list(Reader::segment)?,
    })
}

fn archive_commit(v: &mut Reader<'_>) -> Read {
    Ok(Command::ArchiveCommit {
        lease: v.u64()?,
        attempt: v.u32()?,
        node: v.node()?,
        epoch: v.epoch()?,
        stored: read_stored(v)?,
    })
}

fn manifest_commit(v: &mut Reader<'_>) -> Read {
    let (seq, hash, prev, store) = (v.u64()?, v.array()?, v.array()?, v.uuid()?);
    Ok(Command::ManifestCommit {
        next: ManifestHead { store, seq, hash },
        prev,
        leases: v.list(Reader::u64)?,
    })
}

fn archive_doom(v: &mut Reader<'_>) -> Read {
    Ok(Command::ArchiveDoom {
        lease: v.u64()?,
        attempt: v.u32()?,
        node: v.node()?,
        epoch: v.epoch()?,
        ends: v.bool("end of a lease")?,
    })
}

fn begin_restore(v: &mut Reader<'_>) -> Read {
    Ok(Command::BeginRestore {
        origin: read_origin(v)?,
        at_ns: v.u64()?,
    })
}

fn restore_page(v: &mut Reader<'_>) -> Read {
    Ok(Command::RestorePage {
        id: v.uuid()?,
        objects: v.list(read_restored)?,
        end: v.option(read_end)?,
    })
}

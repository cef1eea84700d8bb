//! Commands to the catalogue, and its answers.
//!
//! **Invariants**:
//! - I1: a command holds everything that its effect depends on, times included.
//! - I2: a command submitted twice has the effect of once and the same answer, unless another command came between.

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::{KeptClock, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{NodeSet, RecoveryNumber};
use uuid::Uuid;

use crate::archive::{LeaseNumber, ManifestHead, Stored};
use crate::event::What;
use crate::exporter::{DeadLetter, EntryId, ExportCursor};
use crate::job::{JobId, JobPosition, JobResult, LossNames};
use crate::node::{Needed, NodeState};
pub use crate::refusal::Refusal;
use crate::restore::{RestoreEnd, RestoreOrigin, RestoredObject};
use crate::segment::AcceptedLoss;
use crate::setting::SettingSet;

mod kind;
mod request;
mod wire;

pub use kind::Kind;
pub use request::{Outcome, Reply, Request};

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Grants a node id to a storage; the same storage gets the same id.
    RegisterNode {
        /// The storage.
        storage_uuid: Uuid,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Grants a new epoch to a node's boot; the same boot gets the same epoch.
    NodeUp {
        /// The node.
        node: NodeId,
        /// Its storage, which must be the one that was registered.
        storage_uuid: Uuid,
        /// The uuid that the process chose.
        boot_uuid: Uuid,
        /// The highest epoch found on the node's disk: the catalogue may be an older backup.
        seen: Option<Epoch>,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Sets the facts of a node. Of two nodes only one has a name.
    DescribeNode {
        /// The node.
        node: NodeId,
        /// Its name, compared as that of a host, without regard to case.
        name: String,
        /// Host and port at which its peers reach it.
        address: String,
        /// The part of the site that fails as a whole.
        failure_domain: String,
        /// The node that had the name, which is known to be gone. It keeps its record, and has the name no more.
        replaces: Option<NodeId>,
    },
    /// Sets the participation of a node.
    SetNodeState {
        /// The node.
        node: NodeId,
        /// Its new state.
        state: NodeState,
        /// The version of the node's record that the caller saw. If it has changed, the command is refused.
        seen: Option<u64>,
    },
    /// Removes a node for good: it never comes back under this number, its name is free, and its copies count no more.
    RemoveNode {
        /// The node.
        node: NodeId,
        /// True where an operator accepts that acknowledged entries may be lost by it.
        accept_loss: bool,
        /// What needed the node when its loss was accepted; `None` where it was not, and in a command of before.
        seen: Option<Needed>,
    },
    /// Opens a segment that is about to take entries, and seals an earlier one of its shard where that is complete:
    /// both or neither.
    Roll {
        /// The seal of the complete segment.
        seal: Option<SealRecord>,
        /// The opening of the segment that is about to take entries.
        open: OpenRecord,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Begins a recovery of a segment whose writer is gone. The answer is its number; from then on no earlier recovery
    /// may seal the segment.
    BeginRecovery {
        /// The segment.
        id: SegmentId,
        /// The name that the caller gives this recovery: the same again is the same recovery.
        request: Uuid,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Seals a complete segment. The time of the seal is kept within bounds: the segment's record has the resulting
    /// one.
    Seal {
        /// The seal: the segment and its content.
        seal: SealRecord,
    },
    /// Seals a segment whose content a recovery has determined and copied to enough nodes.
    SealRecovered {
        /// The seal: the segment and its content.
        seal: SealRecord,
        /// The recovery, which must be the latest one of the segment.
        number: RecoveryNumber,
    },
    /// Records that a node has a complete, synced and verified copy of a sealed segment.
    ReplicaAdded {
        /// The segment.
        id: SegmentId,
        /// The node.
        node: NodeId,
        /// BLAKE3 over the entries of its copy.
        digest: [u8; 32],
    },
    /// Records that a node is about to make a copy of a segment that is sealed or being recovered. Whatever comes of
    /// it, the node stays on record until it has confirmed that it holds nothing more.
    CopyPlanned {
        /// The segment.
        id: SegmentId,
        /// The node.
        node: NodeId,
    },
    /// Records that a segment's bytes are about to be removed.
    Trim {
        /// The segment.
        id: SegmentId,
        /// The reason.
        why: TrimReason,
    },
    /// Records that no file of these trimmed segments is on their owners' disks any more. Logs of before have it.
    Unlinked {
        /// The segments, of which there is a bound ([`crate::limits::UNLINKED_MAX`]).
        segments: Vec<SegmentId>,
    },
    /// Records that a node holds nothing of these trimmed segments any more, its own or copies of others'.
    UnlinkedOn {
        /// The node.
        node: NodeId,
        /// The segments, of which there is a bound ([`crate::limits::UNLINKED_MAX`]).
        segments: Vec<SegmentId>,
    },
    /// Records a node's vault clock. One that is behind the recorded one changes nothing.
    KeepClock {
        /// The node.
        node: NodeId,
        /// Its clock.
        mark: KeptClock,
    },
    /// Records that an operator accepts the loss of a segment at its owner.
    SegmentLost {
        /// The segment.
        id: SegmentId,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Lets the recovery of a segment whose owner was replaced, or has reported, end without the reports that it needs,
    /// for an operator.
    AcceptLoss {
        /// The segment.
        id: SegmentId,
        /// The loss, and who accepts it.
        loss: AcceptedLoss,
    },
    /// Records a segment as lost of which a recovery found nothing, after its loss was accepted.
    RecoveredNothing {
        /// The segment.
        id: SegmentId,
        /// The recovery, which must be the latest one of the segment.
        number: RecoveryNumber,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Lets readers of a sealed segment pass what no holder can read, for an operator. What one can read they still
    /// read.
    AcceptCopyLoss {
        /// The segment.
        id: SegmentId,
        /// The loss, and who accepts it.
        loss: AcceptedLoss,
        /// The holders that said what they can read: where there is another holder by now, the command is refused.
        /// `None` in a command of before.
        asked: Option<NodeSet>,
    },
    /// Creates a replay job; the same request gets the same job.
    CreateJob {
        /// The request of the caller.
        request: Uuid,
        /// The specification, which only the replay reads.
        spec: String,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Lets a node run a replay job from now on, in place of one that is gone.
    TakeJob {
        /// The job.
        job: JobId,
        /// The node.
        node: NodeId,
        /// The term of the job that the node saw. If it has changed, the command is refused.
        seen: u64,
    },
    /// Moves the positions of a replay job, each with the loss up to it. A position that lies behind the recorded one
    /// changes nothing.
    JobProgress {
        /// The job.
        job: JobId,
        /// The term in which the caller runs it: 0 before the first takeover.
        term: u64,
        /// The positions by shard.
        positions: Vec<(NodeId, ShardId, JobPosition)>,
        /// Names for the loss; those on record stay.
        loss_names: LossNames,
    },
    /// Ends a replay job by itself.
    FinishJob {
        /// The job.
        job: JobId,
        /// The term in which the caller runs it: 0 before the first takeover.
        term: u64,
        /// The result.
        result: JobResult,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Cancels a replay job, for an operator.
    CancelJob {
        /// The job.
        job: JobId,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Sets, or with no value removes, a setting. Those of the cluster's configuration
    /// ([`crate::setting::is_of_cluster`]) have a form that is checked.
    SetConfig {
        /// The setting's name.
        key: String,
        /// The setting's value, which only its reader interprets.
        value: Option<String>,
        /// The version of the setting that the caller saw, 0 where there was none. If it has changed, the command is
        /// refused.
        seen: Option<u64>,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Sets several settings of the cluster's configuration at once: all of them, or none. None of them is an exporter.
    SetSettings {
        /// The settings, each once.
        settings: Vec<SettingSet>,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Puts the settings of the cluster on record, as the first of its nodes has them in its configuration. Where one
    /// is on record nothing changes; `archive.url`, which a single node has there, does not count.
    BeginSettings {
        /// The node whose configuration they are of.
        node: NodeId,
        /// Names and values.
        settings: Vec<(String, String)>,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Pauses or resumes an exporter; one that is not on record is put on record.
    SetExporter {
        /// The exporter's name.
        exporter: String,
        /// True where it is paused from now on.
        paused: bool,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Says which exporters a node is configured with; it is so with no others any more. Those that are on no record
    /// are known by their name alone until they begin, and everything is held for them.
    ConfigureExporters {
        /// The node; `None` in a log of before, in which the node that spoke last said it for all.
        node: Option<NodeId>,
        /// The names of all of them.
        names: Vec<String>,
    },
    /// Removes the record, the cursors and the dead letters of an exporter that no node is configured with any more.
    /// Whatever ran for it must have ended.
    ForgetExporter {
        /// The exporter's name.
        exporter: String,
    },
    /// Moves the cursors of a node's exporters. A cursor behind the recorded one changes nothing; nor does one from
    /// before the latest seek, of an exporter that is not on record, or of a replaced node of whose logs nothing is
    /// left.
    CommitCursors {
        /// The node.
        node: NodeId,
        /// The cursors.
        cursors: Vec<ExportCursor>,
    },
    /// Lets a node export what a lost node owes an exporter, from now on and alone; a node that is back takes its own
    /// export back. Another node may only once all segments of the owner are sealed, trimmed or lost. Where the
    /// owner was replaced and nothing of its logs is left, nothing changes.
    TakeExport {
        /// The exporter's name.
        exporter: String,
        /// The node that wrote the logs.
        owner: NodeId,
        /// The node that exports them from now on.
        runner: NodeId,
        /// The term that the caller saw, 0 before the first. If it has changed, the command is refused.
        seen: u64,
    },
    /// Moves cursors in the logs of a lost node, as [`Command::CommitCursors`] does, for the node that exports them. It
    /// is refused where another node does by now.
    CommitTakenCursors {
        /// The node that wrote the logs.
        owner: NodeId,
        /// The node that exports them.
        runner: NodeId,
        /// The term in which it does.
        term: u64,
        /// The cursors.
        cursors: Vec<ExportCursor>,
    },
    /// Moves an exporter's cursors, forwards or back, for an operator, and begins a new generation of them. An exporter
    /// that is not on record yet begins there.
    SeekExporter {
        /// The exporter's name.
        exporter: String,
        /// The node.
        node: NodeId,
        /// For each of these shards the last entry that is done; with `None` the exporter begins anew. Other shards
        /// stay as they are.
        shards: Vec<(ShardId, Option<Lsn>)>,
        /// The present time, nanoseconds since the Unix epoch. The same node and time again are the same seek.
        at_ns: u64,
    },
    /// Puts an exporter on record that no node had before. One that is on record stays as it is.
    BeginExporter {
        /// The exporter's name.
        exporter: String,
        /// The last entry of each log that it does not get. Other logs it gets from their beginning.
        done: Vec<EntryId>,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Records entries that their exporters set aside for good. One that is a dead letter already stays as it is; one
    /// whose segment is trimmed is passed over.
    AddDeadLetters {
        /// The dead letters.
        letters: Vec<DeadLetter>,
    },
    /// Records that a node keeps a copy of the entry of dead letters, of whichever exporters they are. Where they are
    /// gone nothing changes.
    LetterCopied {
        /// The node.
        node: NodeId,
        /// The entry.
        entry: EntryId,
    },
    /// Removes dead letters that were replayed, or that an operator drops. Those that are not on record are passed
    /// over.
    DropDeadLetters {
        /// The exporter.
        exporter: String,
        /// The entries.
        letters: Vec<EntryId>,
    },
    /// Puts an event on record that no other command is about. One that says nothing new changes nothing.
    Note {
        /// The kind of the event.
        what: What,
        /// The node, segment or other thing that it concerns.
        subject: String,
        /// More about it; maybe empty.
        detail: String,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Leases sealed segments to a node that makes an archive object of them. The lease has the next number, or is the
    /// one that these segments are in: then this node goes on with it.
    ArchiveLease {
        /// The id of the store that the object is to be in.
        store: Uuid,
        /// The node.
        node: NodeId,
        /// Its boot, which must be its newest.
        epoch: Epoch,
        /// The segments, all of one node, in the order in which they are to stand in the object.
        members: Vec<SegmentId>,
    },
    /// Records that the object of a lease is in its store, verified, for the holder of the lease.
    ArchiveCommit {
        /// The lease.
        lease: LeaseNumber,
        /// The attempt that made it.
        attempt: u32,
        /// The node.
        node: NodeId,
        /// Its boot.
        epoch: Epoch,
        /// The object.
        stored: Stored,
    },
    /// Records the next manifest, which is in the store and verified: from then on the segments of the objects that it
    /// lists are archived.
    ManifestCommit {
        /// The manifest.
        next: ManifestHead,
        /// The hash of the manifest before it. If that is not the newest one, the command is refused.
        prev: [u8; 32],
        /// The objects that it lists first, by their leases.
        leases: Vec<LeaseNumber>,
    },
    /// Records that what is in the store of an attempt, if anything, never counts, for the holder of the lease. The
    /// lease goes on with the next attempt. A committed object in another store than that of now ends so too.
    ArchiveDoom {
        /// The lease.
        lease: LeaseNumber,
        /// The attempt.
        attempt: u32,
        /// The node.
        node: NodeId,
        /// Its boot.
        epoch: Epoch,
        /// True where the lease ends instead, and its segments are free for another one.
        ends: bool,
    },
    /// Begins a restore in an empty catalogue: the first node then gets the number that is named.
    BeginRestore {
        /// What is restored.
        origin: RestoreOrigin,
        /// The present time, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Takes in objects of the archive that is restored, or ends a run of it.
    RestorePage {
        /// The restore.
        id: Uuid,
        /// The objects, of which there is a bound ([`crate::limits::RESTORE_PAGE_OBJECTS_MAX`]); none with an end.
        objects: Vec<RestoredObject>,
        /// The end of the run.
        end: Option<RestoreEnd>,
    },
}

//! Reasons for which the catalogue refuses a command, in words for the operator. The remedy for the caller is in
//! `disposition`.

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId};
use gophership_vault::{NodeSet, RecoveryNumber};
use thiserror::Error;
use uuid::Uuid;

use crate::archive::LeaseNumber;
use crate::job::JobId;
use crate::node::Needed;
use crate::segment::{SegmentState, Step};

mod disposition;
mod restore;

pub use restore::RestoreRefusal;

/// The reason for which a command was refused. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// Something about a restore.
    #[error(transparent)]
    Restore(#[from] RestoreRefusal),
    /// The node does not exist.
    #[error("node {node} is not registered")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The node's number belongs to another storage.
    #[error(
        "node {node} is registered with storage {registered}, not {given}: a storage that was replaced must join as a \
         new node"
    )]
    OtherStorage {
        /// The node.
        node: NodeId,
        /// The storage that is registered.
        registered: Uuid,
        /// The storage in the command.
        given: Uuid,
    },
    /// Another node has the name.
    #[error(
        "{name:?} is the name of node {holder}: give this node another name, or wait until node {holder} is known to \
         be gone"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The node that has it.
        holder: NodeId,
    },
    /// The node's name has moved to a node that joined in its place.
    #[error(
        "node {node} has joined anew as node {moved_to}, which has its name: start it with an empty node.data_dir, or \
         with that of node {moved_to}"
    )]
    NameMoved {
        /// The node.
        node: NodeId,
        /// The node that has the name.
        moved_to: NodeId,
    },
    /// An operator removed the node.
    #[error(
        "node {node} was removed from the cluster: start it with an empty node.data_dir, and it joins as a new node"
    )]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// Too few nodes would be left.
    #[error(
        "node {node} cannot be removed: {left} nodes would be left, and a cluster needs {needed}. Add the node that \
         takes its place first; one that joins under its name with an empty node.data_dir takes it by itself"
    )]
    TooFewLeft {
        /// The node.
        node: NodeId,
        /// The nodes that would be left.
        left: usize,
        /// The nodes that must be.
        needed: usize,
    },
    /// A node to be removed has segments that are not sealed.
    #[error(
        "node {node} cannot be removed: {segments} of its segments are not sealed, {first} the first. Stop it, and the \
         others seal them within seconds; where a recovery waits, gs-ctl cluster status says for what. --accept-loss \
         removes it without its word on them"
    )]
    Unsealed {
        /// The node.
        node: NodeId,
        /// The number of such segments.
        segments: usize,
        /// The first of them.
        first: SegmentId,
    },
    /// A node to be removed has copies that are needed.
    #[error(
        "node {node} cannot be removed: without it {segments} segments have fewer than {needed} copies or lack a \
         report for their recovery, {first} the first. Drain it first (gs-ctl node drain), and wait until the others \
         have copies; where a segment is recovered, gs-ctl cluster status says for what it waits. --accept-loss \
         removes it all the same"
    )]
    CopiesNeeded {
        /// The node.
        node: NodeId,
        /// The number of such segments.
        segments: usize,
        /// The first of them.
        first: SegmentId,
        /// The copies that each must have elsewhere.
        needed: usize,
    },
    /// A node to be removed has copies of the entries of dead letters of which fewer than two others have one.
    #[error(
        "node {node} cannot be removed: fewer than two others have a copy of the entries of {letters} dead letters \
         (gs-ctl dead-letter list). Drain it (gs-ctl node drain), which has others make copies, or replay or drop the \
         letters; --accept-loss removes it all the same"
    )]
    LettersThere {
        /// The node.
        node: NodeId,
        /// Their number.
        letters: usize,
    },
    /// Since an operator accepted the loss of what needs a node, that has changed.
    #[error(
        "node {node} is not removed: when its loss was accepted this needed it: {seen}; and by now, not all of it the \
         same: {now}. Ask again to accept the loss of that"
    )]
    OtherLoss {
        /// The node.
        node: NodeId,
        /// What needed it when its loss was accepted.
        seen: Box<Needed>,
        /// What needs it now.
        now: Box<Needed>,
    },
    /// A loss is to be accepted of what no holder of a segment can read, and one was not asked.
    #[error("node {node} has become a holder of segment {id} meanwhile, and was not asked what it can read: ask again")]
    NotAsked {
        /// The segment.
        id: SegmentId,
        /// The holder.
        node: NodeId,
    },
    /// Too few nodes would take logs and hold new copies.
    #[error(
        "node {node} cannot be drained: {left} other nodes take logs, and an acknowledgement needs {needed}. Add a \
         node, or take one back first (gs-ctl node undrain)"
    )]
    TooFewActive {
        /// The node.
        node: NodeId,
        /// The other nodes that are Active.
        left: usize,
        /// The number that must be.
        needed: usize,
    },
    /// A newer boot of the node took over.
    #[error("segment {id} cannot be opened by epoch {epoch}: a newer boot of its node has epoch {current}")]
    Fenced {
        /// The segment.
        id: SegmentId,
        /// The epoch in the command.
        epoch: Epoch,
        /// The node's epoch now.
        current: Epoch,
    },
    /// The epoch was never granted.
    #[error("segment {id} cannot be opened by epoch {epoch}, which was never granted to its node")]
    EpochNotGranted {
        /// The segment.
        id: SegmentId,
        /// The epoch in the command.
        epoch: Epoch,
    },
    /// A segment's recovery may still end without a loss: its owner can come back.
    #[error(
        "the loss of segment {id} is not to be accepted: node {} was not replaced and has not reported, and may come \
         back with it",
        .id.node
    )]
    OwnerNotReplaced {
        /// The segment.
        id: SegmentId,
    },
    /// Nobody accepted the loss of a segment that is under recovery.
    #[error("segment {id} is not lost: it is not under recovery, or no operator accepted its loss")]
    LossNotAccepted {
        /// The segment.
        id: SegmentId,
    },
    /// A segment's owner cannot be its own replica.
    #[error("segment {id} cannot be opened: its owner is named among its replicas")]
    OwnReplica {
        /// The segment.
        id: SegmentId,
    },
    /// A roll seals a segment of another shard than the one it opens, or a later one.
    #[error("segment {sealed} cannot be sealed with the opening of {opened}: it is no earlier one of the same shard")]
    NotEarlier {
        /// The segment to be sealed.
        sealed: SegmentId,
        /// The segment to be opened.
        opened: SegmentId,
    },
    /// A seal needs as many complete copies as an acknowledgement does.
    #[error("segment {id} cannot be sealed: {holders} nodes hold all of it, and {needed} must")]
    TooFewHolders {
        /// The segment.
        id: SegmentId,
        /// The number of its holders.
        holders: usize,
        /// The number that is needed.
        needed: usize,
    },
    /// Another one than the caller may say where the segment ends.
    #[error("segment {id} cannot be sealed by {}: {} has taken over", recovery_of(*.recovery), recovery_of(*.latest))]
    Recovered {
        /// The segment.
        id: SegmentId,
        /// The recovery that asked; `None` for the owner.
        recovery: Option<RecoveryNumber>,
        /// The latest recovery; `None` where there was none.
        latest: Option<RecoveryNumber>,
    },
    /// The command does not apply in the segment's state.
    #[error("{step} does not apply to segment {id}, which is {from}")]
    Transition {
        /// The segment.
        id: SegmentId,
        /// Its state.
        from: SegmentState,
        /// The step that was asked for.
        step: Step,
    },
    /// The command was submitted before, with another content.
    #[error("{step} of segment {id} was said before with another content")]
    Differs {
        /// The segment.
        id: SegmentId,
        /// The step that was asked for.
        step: Step,
    },
    /// A segment is sealed in the name of a boot that did not write it.
    #[error("segment {id} was written by epoch {writer}, and cannot be sealed as one of epoch {epoch}")]
    OtherWriter {
        /// The segment.
        id: SegmentId,
        /// The epoch that opened it.
        writer: Epoch,
        /// The epoch in the command.
        epoch: Epoch,
    },
    /// A seal names an entry of another segment.
    #[error("segment {id} cannot end or begin with entry {lsn} of another one")]
    LsnOutside {
        /// The segment.
        id: SegmentId,
        /// The entry.
        lsn: Lsn,
    },
    /// A segment with entries is trimmed as an empty one.
    #[error("segment {id} is not empty: it holds {entries} entries")]
    NotEmpty {
        /// The segment.
        id: SegmentId,
        /// Number of entries in it.
        entries: u64,
    },
    /// The loss of a segment is to be accepted of which other nodes have good copies.
    #[error("the loss of segment {id} is not accepted: nodes {holders:?} have it, and its owner fetches it from them")]
    HeldByOthers {
        /// The segment.
        id: SegmentId,
        /// The other nodes that hold it.
        holders: NodeSet,
    },
    /// The caller decided on the basis of another version than the present one.
    #[error("{what} is at version {version} by now, and the command was made from version {seen}: look at it again")]
    Stale {
        /// The record.
        what: String,
        /// The version that the caller saw.
        seen: u64,
        /// The present version.
        version: u64,
    },
    /// The job does not exist.
    #[error("there is no replay job {job}")]
    UnknownJob {
        /// The job.
        job: JobId,
    },
    /// The job has ended before, in another way.
    #[error("replay job {job} has ended before: it is {state}")]
    JobEnded {
        /// The job.
        job: JobId,
        /// Its state.
        state: &'static str,
    },
    /// Another node runs the job by now.
    #[error("replay job {job} was taken over: its term is {latest}, not {term}")]
    JobTaken {
        /// The job.
        job: JobId,
        /// The term of the one who speaks for it.
        term: u64,
        /// Its latest term.
        latest: u64,
    },
    /// The same request asked for another job before.
    #[error("replay job {job} was created by the same request with another specification")]
    JobDiffers {
        /// The job it made.
        job: JobId,
    },
    /// Too many jobs are under way.
    #[error("{limit} replay jobs are under way, and there may be no more: wait for one to end or cancel one")]
    TooManyJobs {
        /// The limit.
        limit: usize,
    },
    /// A setting of the cluster's configuration has not the form that all versions agree on.
    #[error(
        "setting {key} is not changed: its name or value has not the form of a setting of the cluster's configuration. \
         Accepted: a word of at most 64 bytes, and for an exporter a mapping on one line; only an exporter can be \
         removed"
    )]
    BadSetting {
        /// The setting's name.
        key: String,
    },
    /// Too many settings exist.
    #[error("there are {limit} settings, and there may be no more: remove one first")]
    TooManySettings {
        /// The limit.
        limit: usize,
    },
    /// The exporter does not exist.
    #[error("exporter {exporter} is not known")]
    UnknownExporter {
        /// The exporter.
        exporter: String,
    },
    /// Another node exports the logs by now.
    #[error("the export of node {owner} by exporter {exporter:?} was taken over: its term is {latest}, not {term}")]
    ExportTaken {
        /// The exporter.
        exporter: String,
        /// The node that wrote the logs.
        owner: NodeId,
        /// The term of the caller.
        term: u64,
        /// The latest term.
        latest: u64,
    },
    /// The export of a node is taken over only when nobody writes its logs any more.
    #[error("the export of node {} is not taken over: its segment {id} is not sealed yet", .id.node)]
    NotRecovered {
        /// The segment.
        id: SegmentId,
    },
    /// An exporter that a node is configured with would begin anew, and so is not forgotten.
    #[error(
        "exporter {exporter:?} is configured at {nodes}: remove it first (gs-ctl exporter remove; on a single node \
         take it out of `export` and send SIGHUP); a node that is away counts until it has followed or is replaced"
    )]
    ExporterConfigured {
        /// The exporter.
        exporter: String,
        /// The nodes that are configured with it, in words.
        nodes: String,
    },
    /// A segment that an exporter still has to send is trimmed as a released one.
    #[error(
        "segment {id} is not released: exporter {exporter:?} has not got {entries} of its entries yet; they go when it \
         has, or when it is forgotten"
    )]
    Owed {
        /// The segment.
        id: SegmentId,
        /// An exporter that has not got all of it.
        exporter: String,
        /// The number of entries that it has not got.
        entries: u64,
    },
    /// It is no name for an exporter.
    #[error("{exporter:?} cannot name an exporter: a name is not empty and has no control character")]
    BadExporterName {
        /// The text.
        exporter: String,
    },
    /// Too many exporters are on record.
    #[error(
        "there are {limit} exporters, and there may be no more: remove one (gs-ctl exporter remove), then forget it \
         (gs-ctl exporter forget)"
    )]
    TooManyExporters {
        /// The limit.
        limit: usize,
    },
    /// An exporter has too many dead letters.
    #[error("exporter {exporter} may have no more than {limit} dead letters: replay or drop some first")]
    TooManyDeadLetters {
        /// The exporter.
        exporter: String,
        /// The limit.
        limit: usize,
    },
    /// A dead letter names an entry of a segment that never was.
    #[error("a dead letter cannot lie in segment {id}, which was never opened")]
    NeverOpened {
        /// The segment.
        id: SegmentId,
    },
    /// Dead letters hold a segment.
    #[error("segment {id} is held by {letters} dead letters: replay or drop them first")]
    Held {
        /// The segment.
        id: SegmentId,
        /// Number of dead letters that hold it.
        letters: u64,
    },
    /// The segments, or objects, of a command are no set of which there could be one object, or one manifest.
    #[error("the list is empty, names something twice, or has segments of several nodes")]
    NoObject,
    /// A segment is in an object, or is to be in one.
    #[error("segment {id} is in lease {lease} of the archive")]
    Leased {
        /// The segment.
        id: SegmentId,
        /// The lease.
        lease: LeaseNumber,
    },
    /// A segment has no entry.
    #[error("segment {id} has no entry: there is nothing to archive")]
    NothingToArchive {
        /// The segment.
        id: SegmentId,
    },
    /// There is no such lease.
    #[error("the archive has no lease {lease}")]
    UnknownLease {
        /// The lease.
        lease: LeaseNumber,
    },
    /// Another node or boot holds the lease, or it has gone on to another attempt, or it has ended.
    #[error("lease {lease} of the archive is not held for attempt {attempt} any more")]
    NotHeld {
        /// The lease.
        lease: LeaseNumber,
        /// The attempt of the command.
        attempt: u32,
    },
    /// The object of a lease was committed, and is not doomed: it is listed, or in the store of now, or not all of its
    /// segments are held.
    #[error("the object of lease {lease} of the archive is committed")]
    ObjectCounts {
        /// The lease.
        lease: LeaseNumber,
    },
    /// A manifest lists an object that is not committed, or is in a manifest already.
    #[error("the object of lease {lease} of the archive is not committed, or is listed in a manifest")]
    NotCommitted {
        /// The lease.
        lease: LeaseNumber,
    },
    /// A manifest lists an object of another store than its own.
    #[error("the object of lease {lease} of the archive is in another store than the manifest that lists it")]
    InOtherStore {
        /// The lease.
        lease: LeaseNumber,
    },
    /// A segment is to be in the archive, and is not there yet.
    #[error("segment {id} is not in the archive yet: see gs-ctl archive status")]
    NotArchived {
        /// The segment.
        id: SegmentId,
    },
    /// A manifest does not follow the newest one.
    #[error("manifest {seq} does not follow manifest {newest}, which is the newest")]
    NotNextManifest {
        /// Its number.
        seq: u64,
        /// The number of the newest one.
        newest: u64,
    },
    /// A text or list is too long.
    #[error("{what} has a size of {size}, and may have at most {limit}")]
    TooLong {
        /// The text or list.
        what: &'static str,
        /// Its length.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Numbers of a kind are used up, and none is ever used twice.
    #[error("there are no more {what} numbers: all were used, and none is used twice")]
    NumbersUsedUp {
        /// The kind of number.
        what: &'static str,
    },
}

/// Names the one who seals a segment.
fn recovery_of(number: Option<RecoveryNumber>) -> String {
    number.map_or_else(|| "its owner".to_owned(), |number| format!("recovery {number}"))
}

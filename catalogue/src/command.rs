//! What can be said to the catalogue, and its answers.
//!
//! **Invariants.** I1: a command holds all that its effect depends on; times are in it. I2: a command said twice has the effect of once and
//! is answered the same, unless something else came between.

use gophership_vault::RecoveryNumber;
use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId, ShardId};
use gophership_vault::ledger::{ClockMark, OpenRecord, SealRecord, TrimReason};
use uuid::Uuid;

use crate::actor::Actor;
use crate::exporter::{DeadLetter, EntryKey, ExportCursor};
use crate::job::{JobId, JobPosition, JobResult};
use crate::node::NodeState;
pub use crate::refusal::Refusal;

mod wire;

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Grants a node id to a storage; the same storage gets the same id.
    RegisterNode {
        /// Which storage.
        storage_uuid: Uuid,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Grants a new epoch to a node's boot; the same boot gets the same epoch.
    NodeUp {
        /// Which node.
        node: NodeId,
        /// Its storage, which must be the one that was registered.
        storage_uuid: Uuid,
        /// What the process calls itself.
        boot_uuid: Uuid,
        /// The highest epoch found on the node's disk: the catalogue may be an older copy.
        seen: Option<Epoch>,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Says whether a node takes part.
    SetNodeState {
        /// Which node.
        node: NodeId,
        /// Its state from now on.
        state: NodeState,
        /// The version of the node's record that the caller saw. Another one by now: the command is refused.
        seen: Option<u64>,
    },
    /// A segment is about to take entries, and an earlier one of its shard may be complete: both or neither.
    Roll {
        /// The complete segment and what it holds.
        seal: Option<SealRecord>,
        /// The segment that is about to take entries.
        open: OpenRecord,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A recovery of a segment begins, whose writer is gone. It is answered with its number, and no recovery before it
    /// may seal the segment any more.
    BeginRecovery {
        /// The segment.
        id: SegmentId,
        /// The name that the caller gives this recovery: the same again is the same recovery.
        request: Uuid,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A segment is complete. Its time is kept within bounds: the segment's record has the one that stands.
    Seal {
        /// Which, and what it holds.
        seal: SealRecord,
    },
    /// A recovery found out what a segment holds, and copied it to enough nodes.
    SealRecovered {
        /// What the segment holds.
        seal: SealRecord,
        /// The recovery, which must be the latest one of the segment.
        number: RecoveryNumber,
    },
    /// A node has a complete, synced and verified copy of a sealed segment.
    ReplicaAdded {
        /// The segment.
        id: SegmentId,
        /// The node.
        node: NodeId,
        /// BLAKE3 over the entries of its copy.
        digest: [u8; 32],
    },
    /// A segment's bytes are about to be removed.
    Trim {
        /// Which.
        id: SegmentId,
        /// Why.
        why: TrimReason,
    },
    /// Nothing of these trimmed segments is on disk any more.
    Unlinked {
        /// The segments, of which there is a bound ([`crate::limits::UNLINKED_MAX`]).
        segments: Vec<SegmentId>,
    },
    /// Keeps a node's vault clock. One that is behind the known one changes nothing.
    KeepClock {
        /// The node.
        node: NodeId,
        /// Its clock.
        mark: ClockMark,
    },
    /// An operator gives a segment up.
    MarkLost {
        /// Which.
        id: SegmentId,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Creates a replay job; the same request gets the same job.
    CreateJob {
        /// Who asks.
        request: Uuid,
        /// What it is to do, in the replay's own words.
        spec: String,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// A replay job has come this far. A position that lies behind the known one changes nothing.
    JobProgress {
        /// Which job.
        job: JobId,
        /// In these shards.
        positions: Vec<(NodeId, ShardId, JobPosition)>,
    },
    /// A replay job has ended by itself.
    FinishJob {
        /// Which job.
        job: JobId,
        /// How.
        result: JobResult,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// An operator ends a replay job.
    CancelJob {
        /// Which job.
        job: JobId,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Sets, or with no value removes, a cluster-wide setting.
    SetConfig {
        /// Its name.
        key: String,
        /// Its value, in its reader's own words.
        value: Option<String>,
        /// The version of the setting that the caller saw, 0 where there was none. Another one by now: the command is
        /// refused.
        seen: Option<u64>,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Says whether an exporter is paused; one that is not known is known from then on.
    SetExporter {
        /// Its name.
        exporter: String,
        /// From now on.
        paused: bool,
        /// Now, nanoseconds since the Unix epoch.
        at_ns: u64,
    },
    /// Says which exporters are configured; others are so no more. Those that are on no record are known by their name
    /// alone until they begin, and everything is held for them.
    ConfigureExporters {
        /// The names of all of them.
        names: Vec<String>,
    },
    /// Removes the record, the cursors and the dead letters of an exporter that is configured no more. Whatever ran for it must have ended.
    ForgetExporter {
        /// Its name.
        exporter: String,
    },
    /// A node's exporters have come this far. A cursor behind the known one changes nothing; nor does one from before the latest seek, or of
    /// an exporter that is not known.
    CommitCursors {
        /// Which node.
        node: NodeId,
        /// All its cursors.
        cursors: Vec<ExportCursor>,
    },
    /// An operator sets where an exporter goes on, forwards or back, and begins a new generation of its cursors. One that is not known yet begins there.
    SeekExporter {
        /// Its name.
        exporter: String,
        /// Which node.
        node: NodeId,
        /// In these shards the last entry that is done; with `None` it begins anew. Other shards stay as they are.
        shards: Vec<(ShardId, Option<Lsn>)>,
        /// Now, nanoseconds since the Unix epoch. The same node and time again are the same seek.
        at_ns: u64,
    },
    /// Entries were refused for good by their exporters. One that is a dead letter already stays as it is; one whose segment is trimmed is
    /// passed over.
    AddDeadLetters {
        /// Which.
        letters: Vec<DeadLetter>,
    },
    /// Dead letters were replayed, or an operator gives them up. Those that are not known are passed over.
    DropDeadLetters {
        /// Whose.
        exporter: String,
        /// Which.
        letters: Vec<EntryKey>,
    },
}

/// The kinds of commands. The numbers are stored; none is ever reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // each is the kind of the command of its name
pub enum Kind {
    RegisterNode = 1,
    NodeUp = 2,
    SetNodeState = 3,
    Roll = 4,
    BeginRecovery = 5,
    Seal = 6,
    Trim = 7,
    Unlinked = 8,
    KeepClock = 9,
    MarkLost = 10,
    CreateJob = 11,
    JobProgress = 12,
    FinishJob = 13,
    CancelJob = 14,
    SetConfig = 15,
    SetExporter = 16,
    ForgetExporter = 17,
    CommitCursors = 18,
    SeekExporter = 19,
    AddDeadLetters = 20,
    DropDeadLetters = 21,
    SealRecovered = 22,
    ReplicaAdded = 23,
    ConfigureExporters = 24,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 24] = [
        Self::RegisterNode,
        Self::NodeUp,
        Self::SetNodeState,
        Self::Roll,
        Self::BeginRecovery,
        Self::Seal,
        Self::Trim,
        Self::Unlinked,
        Self::KeepClock,
        Self::MarkLost,
        Self::CreateJob,
        Self::JobProgress,
        Self::FinishJob,
        Self::CancelJob,
        Self::SetConfig,
        Self::SetExporter,
        Self::ForgetExporter,
        Self::CommitCursors,
        Self::SeekExporter,
        Self::AddDeadLetters,
        Self::DropDeadLetters,
        Self::SealRecovered,
        Self::ReplicaAdded,
        Self::ConfigureExporters,
    ];

    /// From the stored number.
    pub fn from_stored(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    /// Its name, as it is logged.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegisterNode => "register_node",
            Self::NodeUp => "node_up",
            Self::SetNodeState => "set_node_state",
            Self::Roll => "roll",
            Self::BeginRecovery => "begin_recovery",
            Self::Seal => "seal",
            Self::Trim => "trim",
            Self::Unlinked => "unlinked",
            Self::KeepClock => "keep_clock",
            Self::MarkLost => "mark_lost",
            Self::CreateJob => "create_job",
            Self::JobProgress => "job_progress",
            Self::FinishJob => "finish_job",
            Self::CancelJob => "cancel_job",
            Self::SetConfig => "set_config",
            Self::SetExporter => "set_exporter",
            Self::ForgetExporter => "forget_exporter",
            Self::CommitCursors => "commit_cursors",
            Self::SeekExporter => "seek_exporter",
            Self::AddDeadLetters => "add_dead_letters",
            Self::DropDeadLetters => "drop_dead_letters",
            Self::SealRecovered => "seal_recovered",
            Self::ReplicaAdded => "replica_added",
            Self::ConfigureExporters => "configure_exporters",
        }
    }
}

impl Command {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::RegisterNode { .. } => Kind::RegisterNode,
            Self::NodeUp { .. } => Kind::NodeUp,
            Self::SetNodeState { .. } => Kind::SetNodeState,
            Self::Roll { .. } => Kind::Roll,
            Self::BeginRecovery { .. } => Kind::BeginRecovery,
            Self::Seal { .. } => Kind::Seal,
            Self::Trim { .. } => Kind::Trim,
            Self::Unlinked { .. } => Kind::Unlinked,
            Self::KeepClock { .. } => Kind::KeepClock,
            Self::MarkLost { .. } => Kind::MarkLost,
            Self::CreateJob { .. } => Kind::CreateJob,
            Self::JobProgress { .. } => Kind::JobProgress,
            Self::FinishJob { .. } => Kind::FinishJob,
            Self::CancelJob { .. } => Kind::CancelJob,
            Self::SetConfig { .. } => Kind::SetConfig,
            Self::SetExporter { .. } => Kind::SetExporter,
            Self::ForgetExporter { .. } => Kind::ForgetExporter,
            Self::CommitCursors { .. } => Kind::CommitCursors,
            Self::SeekExporter { .. } => Kind::SeekExporter,
            Self::AddDeadLetters { .. } => Kind::AddDeadLetters,
            Self::DropDeadLetters { .. } => Kind::DropDeadLetters,
            Self::SealRecovered { .. } => Kind::SealRecovered,
            Self::ReplicaAdded { .. } => Kind::ReplicaAdded,
            Self::ConfigureExporters { .. } => Kind::ConfigureExporters,
        }
    }
}

/// A command, and who submits it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The one who submits it.
    pub actor: Actor,
    /// The command.
    pub command: Command,
}

/// What a command that was taken is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is so.
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

//! Events: the record of what operators and the cluster did, for people who ask afterwards.
//!
//! **Owns**: the values.
//!
//! **Invariants**:
//! - I1: an event is written by the command that it is about, in the same commit, and its time is that command's.
//! - I2: at most [`EVENTS_MAX`](crate::limits::EVENTS_MAX) are kept, each of bounded size: the oldest goes first.
//! - I3: nothing is decided by them.
//!
//! **Not here**: which command is an event (`apply/event.rs`).

use crate::limits::EVENT_TEXT_BYTES_MAX;

/// The number of an event: from 1, and rising by one.
pub type EventNumber = u64;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its time, nanoseconds since the Unix epoch, by the clock of who submitted the command.
    pub at_ns: u64,
    /// Its kind.
    pub what: What,
    /// The operator's name, or `node` or `vault` where no operator asked for it.
    pub who: String,
    /// The thing that it concerns, such as `node 3` or `segment 1/0/7`.
    pub subject: String,
    /// More about it, such as a reason; maybe empty. It is cut to a bound.
    pub detail: String,
}

impl Event {
    /// An event whose texts are cut to their bound.
    pub fn new(at_ns: u64, what: What, who: &str, subject: &str, detail: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(EVENT_TEXT_BYTES_MAX)].to_owned();
        Self {
            at_ns,
            what,
            who: cut(who),
            subject: cut(subject),
            detail: cut(detail),
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal;)+) => {
        /// The kinds of events. The numbers are stored; none is ever reused.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum What {
            $($(#[$doc])* $kind = $number,)+
        }

        impl What {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The name that is shown.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A storage got a node's number.
    NodeRegistered = 1, "node_registered";
    /// A node has a new epoch: it started, or goes on after it was fenced.
    NodeUp = 2, "node_up";
    /// The leader heard nothing of a node for `cluster.dead_after`.
    NodeDead = 3, "node_dead";
    /// Another node leads.
    LeaderChanged = 4, "leader_changed";
    /// An operator lets a node leave.
    NodeDraining = 5, "node_draining";
    /// An operator takes a node back that was leaving.
    NodeUndrained = 6, "node_undrained";
    /// An operator removed a node.
    NodeRemoved = 7, "node_removed";
    /// The cluster began, to be restored from an archive.
    RestoreBegun = 8, "restore_begun";
    /// A segment whose node was gone is sealed, with entries in it.
    Recovered = 9, "segment_recovered";
    /// A segment is lost: an operator accepted that.
    SegmentLost = 10, "segment_lost";
    /// An operator lets a recovery end with a loss.
    LossAccepted = 11, "loss_accepted";
    /// An operator accepted the loss of what no holder of a sealed segment can read.
    CopyLossAccepted = 12, "copies_given_up";
    /// An operator paused an exporter.
    ExporterPaused = 13, "exporter_paused";
    /// An operator resumed an exporter.
    ExporterResumed = 14, "exporter_resumed";
    /// An operator moved an exporter's cursors.
    ExporterSought = 15, "exporter_sought";
    /// An operator had an exporter forgotten.
    ExporterForgotten = 16, "exporter_forgotten";
    /// An operator had dead letters sent again.
    LettersReplayed = 17, "dead_letters_replayed";
    /// An operator dropped dead letters.
    LettersDropped = 18, "dead_letters_dropped";
    /// An operator started a replay job.
    JobStarted = 19, "job_started";
    /// An operator cancelled a replay job.
    JobCancelled = 20, "job_cancelled";
    /// A replay job ended.
    JobDone = 21, "job_done";
    /// A replay job failed.
    JobFailed = 22, "job_failed";
    /// An operator set a setting, such as the override of a zone, or removed it.
    SettingChanged = 23, "setting_changed";
    /// An operator had a node stop.
    NodeStopped = 24, "node_stopped";
    /// A node has not been able to archive for a while.
    ArchiveFailing = 25, "archive_failing";
    /// It can again.
    ArchiveWorking = 26, "archive_working";
    /// A run of a restore ended.
    RestoreEnded = 27, "restore_ended";
}

impl What {
    /// The kind of a stored number.
    pub fn from_stored(value: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|what| *what as u8 == value)
    }
}

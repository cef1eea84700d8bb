//! The life of a segment: `Open -> (Recovering) -> Sealed -> Trimmed -> Gone`, and `Lost`, which only an operator sets.
//!
//! **Owns**: the table of transitions.
//!
//! **Invariants**:
//! - I1: no transition leads back.
//! - I2: Lost is final. A segment that is on no record can become lost, too: its files exist, and the catalogue may be
//!   an older backup.
//! - I3: a trim stays on record until its files are known to be gone, since the absence of a record is no reason to
//!   remove a file.
//!
//! **Not here**: the other checks of commands (`apply.rs`).

use std::fmt;

use gophership_vault::ids::{Epoch, SegmentId};
use gophership_vault::ledger::{FormerSegment, KnownSegment, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{NodeSet, RecoveryNumber};
use uuid::Uuid;

/// The catalogue's record of a segment. A segment whose files are gone has none: its index is below its shard's
/// `next_index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentRecord {
    /// The segment takes entries.
    Open {
        /// The node and WAL file that write it.
        open: OpenRecord,
        /// Time of the opening, nanoseconds since the Unix epoch.
        opened_ns: u64,
    },
    /// The segment's writer is gone, and its end is being determined.
    Recovering {
        /// The node and the WAL file that wrote it.
        open: OpenRecord,
        /// The time at which it was opened.
        opened_ns: u64,
        /// The time at which its first recovery began.
        since_ns: u64,
        /// The recovery that may seal it.
        recovery: RecoveryId,
    },
    /// The segment is complete.
    Sealed(SealRecord),
    /// The segment is trimmed; its files may still be there.
    Trimmed {
        /// The segment.
        id: SegmentId,
        /// The reason.
        why: TrimReason,
    },
    /// An operator accepted the loss of the segment.
    Lost {
        /// The segment before that.
        was: FormerSegment,
        /// Time at which its loss was accepted, nanoseconds since the Unix epoch.
        lost_ns: u64,
    },
}

/// One recovery of a segment. Each recovery has a higher number than those before, and ends their right to seal the
/// segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryId {
    /// The number, which every request of the recovery carries.
    pub number: RecoveryNumber,
    /// The request that began it; the same request again is the same recovery.
    pub request: Uuid,
}

/// An operator accepted that entries of a segment are lost: its recovery ends without the reports that it needs, or
/// readers of the sealed segment pass what no holder can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedLoss {
    /// The operator's name.
    pub by: String,
    /// Time at which it was accepted, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The nodes whose reports were there: the recovery ends from these, and from what others report until then. Of a
    /// sealed segment the nodes whose copies can be read in part.
    pub reports: NodeSet,
    /// The thing that the recovery waited for, or what is wrong with the copies, in words.
    pub passed_over: String,
}

/// An accepted loss of a segment that a later one followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EarlierLoss {
    /// What it let go on.
    pub of: LossOf,
    /// The loss.
    pub loss: AcceptedLoss,
}

/// What an accepted loss of a segment lets go on. The numbers are stored; none is ever reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LossOf {
    /// The recovery of the segment.
    Recovery = 1,
    /// Readers of the sealed segment, past what no holder can read.
    Copies = 2,
}

impl LossOf {
    /// The one of a stored number.
    pub fn from_stored(value: u8) -> Option<Self> {
        [Self::Recovery, Self::Copies].into_iter().find(|of| *of as u8 == value)
    }
}

impl RecoveryId {
    /// The first recovery of a segment in older records, which name no request.
    pub const UNNAMED: Self = Self {
        number: 1,
        request: Uuid::nil(),
    };
}

impl SegmentRecord {
    /// The segment's id.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => open.id,
            Self::Sealed(seal) => seal.id,
            Self::Trimmed { id, .. } => *id,
            Self::Lost { was, .. } => was.id(),
        }
    }

    /// The boot that wrote it, where that is on record.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => Some(open.epoch),
            Self::Sealed(seal) => Some(seal.epoch),
            Self::Trimmed { .. } => None,
            Self::Lost { was, .. } => was.epoch(),
        }
    }

    /// The number of copies that a seal of it needs.
    pub fn seal_copies(&self) -> usize {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => open.replicas.seal_copies(),
            Self::Sealed(_) | Self::Trimmed { .. } | Self::Lost { .. } => 1,
        }
    }

    /// Its state.
    pub fn state(&self) -> SegmentState {
        match self {
            Self::Open { .. } => SegmentState::Open,
            Self::Recovering { .. } => SegmentState::Recovering,
            Self::Sealed(_) => SegmentState::Sealed,
            Self::Trimmed { .. } => SegmentState::Trimmed,
            Self::Lost { .. } => SegmentState::Lost,
        }
    }

    /// The segment as the vault knows it.
    pub fn known(&self) -> KnownSegment {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => KnownSegment::Open(*open),
            Self::Sealed(seal) => KnownSegment::Sealed(*seal),
            Self::Trimmed { id, .. } => KnownSegment::Trimmed(*id),
            Self::Lost { was, .. } => KnownSegment::Lost(was.id()),
        }
    }
}

/// The state of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Its index was never used.
    Unopened,
    /// It takes entries.
    Open,
    /// Its end is being determined.
    Recovering,
    /// It is complete.
    Sealed,
    /// It is trimmed, and its files may still be there.
    Trimmed,
    /// Its files are gone; or its index was passed over and will never be used.
    Gone,
    /// An operator accepted its loss.
    Lost,
}

impl SegmentState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Unopened,
        Self::Open,
        Self::Recovering,
        Self::Sealed,
        Self::Trimmed,
        Self::Gone,
        Self::Lost,
    ];
}

impl fmt::Display for SegmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unopened => "Unopened",
            Self::Open => "Open",
            Self::Recovering => "Recovering",
            Self::Sealed => "Sealed",
            Self::Trimmed => "Trimmed",
            Self::Gone => "Gone",
            Self::Lost => "Lost",
        })
    }
}

/// The effect of a command on a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `Roll`, for the segment that it opens
    Open,
    /// `BeginRecovery`
    BeginRecovery,
    /// `Seal`
    Seal,
    /// `Trim`, of a segment that never held an entry
    TrimEmpty,
    /// `Trim`, of a segment whose retention is over
    TrimRetention,
    /// `Trim`, of a segment that was not released
    TrimDropped,
    /// `Unlinked` and `UnlinkedOn`
    Unlinked,
    /// `SegmentLost` and `RecoveredNothing`
    SegmentLost,
    /// `ReplicaAdded`
    AddReplica,
    /// `CopyPlanned`
    PlanCopy,
    /// `AcceptLoss`
    AcceptLoss,
    /// `AcceptCopyLoss`
    AcceptCopyLoss,
    /// `ArchiveLease`
    Archive,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::BeginRecovery,
        Self::Seal,
        Self::TrimEmpty,
        Self::TrimRetention,
        Self::TrimDropped,
        Self::Unlinked,
        Self::SegmentLost,
        Self::AddReplica,
        Self::PlanCopy,
        Self::AcceptLoss,
        Self::AcceptCopyLoss,
        Self::Archive,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::BeginRecovery => "BeginRecovery",
            Self::Seal => "Seal",
            Self::TrimEmpty => "Trim (empty)",
            Self::TrimRetention => "Trim (retention)",
            Self::TrimDropped => "Trim (dropped)",
            Self::Unlinked => "Unlinked",
            Self::SegmentLost => "SegmentLost",
            Self::AddReplica => "ReplicaAdded",
            Self::PlanCopy => "CopyPlanned",
            Self::AcceptLoss => "AcceptLoss",
            Self::AcceptCopyLoss => "AcceptCopyLoss",
            Self::Archive => "ArchiveLease",
        })
    }
}

/// The meaning of a step in a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// It leads to this state.
    To(SegmentState),
    /// It was done before: nothing changes and the answer is the same.
    Same,
    /// It does not apply.
    Refuse,
}

/// The table of transitions.
pub fn rule(from: SegmentState, step: Step) -> Rule {
    use Rule::{Refuse, Same, To};
    use SegmentState::{Gone, Lost, Open, Recovering, Sealed, Trimmed, Unopened};
    match (from, step) {
        (Unopened, Step::Open) => To(Open),
        (Open, Step::BeginRecovery) => To(Recovering),
        (Open | Recovering, Step::Seal) => To(Sealed),
        // A segment that is being recovered is known to be empty once its recovery has sealed it.
        (Open | Sealed, Step::TrimEmpty) => To(Trimmed),
        (Sealed, Step::TrimRetention | Step::TrimDropped) => To(Trimmed),
        // It stays trimmed until the last node that may hold bytes of it has confirmed.
        (Trimmed, Step::Unlinked) => To(Gone),
        (Unopened | Open | Recovering | Sealed | Gone, Step::SegmentLost) => To(Lost),
        // It stays sealed, and gains a holder.
        (Sealed, Step::AddReplica) => To(Sealed),
        // It stays what it is, with one more node that may have a part of it, or with less to wait for.
        (Recovering, Step::PlanCopy | Step::AcceptLoss) => To(Recovering),
        (Sealed, Step::PlanCopy | Step::AcceptCopyLoss) => To(Sealed),
        // What is archived of it is on a record of its own.
        (Sealed, Step::Archive) => To(Sealed),

        (Open, Step::Open)
        | (Recovering, Step::BeginRecovery)
        | (Sealed, Step::Seal)
        | (Trimmed | Gone, Step::TrimEmpty | Step::TrimRetention | Step::TrimDropped | Step::AddReplica)
        | (Gone, Step::Unlinked)
        | (Lost, Step::SegmentLost) => Same,

        (Unopened | Open | Sealed | Trimmed | Gone | Lost, Step::AcceptLoss)
        | (Unopened | Open | Recovering | Trimmed | Gone | Lost, Step::AcceptCopyLoss | Step::Archive) => Refuse,

        (
            Unopened,
            Step::BeginRecovery
            | Step::Seal
            | Step::TrimEmpty
            | Step::TrimRetention
            | Step::TrimDropped
            | Step::Unlinked
            | Step::AddReplica
            | Step::PlanCopy,
        )
        | (Open, Step::TrimRetention | Step::TrimDropped | Step::Unlinked | Step::AddReplica | Step::PlanCopy)
        | (
            Recovering,
            Step::Open | Step::TrimEmpty | Step::TrimRetention | Step::TrimDropped | Step::Unlinked | Step::AddReplica,
        )
        | (Sealed, Step::Open | Step::BeginRecovery | Step::Unlinked)
        | (Trimmed | Gone, Step::Open | Step::BeginRecovery | Step::Seal | Step::PlanCopy)
        | (Trimmed, Step::SegmentLost)
        | (
            Lost,
            Step::Open
            | Step::BeginRecovery
            | Step::Seal
            | Step::TrimEmpty
            | Step::TrimRetention
            | Step::TrimDropped
            | Step::Unlinked
            | Step::AddReplica
            | Step::PlanCopy,
        ) => Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_transitions_is_this_one() {
        // Open, BeginRecovery, Seal, TrimEmpty, TrimRetention, TrimDropped, Unlinked, SegmentLost, ReplicaAdded,
        // CopyPlanned, AcceptLoss, AcceptCopyLoss, ArchiveLease
        let expected = "
            Unopened   Open    -          -      -       -       -       -    Lost -      - - - -
            Open       same    Recovering Sealed Trimmed -       -       -    Lost -      - - - -
            Recovering -       same       Sealed -       -       -       -    Lost -      Recovering Recovering - -
            Sealed     -       -          same   Trimmed Trimmed Trimmed -    Lost Sealed Sealed - Sealed Sealed
            Trimmed    -       -          -      same    same    same    Gone -    same   - - - -
            Gone       -       -          -      same    same    same    same Lost same   - - - -
            Lost       -       -          -      -       -       -       -    same -      - - - -";
        let mut rows = expected.lines().filter(|l| !l.trim().is_empty());
        for from in SegmentState::ALL {
            let mut cells = rows.next().unwrap().split_whitespace();
            assert_eq!(cells.next(), Some(from.to_string().as_str()));
            for step in Step::ALL {
                let got = match rule(from, step) {
                    Rule::To(to) => to.to_string(),
                    Rule::Same => "same".to_owned(),
                    Rule::Refuse => "-".to_owned(),
                };
                assert_eq!(cells.next(), Some(got.as_str()), "{from} {step}");
            }
        }
    }

    #[test]
    fn i1_i2_nothing_leads_back_and_the_ends_are_ends() {
        use Step::{AcceptCopyLoss, AcceptLoss, AddReplica, Archive, PlanCopy};
        let rank = |s: SegmentState| SegmentState::ALL.iter().position(|x| *x == s);
        for from in SegmentState::ALL {
            for step in Step::ALL {
                if let Rule::To(to) = rule(from, step) {
                    let stays =
                        matches!(step, AddReplica | PlanCopy | AcceptLoss | AcceptCopyLoss | Archive) && to == from;
                    assert!(rank(to) > rank(from) || stays, "{from} {step}");
                    assert!(from != SegmentState::Lost);
                }
            }
        }
    }
}

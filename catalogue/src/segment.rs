//! The life of a segment: `Open -> (Recovering) -> Sealed -> Trimmed`, and `Lost`, which only an operator sets.
//!
//! **Owns** the table of transitions. **Invariants.** I1: nothing leads back. I2: Trimmed and Lost are ends.
//! **Not here**: what a command must say besides (`apply.rs`).

use std::fmt;

use gophership_vault::ids::{Epoch, SegmentId};
use gophership_vault::ledger::{KnownSegment, OpenRecord, SealRecord};

/// What the catalogue keeps of a segment. A trimmed one has no record: its index is below its shard's `next_index`, and not in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentRecord {
    /// Taking entries.
    Open {
        /// By whom, in which file.
        open: OpenRecord,
        /// Since when, nanoseconds since the Unix epoch.
        opened_ns: u64,
    },
    /// Its writer is gone; someone finds out where it ends.
    Recovering {
        /// Who wrote it, in which file.
        open: OpenRecord,
        /// When it was opened.
        opened_ns: u64,
        /// When its recovery began.
        since_ns: u64,
    },
    /// Complete.
    Sealed(SealRecord),
    /// Given up by an operator.
    Lost {
        /// What it was before.
        was: KnownSegment,
        /// When it was given up.
        lost_ns: u64,
    },
}

impl SegmentRecord {
    /// Which segment.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => open.id,
            Self::Sealed(seal) => seal.id,
            Self::Lost { was, .. } => was.id(),
        }
    }

    /// The boot that wrote it.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => open.epoch,
            Self::Sealed(seal) => seal.epoch,
            Self::Lost {
                was: KnownSegment::Open(open),
                ..
            } => open.epoch,
            Self::Lost {
                was: KnownSegment::Sealed(seal),
                ..
            } => seal.epoch,
        }
    }

    /// Its state.
    pub fn state(&self) -> SegmentState {
        match self {
            Self::Open { .. } => SegmentState::Open,
            Self::Recovering { .. } => SegmentState::Recovering,
            Self::Sealed(_) => SegmentState::Sealed,
            Self::Lost { .. } => SegmentState::Lost,
        }
    }

    /// As the vault knows it. One that is lost is known as what it was: the vault removes what it does not know.
    pub fn known(&self) -> KnownSegment {
        match self {
            Self::Open { open, .. } | Self::Recovering { open, .. } => KnownSegment::Open(*open),
            Self::Sealed(seal) => KnownSegment::Sealed(*seal),
            Self::Lost { was, .. } => *was,
        }
    }
}

/// Where a segment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Its index was never used.
    Unopened,
    /// Taking entries.
    Open,
    /// Someone finds out where it ends.
    Recovering,
    /// Complete.
    Sealed,
    /// Its bytes are given up; or its index was passed over and will never be used.
    Trimmed,
    /// Given up by an operator.
    Lost,
}

impl SegmentState {
    /// Every state there is.
    pub const ALL: [Self; 6] = [
        Self::Unopened,
        Self::Open,
        Self::Recovering,
        Self::Sealed,
        Self::Trimmed,
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
            Self::Lost => "Lost",
        })
    }
}

/// What a command does to a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `Open`
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
    /// `MarkLost`
    MarkLost,
}

impl Step {
    /// Every step there is.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::BeginRecovery,
        Self::Seal,
        Self::TrimEmpty,
        Self::TrimRetention,
        Self::TrimDropped,
        Self::MarkLost,
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
            Self::MarkLost => "MarkLost",
        })
    }
}

/// What a step means in a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// It leads there.
    To(SegmentState),
    /// It was done before: nothing changes and the answer is the same.
    Same,
    /// It does not apply.
    Refuse,
}

/// The table of transitions.
pub fn rule(from: SegmentState, step: Step) -> Rule {
    use Rule::{Refuse, Same, To};
    use SegmentState::{Lost, Open, Recovering, Sealed, Trimmed, Unopened};
    match (from, step) {
        (Unopened, Step::Open) => To(Open),
        (Open, Step::BeginRecovery) => To(Recovering),
        (Open | Recovering, Step::Seal) => To(Sealed),
        (Open | Recovering | Sealed, Step::TrimEmpty) => To(Trimmed),
        (Sealed, Step::TrimRetention | Step::TrimDropped) => To(Trimmed),
        (Open | Recovering | Sealed, Step::MarkLost) => To(Lost),

        (Open, Step::Open)
        | (Recovering, Step::BeginRecovery)
        | (Sealed, Step::Seal)
        | (Trimmed, Step::TrimEmpty | Step::TrimRetention | Step::TrimDropped)
        | (Lost, Step::MarkLost) => Same,

        (
            Unopened,
            Step::BeginRecovery
            | Step::Seal
            | Step::TrimEmpty
            | Step::TrimRetention
            | Step::TrimDropped
            | Step::MarkLost,
        )
        | (Open, Step::TrimRetention | Step::TrimDropped)
        | (Recovering, Step::Open | Step::TrimRetention | Step::TrimDropped)
        | (Sealed, Step::Open | Step::BeginRecovery)
        | (Trimmed, Step::Open | Step::BeginRecovery | Step::Seal | Step::MarkLost)
        | (
            Lost,
            Step::Open | Step::BeginRecovery | Step::Seal | Step::TrimEmpty | Step::TrimRetention | Step::TrimDropped,
        ) => Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_transitions_is_this_one() {
        //                      Open    BeginRecovery Seal      TrimEmpty TrimRetention TrimDropped MarkLost
        let expected = "
            Unopened   Open    -          -      -       -       -       -
            Open       same    Recovering Sealed Trimmed -       -       Lost
            Recovering -       same       Sealed Trimmed -       -       Lost
            Sealed     -       -          same   Trimmed Trimmed Trimmed Lost
            Trimmed    -       -          -      same    same    same    -
            Lost       -       -          -      -       -       -       same";
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
        let rank = |s: SegmentState| SegmentState::ALL.iter().position(|x| *x == s);
        for from in SegmentState::ALL {
            for step in Step::ALL {
                if let Rule::To(to) = rule(from, step) {
                    assert!(rank(to) > rank(from), "{from} {step}");
                    assert!(!matches!(from, SegmentState::Trimmed | SegmentState::Lost));
                }
            }
        }
    }
}

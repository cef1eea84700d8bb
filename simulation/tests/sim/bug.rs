//! Bugs that can be planted in the drivers, one at a time: each breaks a rule of replication, and the oracle must see
//! it. A checker that catches none of them would show nothing.

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// One copy is enough for an acknowledgement.
    AckAtOneCopy,
    /// A mark in a segment counts for those who have the same place in the sets of earlier ones.
    MarkOverSets,
    /// A segment is acknowledged before enough nodes have all of those before it.
    NextBeforeAll,
    /// A replica answers for a frame before it syncs it.
    AnswerBeforeSync,
    /// An owner lists a holder that has not completed the segment.
    SealWithOneHolder,
    /// A recovery counts a holder that has not made its copy.
    RecoverWithOneHolder,
    /// A node reports to a recovery, and takes from the owner as before.
    FenceIgnored,
    /// What a node promised is gone when it starts again.
    FenceForgotten,
    /// A holder obeys a recovery of any number, and so does the catalogue.
    NumberIgnored,
    /// One report of a replica is enough.
    OneReport,
    /// That a copy was cut off where it could not be read is forgotten.
    DoubtForgotten,
}

impl Bug {
    /// Every bug there is.
    pub(crate) const ALL: [Self; 11] = [
        Self::AckAtOneCopy,
        Self::MarkOverSets,
        Self::NextBeforeAll,
        Self::AnswerBeforeSync,
        Self::SealWithOneHolder,
        Self::RecoverWithOneHolder,
        Self::FenceIgnored,
        Self::FenceForgotten,
        Self::NumberIgnored,
        Self::OneReport,
        Self::DoubtForgotten,
    ];
}

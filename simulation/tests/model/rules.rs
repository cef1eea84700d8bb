//! The rules of replication, each of which can be switched off. A rule that is off makes a mutant of the model; a
//! search that finds nothing wrong with it would show that the rule is not needed, or that the model does not see.

/// A rule of replication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// The replica set of a segment stays as it was opened until the segment is sealed.
    SetIsFixed,
    /// One epoch writes a segment: a new one never continues an old file.
    OneEpochWrites,
    /// A new epoch is the new epoch of all shards of its owner.
    OneEpochForAllShards,
    /// An entry is acknowledged only when the owner has synced it.
    AckNeedsOwner,
    /// An entry is acknowledged only when a replica has synced it.
    AckNeedsReplica,
    /// Nothing of a segment is acknowledged before enough holders have all of every earlier one.
    EarlierSegmentsFirst,
    /// A mark belongs to a segment and a node, and not to a place in a list of replicas.
    MarksBySegment,
    /// A replica answers only for what it has synced.
    AnswerAfterSync,
    /// A frame that was torn by a power cut is gone as a whole.
    TornFrameIsGone,
    /// A frame that begins like one that is here and ends elsewhere is not taken for the same.
    DifferingFrameIsRefused,
    /// A replica that has less than it answered for says so when its stream begins anew, and its mark goes back.
    RestartLowersMark,
    /// A replica's merge of small frames keeps them until the new file is synced.
    MergeKeepsFrames,
    /// The owner seals a segment only when enough nodes have all of it.
    SealNeedsCopies,
    /// The owner seals a segment only when it takes no more entries.
    SealedTakesNoMore,
    /// A holder that a seal lists has all of the segment.
    HolderHasAll,
    /// A closed segment that lacks holders is copied to a node outside its set.
    SubstituteForLostReplica,
    /// The answer of a node outside the set counts for no acknowledgement.
    SubstituteAcksNothing,
    /// Replicas refuse the orders of a recovery with a lower number than they have seen.
    ReplicasKeepNumber,
    /// The owner refuses the orders of a recovery with a lower number than it has seen.
    OwnerKeepsNumber,
    /// A recovery seals only while its number is the newest on record.
    SealComparesNumber,
    /// A promise to a recovery is synced before it is answered.
    PromiseIsSynced,
    /// A replica fences a segment, also one that it has never seen.
    UnseenIsFenced,
    /// The nodes of the set that was recorded when the segment was opened report, and no others.
    SetReports,
    /// With the owner absent a recovery needs so many reports that no acknowledged entry is in none.
    EnoughReports,
    /// A recovery keeps the union of all reports.
    UnionOfReports,
    /// A recovery seals only what enough nodes have.
    RecoveryNeedsCopies,
    /// A recovery may copy to a node outside the segment's set.
    RecoveryCopiesAnywhere,
    /// A replica that lost its disk is absent, and does not report that it has nothing.
    LostReplicaIsAbsent,
    /// An owner that lost its disk is absent, and does not report that it has nothing.
    LostOwnerIsAbsent,
    /// The mark that a returning owner's WAL must reach is what the owner had synced, and not what a replica had.
    MarkIsTheOwners,
    /// An owner that finds itself fenced while it is alive takes a new epoch.
    FencedTakesNewEpoch,
}

impl Rule {
    /// Every rule there is.
    pub(crate) const ALL: [Self; 31] = [
        Self::SetIsFixed,
        Self::OneEpochWrites,
        Self::OneEpochForAllShards,
        Self::AckNeedsOwner,
        Self::AckNeedsReplica,
        Self::EarlierSegmentsFirst,
        Self::MarksBySegment,
        Self::AnswerAfterSync,
        Self::TornFrameIsGone,
        Self::DifferingFrameIsRefused,
        Self::RestartLowersMark,
        Self::MergeKeepsFrames,
        Self::SealNeedsCopies,
        Self::SealedTakesNoMore,
        Self::HolderHasAll,
        Self::SubstituteForLostReplica,
        Self::SubstituteAcksNothing,
        Self::ReplicasKeepNumber,
        Self::OwnerKeepsNumber,
        Self::SealComparesNumber,
        Self::PromiseIsSynced,
        Self::UnseenIsFenced,
        Self::SetReports,
        Self::EnoughReports,
        Self::UnionOfReports,
        Self::RecoveryNeedsCopies,
        Self::RecoveryCopiesAnywhere,
        Self::LostReplicaIsAbsent,
        Self::LostOwnerIsAbsent,
        Self::MarkIsTheOwners,
        Self::FencedTakesNewEpoch,
    ];
}

/// The rules that hold: all, or all but one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rules {
    off: Option<Rule>,
}

impl Rules {
    pub(crate) const WHOLE: Self = Self { off: None };

    pub(crate) fn without(rule: Rule) -> Self {
        Self { off: Some(rule) }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.off != Some(rule)
    }
}

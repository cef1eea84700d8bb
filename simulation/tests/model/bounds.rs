//! The bounds of a search: which segments there are, how much is appended, which faults happen and how often.

use super::content::Nodes;

/// A segment that the owner opens when it is granted `epoch`. Segments of one shard are in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) shard: usize,
    pub(crate) epoch: u8,
    pub(crate) set: Nodes,
}

const fn opening(shard: usize, epoch: u8, replicas: &[usize]) -> Opening {
    Opening {
        shard,
        epoch,
        set: Nodes::replicas(replicas),
    }
}

/// One segment of three copies.
pub(crate) const ONE_SEGMENT: &[Opening] = &[opening(0, 1, &[1, 2])];
/// One segment of two copies: the owner's and one more.
pub(crate) const ONE_REPLICA: &[Opening] = &[opening(0, 1, &[1])];
/// A segment and its spare, of two copies each, on different replicas.
pub(crate) const A_ROLL_OF_TWO_COPIES: &[Opening] = &[opening(0, 1, &[1]), opening(0, 1, &[2])];
/// A segment and its spare, of three copies each. The set changes at the roll.
pub(crate) const A_ROLL: &[Opening] = &[opening(0, 1, &[1, 2]), opening(0, 1, &[1, 3])];
/// A segment, and one of the epoch that follows.
pub(crate) const TWO_EPOCHS: &[Opening] = &[opening(0, 1, &[1, 2]), opening(0, 2, &[2, 3])];
/// A roll, and a segment of the epoch that follows.
pub(crate) const A_ROLL_AND_A_RESTART: &[Opening] =
    &[opening(0, 1, &[1, 2]), opening(0, 1, &[1, 3]), opening(0, 2, &[2, 3])];
/// A segment of each of two shards.
pub(crate) const TWO_SHARDS: &[Opening] = &[opening(0, 1, &[1]), opening(1, 1, &[2])];

/// The bounds of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) segments: &'static [Opening],
    /// Entries that are appended in all.
    pub(crate) appends: u8,
    /// Entries that a segment takes.
    pub(crate) segment_entries: u8,
    /// Entries that a tail frame has at most.
    pub(crate) frame_entries: u8,
    /// Leaders that recover one after the other.
    pub(crate) leaders: u8,
    /// Kills and power cuts of one node or of all.
    pub(crate) crashes: u8,
    /// Nodes that are lost for good.
    pub(crate) losses: u8,
    /// Replicas that lose something they had synced, and come back.
    pub(crate) forgotten: u8,
    /// A power cut leaves any of the owner's unsynced entries, and not only the first of them.
    pub(crate) holes: bool,
    /// The owner can be killed, so that what it did not sync stays, and is lost by a later power cut.
    pub(crate) owner_kill: bool,
    /// The leader may take a live owner for dead.
    pub(crate) live_recovery: bool,
    /// An answer may arrive long after it was given.
    pub(crate) late_answers: bool,
}

impl Bounds {
    /// One entry, one crash, one loss, one leader.
    pub(crate) const SMALL: Self = Self {
        segments: ONE_SEGMENT,
        appends: 1,
        segment_entries: 2,
        frame_entries: 1,
        leaders: 1,
        crashes: 1,
        losses: 1,
        forgotten: 0,
        holes: true,
        owner_kill: true,
        live_recovery: true,
        late_answers: false,
    };

    /// The newest epoch that opens segments.
    pub(crate) fn last_epoch(&self) -> u8 {
        self.segments.iter().map(|opening| opening.epoch).max().unwrap_or(0)
    }
}

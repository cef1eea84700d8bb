//! Decides which segment is verified next. A round goes through all sealed segments that the node holds, in the order
//! of their names; so the one that was verified longest ago comes first.
//!
//! **Invariants**:
//! - I1: a round verifies each segment once that is held from its begin to its end, over restarts too.
//! - I2: a round begins `interval` after the one before began, or when that is over, where it took longer.

use std::time::Duration;

use gophership_vault::ids::SegmentId;
use serde::{Deserialize, Serialize};

/// How far the verification of all segments is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Time of its begin by the vault's clock, seconds since the Unix epoch.
    pub begun_s: u64,
    /// The last segment that it has verified.
    pub done_to: Option<SegmentId>,
    /// True once it has verified all.
    pub is_over: bool,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A new round.
    Begin(Round),
    /// The verification of a segment.
    Verify(SegmentId),
    /// The round has verified all.
    End(Round),
    /// Nothing now.
    Nothing,
}

/// Decides what is due at `now_s`. `next` gives the first sealed segment behind another one, or of all.
pub fn due(
    round: Option<Round>,
    now_s: u64,
    interval: Duration,
    next: impl FnOnce(Option<SegmentId>) -> Option<SegmentId>,
) -> Due {
    let new = Round {
        begun_s: now_s,
        done_to: None,
        is_over: false,
    };
    let Some(round) = round else {
        return Due::Begin(new);
    };
    if !round.is_over {
        return next(round.done_to).map_or(Due::End(Round { is_over: true, ..round }), Due::Verify);
    }
    let since = now_s.checked_sub(round.begun_s).map(Duration::from_secs);
    // A clock that was set back says nothing.
    if since.is_none_or(|since| since >= interval) {
        Due::Begin(new)
    } else {
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{NodeId, SegmentIndex, ShardId};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(100);

    fn id(index: u32) -> SegmentId {
        SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    fn round(done_to: Option<u32>, is_over: bool) -> Round {
        Round {
            begun_s: 1_000,
            done_to: done_to.map(id),
            is_over,
        }
    }

    /// What is due where the segments 2, 4 and 6 are held.
    fn at(round: Option<Round>, now_s: u64) -> Due {
        due(round, now_s, INTERVAL, |after| {
            [2, 4, 6]
                .map(id)
                .into_iter()
                .find(|id| after.is_none_or(|after| *id > after))
        })
    }

    #[test]
    fn i1_a_round_goes_on_behind_the_last_segment_that_it_has_verified() {
        let ended = Due::End(round(Some(6), true));
        for (done_to, is_due) in [
            (None, Due::Verify(id(2))),
            (Some(2), Due::Verify(id(4))),
            // It was trimmed meanwhile.
            (Some(3), Due::Verify(id(4))),
            (Some(6), ended),
        ] {
            assert_eq!(at(Some(round(done_to, false)), 1_000_000), is_due, "{done_to:?}");
        }
    }

    #[test]
    fn i2_rounds_begin_an_interval_apart_and_one_that_took_longer_is_ended_first() {
        let begun = |begun_s| {
            Due::Begin(Round {
                begun_s,
                done_to: None,
                is_over: false,
            })
        };
        assert_eq!(at(None, 5), begun(5), "the first");
        let over = Some(round(Some(6), true));
        assert_eq!(at(over, 1_099), Due::Nothing);
        assert_eq!(at(over, 1_100), begun(1_100));
        assert_eq!(at(over, 999), begun(999), "the clock of an older catalogue");
    }
}

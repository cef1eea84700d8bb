//! Segments of which no object could be made, and which are left alone for a while.
//!
//! **Invariants**:
//! - I1: a segment that cannot be read holds no other one back.
//! - I2: a lease that was lost or refused is left alone for at least as long as the failed try took, and for longer
//!   each time. So where two nodes take each other for dead, one of them can finish.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gophership_archiver::round::ObjectEnding;
use gophership_catalogue::State;
use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::SegmentId;

use super::limits::{LEFT_ALONE, LOST_MAX};
use super::object::{Made, Why};
use crate::sink::Backoff;

/// The segments that are left alone (see the module).
#[derive(Debug, Default)]
pub(super) struct LeftAlone {
    /// Segments that could not be read, each with the time of the failure.
    unreadable: HashMap<SegmentId, Instant>,
    /// Segments whose lease was lost or refused, until they are in a committed object.
    lost_leases: HashMap<SegmentId, LostLease>,
}

#[derive(Clone, Debug, Default)]
struct LostLease {
    backoff: Backoff,
    times: u32,
    until: Option<Instant>,
    why: String,
}

impl LeftAlone {
    /// Notes how a try to make an object of these segments ended. `took` is the duration of the try.
    pub(super) fn ended(&mut self, members: &[SegmentId], made: &Made, took: Duration, now: Instant) {
        match (made.ending, &made.why) {
            (ObjectEnding::Doomed, Some(Why { segment, .. })) => {
                let is_bad = |id: &&SegmentId| segment.is_none_or(|bad| bad == **id);
                let bad = members.iter().filter(is_bad);
                self.unreadable.extend(bad.map(|id| (*id, now)));
            }
            (ObjectEnding::Lost | ObjectEnding::Refused, why) => {
                let before = members.iter().filter_map(|id| self.lost_leases.get(id));
                let mut lost = before.max_by_key(|lost| lost.times).cloned().unwrap_or_default();
                lost.times = lost.times.saturating_add(1);
                lost.until = Some(now + lost.backoff.next(Some(took)));
                lost.why = why.as_ref().map(|why| why.text.clone()).unwrap_or_default();
                self.lost_leases.extend(members.iter().map(|id| (*id, lost.clone())));
            }
            (ObjectEnding::Doomed | ObjectEnding::Committed, _) => {}
        }
    }

    /// Forgets segments that could not be read once their time is over, and lost leases once their segments are in a
    /// committed object, or are gone.
    pub(super) fn forget_past(&mut self, state: &State, now: Instant) {
        self.unreadable
            .retain(|_, at| now.saturating_duration_since(*at) < LEFT_ALONE);
        let is_owed = |id: SegmentId| match state.archive_of(id) {
            Some((_, object)) => object.state == ObjectState::Leased,
            None => state.segment(id).is_some(),
        };
        self.lost_leases.retain(|id, _| is_owed(*id));
    }

    /// True where no object is to be made of a segment now.
    pub(super) fn has(&self, id: SegmentId, now: Instant) -> bool {
        self.unreadable.contains_key(&id) || self.is_lease_left_alone(id, now)
    }

    /// True where the lease of a segment is not to be taken now.
    pub(super) fn is_lease_left_alone(&self, id: SegmentId, now: Instant) -> bool {
        let until = self.lost_leases.get(&id).and_then(|lost| lost.until);
        until.is_some_and(|until| now < until)
    }

    /// The number of segments that are left alone since they could not be read, and that are kept until they are
    /// archived. Of one whose loss was accepted nobody is to be told again.
    pub(super) fn unreadable(&self, state: &State) -> u64 {
        let is_owed = |id: &&SegmentId| match state.segment(**id) {
            Some(SegmentRecord::Sealed(seal)) => state.owes_archive(&seal),
            Some(_) | None => false,
        };
        self.unreadable.keys().filter(is_owed).count() as u64
    }

    /// The message to an operator about the lease that was lost or refused most often; `None` below [`LOST_MAX`] times.
    pub(super) fn fault(&self) -> Option<String> {
        let often = self.lost_leases.iter().filter(|(_, lost)| lost.times >= LOST_MAX);
        let (id, lost) = often.max_by_key(|(id, lost)| (lost.times, **id))?;
        let (times, why) = (lost.times, &lost.why);
        Some(format!(
            "segment {id}: its lease was lost or refused {times} times, at last: {why}; it is tried again, later each \
             time. Where another node takes it, see that the two reach each other at their peer addresses"
        ))
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::setting::ARCHIVE_URL;
    use gophership_catalogue::testkit::{accepted_loss, open, register, seal_record, segment, up};
    use gophership_catalogue::{Command, apply};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn made(ending: ObjectEnding, segment: Option<SegmentId>) -> Made {
        let text = "lease 1 is not held".to_owned();
        Made {
            ending,
            why: Some(Why { segment, text }),
        }
    }

    fn ids() -> [SegmentId; 3] {
        [1, 2, 3].map(|index| segment(3, 0, index))
    }

    #[test]
    fn i1_of_a_group_only_the_segment_that_cannot_be_read_is_left_alone() {
        let (now, ids) = (Instant::now(), ids());
        let left_alone = |segment| {
            let mut left = LeftAlone::default();
            left.ended(&ids, &made(ObjectEnding::Doomed, segment), SECOND, now);
            ids.map(|id| left.has(id, now))
        };
        assert_eq!(left_alone(Some(ids[1])), [false, true, false]);
        assert_eq!(left_alone(None), [true; 3], "whatever it was, it was not one of them");
    }

    #[test]
    fn only_a_segment_whose_loss_was_not_accepted_is_told_as_unreadable() {
        let (mut state, ids) = (State::default(), ids());
        let archive = Command::SetConfig {
            key: ARCHIVE_URL.to_owned(),
            value: Some("s3://logs".to_owned()),
            seen: None,
            at_ns: 1,
        };
        let nodes = (1..=3).flat_map(|n| [register(n), up(n.into(), n)]);
        let sealed = ids.map(|id| {
            [
                open(id, 1),
                Command::Seal {
                    seal: seal_record(id, 1, 2),
                },
            ]
        });
        let loss = accepted_loss("op", 9, 1);
        let accepted = Command::AcceptCopyLoss {
            id: ids[0],
            loss,
            asked: None,
        };
        for command in nodes
            .chain([archive])
            .chain(sealed.into_iter().flatten())
            .chain([accepted])
        {
            apply(&mut state, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
        let mut left = LeftAlone::default();
        for id in &ids[..2] {
            left.ended(&ids, &made(ObjectEnding::Doomed, Some(*id)), SECOND, Instant::now());
        }
        assert_eq!(left.unreadable(&state), 1);
    }

    #[test]
    fn i2_a_lease_that_is_lost_is_left_alone_for_longer_each_time_and_is_a_fault_after_several() {
        let (mut now, ids) = (Instant::now(), ids());
        let mut left = LeftAlone::default();
        for (n, ceiling) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let ending = [ObjectEnding::Lost, ObjectEnding::Refused][n % 2];
            left.ended(&ids, &made(ending, None), Duration::ZERO, now);
            assert!(left.is_lease_left_alone(ids[2], now + SECOND * ceiling / 2 - SECOND / 1000));
            now += SECOND * ceiling;
            assert!(!left.has(ids[2], now));
            let fault = left.fault();
            assert_eq!(fault.is_some(), n + 1 >= LOST_MAX as usize, "{fault:?}");
            assert!(fault.is_none_or(|fault| fault.contains("segment 3/0/3") && fault.contains("lease 1 is not held")));
        }
        // The pause is as long as the try took, so a node that began at the same time can have finished.
        left.ended(&ids, &made(ObjectEnding::Lost, None), SECOND * 600, now);
        assert!(left.has(ids[0], now + SECOND * 599) && !left.has(ids[0], now + SECOND * 600));
        // Segments that are gone are forgotten.
        left.forget_past(&State::default(), now);
        assert_eq!((left.fault(), left.has(ids[0], now)), (None, false));
    }
}

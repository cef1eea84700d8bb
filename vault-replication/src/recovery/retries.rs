//! Pauses between attempts at what failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gophership_vault::ids::SegmentId;

use crate::limits::MEND_PAUSE;

/// The attempts at segments that failed.
#[derive(Default)]
pub(super) struct Retries(BTreeMap<SegmentId, Attempt>);

struct Attempt {
    error: String,
    pause: Duration,
    next: Instant,
}

impl Retries {
    /// True where an attempt may be made at `now`.
    pub(super) fn is_due(&self, id: SegmentId, now: Instant) -> bool {
        self.0.get(&id).is_none_or(|attempt| attempt.next <= now)
    }

    /// Notes that an attempt failed; says whether the error is another one than before.
    pub(super) fn failed(&mut self, id: SegmentId, error: String, now: Instant) -> bool {
        let before = self.0.remove(&id);
        let (shortest, longest) = MEND_PAUSE;
        let pause = before
            .as_ref()
            .map_or(shortest, |before| (before.pause * 2).min(longest));
        let is_new = before.is_none_or(|before| before.error != error);
        let next = now + pause;
        self.0.insert(id, Attempt { error, pause, next });
        is_new
    }

    /// Forgets all but these segments.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(SegmentId) -> bool) {
        self.0.retain(|id, _| is_wanted(*id));
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{NodeId, SegmentIndex, ShardId};

    use super::*;

    #[test]
    fn each_failure_doubles_the_pause_up_to_a_bound_and_an_error_is_new_once() {
        let id = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        assert!(retries.is_due(id, now));
        let mut pause = MEND_PAUSE.0;
        for n in 0..20 {
            assert_eq!(retries.failed(id, "why".to_owned(), now), n == 0);
            assert!(!retries.is_due(id, now + pause - Duration::from_nanos(1)));
            now += pause;
            assert!(retries.is_due(id, now));
            pause = (pause * 2).min(MEND_PAUSE.1);
        }
        assert!(retries.failed(id, "why else".to_owned(), now));
        retries.retain(|_| false);
        assert!(retries.is_due(id, now));
    }
}

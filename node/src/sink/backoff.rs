//! Pauses of a sender after answers that may be retried: longer each time, with jitter, and at least as long as the
//! sink asks.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::limits::{BACKOFF_MAX, BACKOFF_MIN, PAUSE_ASKED_MAX};

/// The pauses between attempts at one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after another failure.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        // Between half of the pause and all of it.
        let random = (RandomState::new().hash_one(0u8) % 1001) as u32;
        let pause = ceiling / 2 + ceiling / 2 * random / 1000;
        pause.max(asked.unwrap_or_default().min(PAUSE_ASKED_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_maximum() {
        let mut backoff = Backoff::default();
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = backoff.next(None);
            let ceiling = Duration::from_secs(ceiling);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} of {ceiling:?}");
        }
    }

    #[test]
    fn a_sink_is_given_the_time_it_asks_for() {
        assert_eq!(
            Backoff::default().next(Some(Duration::from_secs(90))),
            Duration::from_secs(90)
        );
        assert!(Backoff::default().next(Some(Duration::from_millis(1))) >= BACKOFF_MIN / 2);
        assert_eq!(Backoff::default().next(Some(Duration::MAX)), PAUSE_ASKED_MAX);
    }
}

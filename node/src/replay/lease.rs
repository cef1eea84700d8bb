//! The time for which a job sends without an answer of its cluster's catalogue. Behind it another node may have taken
//! the job over.
//!
//! **Invariants**:
//! - I1: nothing is sent when the newest answer was asked for longer ago than the lease lasts.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::limits::{COMMIT_INTERVAL, RENEWALS};

/// A lease, which each answer of the catalogue renews.
#[derive(Debug)]
pub(super) struct Lease {
    /// Its length; without an end where `None`, as on a single node.
    lasts: Option<Duration>,
    /// The time at which the newest answer was asked for.
    asked: watch::Sender<Instant>,
}

impl Lease {
    pub(super) fn new(lasts: Option<Duration>, asked: Instant) -> Self {
        let (asked, _) = watch::channel(asked);
        Self { lasts, asked }
    }

    /// The interval at which it is to be renewed.
    pub(super) fn interval(&self) -> Duration {
        self.lasts
            .map_or(COMMIT_INTERVAL, |lasts| COMMIT_INTERVAL.min(lasts / RENEWALS))
    }

    /// Renews it by an answer that was asked for at `asked`.
    pub(super) fn renew(&self, asked: Instant) {
        self.asked.send_replace(asked);
    }

    fn holds(&self, now: Instant) -> bool {
        let asked = *self.asked.borrow();
        self.lasts
            .is_none_or(|lasts| now.saturating_duration_since(asked) < lasts)
    }

    /// Waits until it holds; calls `waits` where it does not.
    pub(super) async fn held(&self, waits: impl FnOnce()) {
        if self.holds(Instant::now()) {
            return;
        }
        waits();
        let mut renewed = self.asked.subscribe();
        while !self.holds(Instant::now()) && renewed.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_lease_holds_from_the_asking_for_its_length() {
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let lease = Lease::new(Some(Duration::from_secs(4)), now);
        assert_eq!(lease.interval(), Duration::from_secs(1));
        assert_eq!(
            [0, 3, 4, 60].map(|secs| lease.holds(at(secs))),
            [true, true, false, false]
        );
        lease.renew(at(50));
        assert_eq!([53, 54].map(|secs| lease.holds(at(secs))), [true, false]);
        assert!(Lease::new(None, now).holds(at(1 << 20)));
        assert_eq!(
            Lease::new(Some(Duration::from_secs(600)), now).interval(),
            COMMIT_INTERVAL
        );
    }
}

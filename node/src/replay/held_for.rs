//! The time that a term has before a takeover ends it.

use std::time::Duration;

use super::limits::{TAKEOVER_HOLD_MAX, TAKEOVER_INTERVAL};

/// The time for which a term must have been seen before it is ended by a takeover: longer with each.
pub(crate) fn held_for(term: u64) -> Duration {
    let doublings = u32::try_from(term).unwrap_or(u32::MAX).min(16);
    (TAKEOVER_INTERVAL * ((1 << doublings) - 1)).min(TAKEOVER_HOLD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_takeover_gives_a_job_more_time_up_to_a_bound() {
        let secs = [0, 1, 2, 3, 4, 5, u64::MAX].map(|term| held_for(term).as_secs());
        assert_eq!(secs, [0, 2, 6, 14, 30, 60, 60]);
    }
}

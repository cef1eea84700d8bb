//! The pause of a tail stream before it tries again: longer after each failure, and never the same on two nodes.

use std::time::Duration;

use crate::limits::{TAIL_BACKOFF_MAX, TAIL_BACKOFF_MIN};

/// The pause after so many failures in a row. `chance` is any number, by which it is up to a half shorter.
pub(super) fn backoff(failures: u32, chance: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = (TAIL_BACKOFF_MIN * 2_u32.pow(doublings)).min(TAIL_BACKOFF_MAX);
    let shorter = longest.as_millis() as u64 / 2;
    longest - Duration::from_millis(chance % (shorter + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_to_its_longest_and_is_at_least_half_of_it() {
        for (failures, longest) in [(0, 100), (1, 100), (2, 200), (3, 400), (7, 5000), (u32::MAX, 5000)] {
            assert_eq!(backoff(failures, 0), Duration::from_millis(longest));
            let chances = [1, 77, 12_345, u64::MAX];
            let each = chances.map(|chance| backoff(failures, chance).as_millis() as u64);
            assert!(each.iter().all(|ms| (longest / 2..=longest).contains(ms)), "{each:?}");
        }
    }
}

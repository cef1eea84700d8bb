//! The pace of work that goes on beside a node: until it is stopped, and no faster than a rate.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// True once the work is stopped; it waits for that so long.
pub(crate) fn is_stopped(stopped: &Receiver<()>, within: Duration) -> bool {
    !matches!(stopped.recv_timeout(within), Err(RecvTimeoutError::Timeout))
}

/// The pause after which `bytes`, taken in `elapsed`, are no more than `rate` a second.
pub(crate) fn rest(bytes: u64, elapsed: Duration, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_too_fast_is_waited_for() {
        let second = Duration::from_secs(1);
        assert_eq!(rest(0, Duration::ZERO, 10), Duration::ZERO);
        assert_eq!(rest(20, second, 10), second);
        assert_eq!(rest(10, second, 10), Duration::ZERO);
        assert_eq!(rest(5, second, 10), Duration::ZERO);
    }
}

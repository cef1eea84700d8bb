//! Waits of a recovery for temporary faults.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two attempts at an operation with a temporary fault (a full disk, a catalogue without a leader).
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Interval at which a wait checks for the end of the vault.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// The time that a recovery waits for a temporary fault to pass.
pub(super) enum Patience<'a> {
    /// No time.
    None,
    /// Until this function says that the vault is stopping.
    Until(&'a dyn Fn() -> bool),
}

impl Patience<'_> {
    pub(super) fn is_stopping(&self) -> bool {
        match self {
            Self::None => false,
            Self::Until(stopping) => stopping(),
        }
    }

    /// Waits. Returns false where the wait was cut short.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let Self::Until(stopping) = self else { return false };
        let until = Instant::now() + time;
        while Instant::now() < until && !stopping() {
            thread::sleep(STOP_CHECK);
        }
        !stopping()
    }
}

//! The patience of a recovery with what passes.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two tries of what may pass (a full disk, a catalogue without a leader).
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Time between two looks of a wait for the end of the vault.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// The time that a recovery waits for what passes.
pub(super) enum Patience<'a> {
    /// Not at all.
    None,
    /// Until this says that the vault is stopping.
    Until(&'a dyn Fn() -> bool),
}

impl Patience<'_> {
    pub(super) fn is_stopping(&self) -> bool {
        match self {
            Self::None => false,
            Self::Until(stopping) => stopping(),
        }
    }

    /// Waits. Gives `false` where the wait did not come to its end.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let Self::Until(stopping) = self else { return false };
        let until = Instant::now() + time;
        while Instant::now() < until && !stopping() {
            thread::sleep(STOP_LOOK);
        }
        !stopping()
    }
}

//! The control of an exporter by its operator, as its lanes see it.

use std::time::Duration;

use gophership_catalogue::exporter::Generation;
use tokio::sync::watch;

/// The state that an operator has set for an exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Control {
    pub(super) paused: bool,
    /// Raised by a seek.
    pub(super) generation: Generation,
    /// Raised to end a wait at once.
    pub(super) nudge: u64,
    pub(super) stop: bool,
}

/// The receiver of a lane, which sees each change of that state.
#[derive(Clone)]
pub(super) struct ControlReceiver(watch::Receiver<Control>);

impl ControlReceiver {
    pub(super) fn new(control: watch::Receiver<Control>) -> Self {
        Self(control)
    }

    pub(super) fn now(&mut self) -> Control {
        *self.0.borrow_and_update()
    }

    /// Waits for `limit` at most. Returns whether the state changed before that.
    pub(super) async fn wait(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.changed()).await.is_ok()
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is gone: the lane is about to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

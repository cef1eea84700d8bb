//! What an operator has told an exporter, as its lanes see it.

use std::time::Duration;

use gophership_catalogue::exporter::Generation;
use tokio::sync::watch;

/// The orders in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Orders {
    pub(super) paused: bool,
    /// Raised by a seek.
    pub(super) generation: Generation,
    /// Raised to end a wait at once.
    pub(super) nudge: u64,
    pub(super) stop: bool,
}

/// A lane's ear.
#[derive(Clone)]
pub(super) struct Ear(watch::Receiver<Orders>);

impl Ear {
    pub(super) fn new(orders: watch::Receiver<Orders>) -> Self {
        Self(orders)
    }

    pub(super) fn now(&mut self) -> Orders {
        *self.0.borrow_and_update()
    }

    /// Waits, and says whether new orders came before the time was over.
    pub(super) async fn wait(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.changed()).await.is_ok()
    }

    /// Waits for new orders.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Whoever could give any is gone: the lane is about to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

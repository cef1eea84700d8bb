//! Calls into the vault and the catalogue, off the runtime's own threads and only a few at a time.
//!
//! **Invariants**:
//! - I1: a permit is held only while a call reads or writes; a call that may wait for a zone, a recovery or a client
//!   has no permit here.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::OperateError;
use super::limits::BLOCKING_CALLS_MAX;

/// The permits for blocking calls of one kind.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    permits: Arc<Semaphore>,
}

impl Blocking {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(BLOCKING_CALLS_MAX)),
        }
    }

    /// Runs `call` on a thread that may block, once a permit is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let done = spawn_blocking(move || {
            let _permit = permit;
            call()
        });
        done.await.map_err(OperateError::Ended)
    }
}

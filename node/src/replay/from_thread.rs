//! The messages of a thread that reads, for a client that is sent them one by one.
//!
//! **Invariant** I1: a thread that ends abruptly is an error behind its last message, never an end.

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::ReplayError;

/// A thread that may block, and the messages that it sends.
pub(super) struct FromThread<T> {
    messages: mpsc::Receiver<T>,
    /// Until its end was told.
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> FromThread<T> {
    /// Runs `run` on a thread that may block. At most `ahead` messages wait. They are refused once this is dropped.
    pub(super) fn spawn(ahead: usize, run: impl FnOnce(mpsc::Sender<T>) + Send + 'static) -> Self {
        let (sender, messages) = mpsc::channel(ahead);
        Self {
            messages,
            thread: Some(spawn_blocking(move || run(sender))),
        }
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// The thread ended abruptly; nothing follows.
    pub(super) async fn next(&mut self) -> Option<Result<T, ReplayError>> {
        if let Some(message) = self.messages.recv().await {
            return Some(Ok(message));
        }
        let ended = self.thread.take()?.await;
        ended.err().map(|error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i1_a_thread_that_panics_is_an_error_behind_what_it_sent() {
        let mut panics = FromThread::spawn(2, |sender| {
            sender.blocking_send(1).unwrap();
            panic!("a bug");
        });
        assert!(matches!(panics.next().await, Some(Ok(1))));
        let ended = panics.next().await;
        assert!(matches!(ended, Some(Err(ReplayError::Ended(_)))), "{ended:?}");
        assert!(panics.next().await.is_none());

        let mut ends = FromThread::spawn(2, |sender| sender.blocking_send(1).unwrap());
        assert!(matches!(ends.next().await, Some(Ok(1))));
        assert!(ends.next().await.is_none());
    }
}

//! What the requests at a sink share.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::ledger::Ledger;
use super::mode::Mode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

pub(super) struct Shared {
    pub(super) mode: watch::Sender<Mode>,
    pub(super) book: Mutex<Book>,
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    pub(super) requests: BTreeMap<String, u64>,
}

impl Shared {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // A panic that interrupted a count is no reason to lose the rest.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that never completes.
pub(super) async fn never() -> Infallible {
    std::future::pending().await
}

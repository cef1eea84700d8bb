//! The end of a watch: signals, and the outcome.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::watch::Watch;
use crate::out::outcome::{Failure, Outcome};

/// Signals that ask a watch to end.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The outcome of a watch that has seen as much as it was to see: success only where the node answered the last query.
pub(super) fn seen(watch: &Watch) -> anyhow::Result<Outcome> {
    match &watch.silence {
        None => Ok(Outcome::Done),
        Some(silence) => Err(Failure::Unreachable(silence.why.clone()).into()),
    }
}

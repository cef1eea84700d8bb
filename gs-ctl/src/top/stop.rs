//! The end of a watch: signals, and what it then says.

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

/// How a watch ends that has seen as much as it was to: well only where the node answered to the last.
pub(super) fn seen(watch: &Watch) -> anyhow::Result<Outcome> {
    match &watch.silence {
        None => Ok(Outcome::Done),
        Some(silence) => Err(Failure::Unreachable(silence.why.clone()).into()),
    }
}

//! The signals that tell a node to end or to read its configuration again.

use anyhow::Context;
use tokio::signal::unix::{self, SignalKind, signal};

/// The meaning of a signal.
#[derive(PartialEq, Eq)]
pub(super) enum Signal {
    End,
    Reload,
}

pub(super) struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::End,
            _ = self.int.recv() => Signal::End,
            _ = self.hup.recv() => Signal::Reload,
        }
    }

    /// Waits for a signal to end.
    pub(super) async fn end(&mut self) {
        while self.next().await != Signal::End {}
    }
}

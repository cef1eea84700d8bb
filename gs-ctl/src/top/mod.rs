//! `gs-ctl top`: the node, watched.
//!
//! `poll` asks it on a task of its own, so that a node that hangs never holds up a key; `watch` keeps what has come;
//! `figures` are what two answers say together. A `screen` shows them on a terminal, `lines` anywhere else.

mod draw;
mod figures;
mod history;
mod lines;
mod poll;
mod screen;
#[cfg(test)]
mod testkit;
mod watch;

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Context;
pub(crate) use lines::Line;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arg::cli::Top;
use crate::arg::format::Format;
use crate::connect::Client;
use crate::out::outcome::{Failure, Outcome};
use crate::top::poll::Poller;
use crate::top::watch::Watch;

/// Watches until the user, a signal or the count ends it.
///
/// # Errors
/// The node did not answer at all, or there is nowhere to write.
pub(crate) async fn top(node: Client, socket: &Path, asked: &Top, format: Format) -> anyhow::Result<Outcome> {
    let (poller, first) = Poller::start(node, socket.to_owned(), asked.interval.0).await?;
    let watch = Watch::new(first);
    if matches!(format, Format::Table | Format::Wide) && io::stdout().is_terminal() {
        screen::run(watch, poller, asked).await
    } else {
        lines::run(watch, poller, asked, format).await
    }
}

/// Signals that ask a watch to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How a watch ends that has seen as much as it was to: well only where the node answered to the last.
fn seen(watch: &Watch) -> anyhow::Result<Outcome> {
    match &watch.silence {
        None => Ok(Outcome::Done),
        Some(silence) => Err(Failure::Unreachable(silence.why.clone()).into()),
    }
}

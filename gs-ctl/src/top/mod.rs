//! `gs-ctl top`: a continuous view of the node.
//!
//! - `poll` queries it on a task of its own, so that a node that hangs never holds up a key.
//! - `watch` keeps what has come. `figures` computes rates from two answers; `history` keeps the last values.
//! - `screen` and `draw` show them on a terminal, `lines` anywhere else.
//! - `stop` says when they end, and with which outcome.

mod draw;
mod figures;
mod history;
mod lines;
mod poll;
mod screen;
mod stop;
#[cfg(test)]
mod testkit;
mod watch;

use std::io::{self, IsTerminal};
use std::path::Path;

pub(crate) use lines::Line;

use crate::arg::cli::Top;
use crate::arg::format::Format;
use crate::connect::Client;
use crate::out::outcome::Outcome;
use crate::top::poll::Poller;
use crate::top::watch::Watch;

/// Watches until the user, a signal or the count ends it.
///
/// # Errors
///
/// The node did not answer at all, or the output cannot be written.
pub(crate) async fn top(node: Client, socket: &Path, asked: &Top, format: Format) -> anyhow::Result<Outcome> {
    let (poller, first) = Poller::start(node, socket.to_owned(), asked.interval.0).await?;
    let watch = Watch::new(first);
    if matches!(format, Format::Table | Format::Wide) && io::stdout().is_terminal() {
        screen::run(watch, poller, asked).await
    } else {
        lines::run(watch, poller, asked, format).await
    }
}

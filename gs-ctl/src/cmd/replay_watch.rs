//! Watches a replay for whoever started it: a bar on a terminal, a line now and then elsewhere. Says what the replay
//! waits for, and when it is to be given up.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use gophership_proto::control::v1::{StatusRequest, Zone};
use tonic::{Status, Streaming};

use crate::connect::Client;
use crate::out::human;
use crate::out::progress::Bar;

/// How often lines are written.
const LINE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a message is waited for before the watch looks at the clock.
const LOOK: Duration = Duration::from_millis(500);

/// How far a replay is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Far {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) bytes_total: u64,
    /// Grows with every entry that is passed, delivered or not.
    pub(super) place: u64,
}

/// See the module.
pub(super) struct Watch {
    /// What is watched, for lines.
    name: String,
    bar: Bar,
    by_lines: bool,
    timeout: Option<Duration>,
    far: Far,
    moved: Instant,
    /// The last line, and how far the replay was then.
    line: (Instant, Far),
}

impl Watch {
    /// Begins to watch; `draws`: a bar may be drawn where stderr is a terminal.
    pub(super) fn new(name: String, draws: bool, timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            name,
            bar: if draws { Bar::new() } else { Bar::hidden() },
            by_lines: !stderr().is_terminal(),
            timeout,
            far: Far::default(),
            moved: now,
            line: (now, Far::default()),
        }
    }

    /// Shows how far the replay is and what it waits for, and says whether it is to be given up.
    pub(super) async fn show(&mut self, far: Far, remark: &str, node: &mut Client) -> bool {
        let now = Instant::now();
        if (far.place, far.entries) != (self.far.place, self.far.entries) {
            self.moved = now;
        }
        self.far = far;
        self.bar.show(far.bytes, far.bytes_total, remark);
        if self.by_lines && now - self.line.0 >= LINE_INTERVAL {
            let waits = match remark {
                "" if far == self.line.1 => waits_for(node).await,
                remark => remark.to_owned(),
            };
            eprintln!("{}", line(&self.name, far, &waits));
            self.line = (now, far);
        }
        self.timeout.is_some_and(|timeout| now - self.moved >= timeout)
    }

    /// How long nothing has moved.
    pub(super) fn still(&self) -> Duration {
        self.moved.elapsed()
    }

    /// Says something beside the progress.
    pub(super) fn say(&self, text: &str) {
        self.bar.line(text);
    }
}

/// The next message of a stream; `None`: nothing came for a while.
pub(super) async fn next<T>(messages: &mut Streaming<T>) -> Option<Result<Option<T>, Status>> {
    tokio::time::timeout(LOOK, messages.message()).await.ok()
}

fn line(name: &str, far: Far, waits: &str) -> String {
    let total = far.bytes_total.max(far.bytes);
    let waits = if waits.is_empty() {
        String::new()
    } else {
        format!("; {}", human::one_line(waits))
    };
    format!(
        "gs-ctl: {name}: {} entries, {} of about {} ({}){waits}",
        human::count(far.entries),
        human::bytes(far.bytes),
        human::bytes(total),
        human::percent(far.bytes, total)
    )
}

/// What a replay waits for whose sink is in no trouble, as far as the node's status tells.
async fn waits_for(node: &mut Client) -> String {
    let Ok(status) = node.status(StatusRequest {}).await else {
        return "the node does not answer".to_owned();
    };
    let status = status.into_inner();
    let recovering = status.recovery.map_or(0, |r| r.segments_pending);
    if status.zone_status.is_some_and(|zone| zone.zone() == Zone::Red) {
        "the zone is red: it goes on when that is not so any more".to_owned()
    } else if recovering > 0 {
        format!(
            "waiting for {} segments that are being recovered",
            human::count(recovering)
        )
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_what_is_waited_for() {
        let far = Far {
            entries: 12_000,
            bytes: 1 << 20,
            bytes_total: 4 << 20,
            place: 7,
        };
        assert_eq!(
            line("job 3", far, ""),
            "gs-ctl: job 3: 12,000 entries, 1.0 MiB of about 4.0 MiB (25 %)"
        );
        let waits = line("job 3", far, "waiting for the sink:\n refused");
        assert!(waits.ends_with("(25 %); waiting for the sink: refused"), "{waits}");
    }
}

//! Watches a replay for the person who started it: a bar on a terminal, a line now and then elsewhere. It shows what
//! the replay waits for, and says when to give it up.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use gophership_proto::control::v1::{StatusRequest, Zone};
use tonic::{Status, Streaming};

use crate::connect::Client;
use crate::out::human;
use crate::out::progress::Bar;

/// Interval of lines.
const LINE_INTERVAL: Duration = Duration::from_secs(3);
/// Longest time without a line where nothing changes.
const SAME_LINE_INTERVAL: Duration = Duration::from_secs(60);
/// Time to wait for a message before the clock is checked again.
const MESSAGE_WAIT: Duration = Duration::from_millis(500);

/// Progress of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Progress {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) bytes_total: u64,
    /// A number that grows with every entry passed, delivered or not.
    pub(super) moves: u64,
}

/// A watch over one replay (see the module).
pub(super) struct Watch {
    /// Name of the replay, in lines.
    name: String,
    bar: Bar,
    by_lines: bool,
    timeout: Option<Duration>,
    progress: Progress,
    moved: Instant,
    /// Time at which a line was due last, and the progress then.
    line: (Instant, Progress),
    /// The last line that was printed, and its time.
    printed: (Instant, String),
}

impl Watch {
    /// Begins to watch. With `draws` a bar is drawn where stderr is a terminal.
    pub(super) fn new(name: String, draws: bool, timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            name,
            bar: if draws { Bar::new() } else { Bar::hidden() },
            by_lines: !stderr().is_terminal(),
            timeout,
            progress: Progress::default(),
            moved: now,
            line: (now, Progress::default()),
            printed: (now, String::new()),
        }
    }

    /// Shows the progress and what the replay waits for. Returns true where the replay is to be given up.
    pub(super) async fn show(&mut self, progress: Progress, remark: &str, node: &mut Client) -> bool {
        let now = Instant::now();
        if (progress.moves, progress.entries) != (self.progress.moves, self.progress.entries) {
            self.moved = now;
        }
        self.progress = progress;
        self.bar.show(progress.bytes, progress.bytes_total, remark);
        if self.by_lines && now - self.line.0 >= LINE_INTERVAL {
            let waits = match remark {
                "" if progress == self.line.1 => waits_for(node).await,
                remark => remark.to_owned(),
            };
            let line = line(&self.name, progress, &waits);
            if says_more(&line, &self.printed, now) {
                eprintln!("{line}");
                self.printed = (now, line);
            }
            self.line = (now, progress);
        }
        self.timeout.is_some_and(|timeout| now - self.moved >= timeout)
    }

    /// Time for which nothing has moved.
    pub(super) fn still(&self) -> Duration {
        self.moved.elapsed()
    }

    /// Prints a text beside the progress.
    pub(super) fn print(&self, text: &str) {
        self.bar.line(text);
    }
}

/// The next message of a stream; `None` where none came for a while.
pub(super) async fn next<T>(messages: &mut Streaming<T>) -> Option<Result<Option<T>, Status>> {
    tokio::time::timeout(MESSAGE_WAIT, messages.message()).await.ok()
}

/// True where a line is another one than that which was printed last, or that was long ago.
fn says_more(line: &str, (at, printed): &(Instant, String), now: Instant) -> bool {
    line != printed || now - *at >= SAME_LINE_INTERVAL
}

fn line(name: &str, progress: Progress, waits: &str) -> String {
    let total = progress.bytes_total.max(progress.bytes);
    let waits = if waits.is_empty() {
        String::new()
    } else {
        format!("; {}", human::one_line(waits))
    };
    format!(
        "gs-ctl: {name}: {} entries, {} of about {} ({}){waits}",
        human::count(progress.entries),
        human::bytes(progress.bytes),
        human::bytes(total),
        human::percent(progress.bytes, total)
    )
}

/// The reason for which a replay waits although its sink is in no trouble, as far as the node's status shows it.
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
        let progress = Progress {
            entries: 12_000,
            bytes: 1 << 20,
            bytes_total: 4 << 20,
            moves: 7,
        };
        assert_eq!(
            line("job 3", progress, ""),
            "gs-ctl: job 3: 12,000 entries, 1.0 MiB of about 4.0 MiB (25 %)"
        );
        let waits = line("job 3", progress, "waiting for the sink:\n refused");
        assert!(waits.ends_with("(25 %); waiting for the sink: refused"), "{waits}");
    }

    #[test]
    fn a_line_that_says_nothing_new_is_printed_once_a_minute() {
        let begun = Instant::now();
        let printed = (begun, "job 3: 7 entries".to_owned());
        let says_more = |line: &str, seconds| says_more(line, &printed, begun + Duration::from_secs(seconds));
        assert!(!says_more("job 3: 7 entries", 59));
        assert!(says_more("job 3: 8 entries", 3));
        assert!(says_more("job 3: 7 entries", 60));
    }
}

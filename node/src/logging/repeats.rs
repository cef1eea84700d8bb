//! Suppression of repeated lines: one place in the code logs one line a second about each subject.
//!
//! **Owns**: [`Repeats`] (the counts) and [`OncePerSecond`] (the filter that asks them).
//!
//! **Invariants**:
//! - I1: the first line of a place about a subject is logged, and the first after a second without a line or a count of
//!   it.
//! - I2: the lines logged and those counted are together all lines.
//! - I3: a line that reports lost records, or that has `by`, the person who asked for something, is always logged.
//! - I4: the table is bounded: with too many subjects in one second, lines are counted by their place alone.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Time in which a place logs one line.
const WINDOW: Duration = Duration::from_secs(1);
/// The target of lines that report the counts; they are never left out themselves.
const TARGET: &str = "gophership::logging";

/// Lines that report lost records: each reports others, and none is left out.
const LOSSES: [&str; 3] = ["export.entries.dropped", "export.entry.unreadable", "segment.dropped"];

/// Fields that name the subject of a line. Two lines of one place that differ in one of them have different subjects.
/// Addresses of clients are not among them: a client that connects often enough would fill the log.
const SUBJECTS: [&str; 12] = [
    "entry", "exporter", "file", "from", "job", "listener", "path", "segment", "shard", "thread", "to", "zone",
];

/// Limit of subjects that are known at a time.
const SUBJECTS_MAX: usize = 1024;

/// A place in the code, and a hash of the line's subject.
type Key = (Identifier, u64);

/// State of each place and subject that logged.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<Key, Place>>);

struct Place {
    since: Instant,
    left_out: u64,
    line: String,
    metadata: &'static Metadata<'static>,
}

/// Lines of one place about one subject that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) line: String,
    pub(super) target: &'static str,
    pub(super) level: Level,
    pub(super) count: u64,
}

impl Repeats {
    /// True where a place may log a line about a subject now; otherwise the line is counted.
    fn admit(&self, metadata: &'static Metadata<'static>, seen: Seen, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (metadata.callsite(), seen.subject.finish());
        if places.len() >= SUBJECTS_MAX && !places.contains_key(&key) {
            key.1 = 0;
        }
        match places.get_mut(&key) {
            Some(place) if place.left_out > 0 || now.duration_since(place.since) < WINDOW => {
                place.left_out += 1;
                false
            }
            Some(place) => {
                place.since = now;
                true
            }
            None => {
                places.insert(
                    key,
                    Place {
                        since: now,
                        left_out: 0,
                        line: seen.message,
                        metadata,
                    },
                );
                true
            }
        }
    }

    /// Takes the counts of the places whose second is over; another second begins for them.
    fn take(&self, now: Instant) -> Vec<LeftOut> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, place| place.left_out > 0 || now.duration_since(place.since) < WINDOW);
        places
            .values_mut()
            .filter(|place| place.left_out > 0 && now.duration_since(place.since) >= WINDOW)
            .map(|place| {
                place.since = now;
                LeftOut {
                    line: place.line.clone(),
                    target: place.metadata.target(),
                    level: *place.metadata.level(),
                    count: std::mem::take(&mut place.left_out),
                }
            })
            .collect()
    }

    /// Logs the counts of lines left out, each at its own level.
    pub(super) fn log_left_out(&self, now: Instant) {
        for LeftOut {
            line,
            target,
            level,
            count,
        } in self.take(now)
        {
            match level {
                Level::ERROR => tracing::error!(target: TARGET, line, from = target, count, "log.line.repeated"),
                Level::WARN => tracing::warn!(target: TARGET, line, from = target, count, "log.line.repeated"),
                Level::INFO | Level::DEBUG | Level::TRACE => {
                    tracing::info!(target: TARGET, line, from = target, count, "log.line.repeated");
                }
            }
        }
    }
}

/// A filter that lets one line a second about each subject through, from each place that logs at INFO or above.
pub(super) struct OncePerSecond(Arc<Repeats>);

impl OncePerSecond {
    pub(super) fn new(repeats: Arc<Repeats>) -> Self {
        Self(repeats)
    }
}

impl<S: Subscriber> Filter<S> for OncePerSecond {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        seen.asked || LOSSES.contains(&seen.message.as_str()) || self.0.admit(metadata, seen, Instant::now())
    }
}

/// The message of a line, and a hash of its subject.
#[derive(Default)]
struct Seen {
    message: String,
    subject: DefaultHasher,
    /// True where it names a person who asked for something.
    asked: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else if field.name() == "by" {
            self.asked = true;
        } else if SUBJECTS.contains(&field.name()) {
            (field.name(), format!("{value:?}")).hash(&mut self.subject);
        }
    }
}

//! Counting the lines that are left out: one place in the code gives one line a second about each subject.
//!
//! Owns: [`Repeats`] (the counts) and [`OncePerSecond`] (the filter that asks them).
//!
//! Invariants:
//! - I1: the first line of a place about a subject is given, and the first after a second in which none was given or told.
//! - I2: given plus told equals what was logged.
//! - I3: a line that tells of lost records, or with `by` of who asked for something, is always given.
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

/// A place gives one line in this time.
const WINDOW: Duration = Duration::from_secs(1);
/// The target of the lines that tell of others: never left out themselves.
const TARGET: &str = "gophership::logging";

/// Lines that tell of lost records: each tells of others, and none is left out.
const LOSSES: [&str; 3] = ["export.entries.dropped", "export.entry.unreadable", "segment.dropped"];

/// The fields that say what a line is about. Two lines of one place that differ in one of them are about different things. Not the addresses of clients: who connects often enough would
/// fill the log.
const SUBJECTS: [&str; 12] = [
    "entry", "exporter", "file", "from", "job", "listener", "path", "segment", "shard", "thread", "to", "zone",
];

/// Subjects that are known at a time.
const SUBJECTS_MAX: usize = 1024;

/// A place in the code, and what a line of it is about.
type Key = (Identifier, u64);

/// What is known of each place and subject that logged.
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
    /// Whether a place may give a line about a subject now; if not, it is counted.
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

    /// Logs what was left out, each at its own level.
    pub(super) fn tell(&self, now: Instant) {
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

/// Lets one line a second about each subject through from each place that logs at INFO or above.
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

/// The message of a line, and a hash of what it is about.
#[derive(Default)]
struct Seen {
    message: String,
    subject: DefaultHasher,
    /// It says who asked for something.
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

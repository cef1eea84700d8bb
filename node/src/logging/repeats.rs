//! Counting the lines that are left out: one place in the code gives one line a second.
//!
//! Owns: [`Repeats`] (the counts) and [`OncePerSecond`] (the filter that asks them).
//!
//! Invariants:
//! - I1: a place's first line is given, and its first after a second in which it gave none and none was told.
//! - I2: given plus told equals what was logged.
//! - I3: a line that tells of lost records is always given.
//! - I4: the table is bounded by the places in the code that log.

use std::collections::HashMap;
use std::fmt;
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
const LOSSES: [&str; 2] = ["segment.dropped", "export.entry.unreadable"];

/// What is known of each place that logged.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<Identifier, Place>>);

struct Place {
    since: Instant,
    left_out: u64,
    line: String,
    metadata: &'static Metadata<'static>,
}

/// Lines of one place that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) line: String,
    pub(super) target: &'static str,
    pub(super) level: Level,
    pub(super) count: u64,
}

impl Repeats {
    /// Whether a place may give a line now; if not, it is counted.
    fn admit(&self, metadata: &'static Metadata<'static>, now: Instant, line: impl FnOnce() -> String) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(&metadata.callsite()) {
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
                    metadata.callsite(),
                    Place {
                        since: now,
                        left_out: 0,
                        line: line(),
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

/// Lets one line a second through from each place that logs at INFO or above.
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
        if *metadata.level() == Level::ERROR && LOSSES.contains(&message_of(event).as_str()) {
            return true;
        }
        self.0.admit(metadata, Instant::now(), || message_of(event))
    }
}

fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

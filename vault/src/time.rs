//! Times as the formats store them: nanoseconds since the Unix epoch, in 64 bits.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// An inclusive range of times, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeRange {
    /// The earliest time.
    pub min: u64,
    /// The latest time.
    pub max: u64,
}

impl TimeRange {
    /// All times.
    pub const ALL: Self = Self { min: 0, max: u64::MAX };

    /// True where the two share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// The union of a range, which may not exist yet, and another.
    pub fn extend(range: Option<Self>, by: Self) -> Option<Self> {
        Some(range.map_or(by, |r| r.union(by)))
    }
}

/// The wall clock, in nanoseconds since the Unix epoch; 0 before it.
pub fn now_unix_nano() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    #[cfg(feature = "failpoints")]
    let now = now.saturating_add_signed(set_off());
    now
}

/// Nanoseconds by which a test has shifted the wall clock: `return(<nanoseconds>)`.
#[cfg(feature = "failpoints")]
fn set_off() -> i64 {
    fail::eval("clock.wall", |told| told.and_then(|ns| ns.parse().ok()))
        .flatten()
        .unwrap_or(0)
}

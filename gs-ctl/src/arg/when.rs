//! Points in time and intervals as the command line names them.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The largest number that is read as Unix seconds: the year 5138.
const SECONDS_MAX: u64 = 99_999_999_999;
/// The smallest number that is read as Unix nanoseconds: 12 days after the epoch. A number between the two could be
/// milliseconds, and is refused.
const NANOS_MIN: u64 = 1_000_000_000_000_000;

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// Nanoseconds since the Unix epoch.
    At(u64),
    /// Nanoseconds before now.
    Ago(u64),
}

impl When {
    /// The point in nanoseconds since the Unix epoch, given the present time.
    pub(crate) fn unix_nano(self, now: u64) -> u64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.saturating_sub(ago),
        }
    }
}

/// Time between two queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interval(pub(crate) Duration);

impl Interval {
    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(3600);
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = length(text)?;
        if !(Self::MIN..=Self::MAX).contains(&length) {
            return Err(format!("{text} is not between 100ms and 1h"));
        }
        Ok(Self(length))
    }
}

/// A length of time, of a second at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match length(text)? {
            length if length < Duration::from_secs(1) => Err(format!("{text} is less than a second")),
            length => Ok(Self(length)),
        }
    }
}

fn length(text: &str) -> Result<Duration, String> {
    let length = match text.strip_suffix("ms") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Duration::from_millis),
        Some(_) => None,
        None => span(text).map(Duration::from_nanos),
    };
    length.ok_or_else(|| format!("{text:?} is not a time, such as 500ms, 1s or 1m"))
}

/// The wall clock, in nanoseconds since the Unix epoch.
pub(crate) fn now_unix_nano() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Ago(0));
        }
        if let Some(ago) = text.strip_prefix('-') {
            return Ok(Self::Ago(span(ago).ok_or_else(|| {
                format!("{text:?} is not a span back from now, such as -15m or -1h30m (units s, m, h, d)")
            })?));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return number(text);
        }
        let at = Timestamp::from_str(text).map_err(|error| {
            format!(
                "not a time: {error}. Write RFC 3339 with its zone (2026-11-24T02:00:00Z), Unix seconds or \
                nanoseconds, `now`, or a span back from now (-15m)"
            )
        })?;
        let nanos =
            u64::try_from(at.as_nanosecond()).map_err(|_| "a time before 1970 or after 2554 cannot be".to_owned())?;
        Ok(Self::At(nanos))
    }
}

fn number(text: &str) -> Result<When, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= SECONDS_MAX => seconds
            .checked_mul(1_000_000_000)
            .map(When::At)
            .ok_or_else(|| format!("{text} seconds is too far away")),
        Ok(nanos) if nanos >= NANOS_MIN => Ok(When::At(nanos)),
        Ok(_) => Err(format!("{text} is neither Unix seconds nor nanoseconds")),
        Err(_) => Err(format!("{text} is too large for nanoseconds")),
    }
}

/// Reads numbers with units, as in `1h30m`; nanoseconds.
fn span(mut text: &str) -> Option<u64> {
    let mut total = 0u64;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let mut rest = text[digits..].chars();
        let seconds = match rest.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?.checked_mul(1_000_000_000)?)?;
        text = rest.as_str();
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn table() {
        for (text, when) in [
            ("now", When::Ago(0)),
            ("-15m", When::Ago(900 * SECOND)),
            ("-1h30m", When::Ago(5400 * SECOND)),
            ("-2d", When::Ago(172_800 * SECOND)),
            ("0", When::At(0)),
            ("1700000000", When::At(1_700_000_000 * SECOND)),
            ("1700000000123456789", When::At(1_700_000_000_123_456_789)),
            ("2023-11-14T22:13:20Z", When::At(1_700_000_000 * SECOND)),
            (
                "2023-11-14T23:13:20.5+01:00",
                When::At(1_700_000_000 * SECOND + SECOND / 2),
            ),
        ] {
            assert_eq!(text.parse(), Ok(when), "{text}");
        }
    }

    #[test]
    fn what_could_be_something_else_is_not_guessed_at() {
        for text in [
            "",
            "1700000000123",
            "99999999999999999999",
            "yesterday",
            "-15",
            "-m",
            "-",
            "-15x",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "1960-01-01T00:00:00Z",
            "-0s",
        ] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_table() {
        for (text, millis) in [("100ms", 100), ("1s", 1000), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(text.parse(), Ok(Interval(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "1", "ms", "-1s", "+100ms", "99ms", "0s", "2h", "1.5s"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_counted_back_from_now() {
        assert_eq!(When::Ago(5).unix_nano(12), 7);
        assert_eq!(When::Ago(50).unix_nano(12), 0);
        assert_eq!(When::At(50).unix_nano(12), 50);
    }
}

//! Sizes and durations in the configuration's notation: `64MiB`, `10GiB`, `4096`; `500ms`, `5s`, `10m`, `24h`, `7d`.
//!
//! **Invariants**:
//! - I1: a text written here is read back as the same value, to the byte and the millisecond.
//! - I2: a number that does not fit is refused, never wrapped.
//!
//! **Not here**: bounds (`keys.rs`).

use std::time::Duration;

pub(super) use gophership_proto::size::{FORM as SIZE_FORM, parse as parse_size};

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// The notation of a duration, in words.
pub(super) const DURATION_FORM: &str = "a whole number with ms, s, m, h or d";

/// Writes bytes with the largest unit that divides them.
pub(crate) fn show_size(bytes: u64) -> String {
    match SIZES
        .iter()
        .find(|(name, factor)| *name != "B" && bytes != 0 && bytes.is_multiple_of(*factor))
    {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Reads a duration: `500ms`, `5s`, `10m`, `24h`, `7d`, and `0`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    if number == 0 && unit.is_empty() {
        return Some(Duration::ZERO);
    }
    let factor = TIMES.iter().find(|(name, _)| *name == unit)?.1;
    number.checked_mul(factor).map(Duration::from_millis)
}

/// Writes a duration with the largest unit up to hours that divides it; whole days only from two days on.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = match millis {
        0 => ("s", 1_000),
        m if m.is_multiple_of(86_400_000) && m > 86_400_000 => ("d", 86_400_000),
        m if m.is_multiple_of(3_600_000) => ("h", 3_600_000),
        m if m.is_multiple_of(60_000) => ("m", 60_000),
        m if m.is_multiple_of(1_000) => ("s", 1_000),
        _ => ("ms", 1),
    };
    format!("{}{unit}", millis / factor)
}

/// Splits digits from the unit behind them; blanks may stand between.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_sizes_are_read_back() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            4096,
            (1 << 20) + 1,
            64 << 20,
            10 << 30,
            3 << 40,
            u64::MAX,
        ] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes), "{}", show_size(bytes));
        }
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("12B"), Some(12));
    }

    #[test]
    fn i1_durations_are_read_back() {
        for millis in [0, 1, 999, 1_000, 60_000, 90_000, 3_600_000, 86_400_000, 7 * 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(show_duration(Duration::from_secs(2 * 86_400)), "2d");
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
    }

    #[test]
    fn i2_what_does_not_fit_or_has_no_known_unit_is_refused() {
        for text in [
            "",
            "MiB",
            "-1",
            "1.5GiB",
            "64mib",
            "64M",
            "1_000",
            "99999999999999999999",
            "16777216TiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        for text in ["", "s", "5", "5 sec", "-5s", "1h30m", "5S", "300000000000000d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}

//! Numbers for people: sizes, times, spans.

use std::time::Duration;

use gophership_proto::view::quantile::Quantile;
use jiff::Timestamp;

/// Bytes in binary units, to three digits or so.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // A value that would be shown as 1024 of a unit is shown in the next one.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A count with separated thousands.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time in UTC, to the second; a dash for none.
pub(crate) fn time(unix_nano: impl Into<Option<u64>>) -> String {
    let Some(unix_nano) = unix_nano.into().filter(|at| *at > 0) else {
        return "-".to_owned();
    };
    match Timestamp::from_nanosecond(unix_nano.into()) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => unix_nano.to_string(),
    }
}

/// A span of time, in its two largest units; from 100 days on in days.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, _) if seconds < 10 => format!("{:.1} s", span.as_secs_f64()),
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d @ 100.., ..) => format!("{d} d"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

/// A share in percent; a dash where `of` is 0.
pub(crate) fn percent(part: u64, of: u64) -> String {
    if of == 0 {
        "-".to_owned()
    } else {
        format!("{:.0} %", part as f64 * 100.0 / of as f64)
    }
}

/// Time since `unix_nano`; a dash for none.
pub(crate) fn age(unix_nano: impl Into<Option<u64>>, now_unix_nano: u64) -> String {
    let Some(unix_nano) = unix_nano.into().filter(|at| *at > 0) else {
        return "-".to_owned();
    };
    span(Duration::from_nanos(now_unix_nano.saturating_sub(unix_nano)))
}

/// A short duration, in the unit that suits it.
pub(crate) fn latency(seconds: f64) -> String {
    if seconds < 0.000_999_5 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.009_95 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 0.999_5 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// Occurrences a second.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// Text from elsewhere (a sink, an operator) in a form that is safe in a line of a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// A line cut to so many characters.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= chars {
        return line;
    }
    let kept: String = line.chars().take(chars.saturating_sub(3)).collect();
    kept + "..."
}

/// A quantile of latencies; a dash for none.
pub(crate) fn quantile(quantile: Option<Quantile>) -> String {
    quantile.map_or_else(
        || "-".to_owned(),
        |q| format!("{}{}", if q.above { ">" } else { "" }, latency(q.seconds)),
    )
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_table() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 * 1024, "10 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (67_108_864, "64 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn counts_table() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn latencies_and_rates_table() {
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.000_011, "11 µs"),
            (0.000_999_9, "1.0 ms"),
            (0.004_12, "4.1 ms"),
            (0.25, "250 ms"),
            (0.999_9, "1.0 s"),
            (12.0, "12.0 s"),
        ] {
            assert_eq!(latency(seconds), text, "{seconds}");
        }
        for (per_second, text) in [(0.0, "0"), (0.25, "0.2"), (9.99, "10"), (48_210.4, "48,210")] {
            assert_eq!(rate(per_second), text, "{per_second}");
        }
    }

    #[test]
    fn what_a_sink_says_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\n b\t\u{1b}[2Jc\r"), "a b \u{fffd}[2Jc");
        assert_eq!(cut("a\nbcdefg", 6), "a b...");
        assert_eq!(cut("abcdef", 6), "abcdef");
    }

    #[test]
    fn ages_are_never_negative() {
        assert_eq!(age(0, 5), "-");
        assert_eq!(age(5_000_000_000, 1), "0.0 s");
        assert_eq!(age(1_000_000_000, 36_000_000_000), "35 s");
    }

    #[test]
    fn times_and_spans() {
        assert_eq!(time(0), "-");
        assert_eq!(time(1_700_000_000_123_456_789), "2023-11-14T22:13:20Z");
        // The calendar does not reach these instants, so they are shown as a plain number.
        assert!(!time(u64::MAX).is_empty());
        for (seconds, text) in [
            (0, "0.0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (99 * 86_400 + 86_399, "99 d 23 h"),
            (100 * 86_400 + 86_399, "100 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}

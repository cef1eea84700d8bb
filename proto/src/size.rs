//! Sizes as people write them, the same in the configuration and on the command line: `4096`, `64KiB`, `64 MiB`,
//! `10GB`.
//!
//! **Invariants**:
//! - I1: a number that does not fit is refused, never wrapped.

/// Units and their sizes in bytes.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// The form of a size, for a person.
pub const FORM: &str = "a whole number of bytes, or one with KiB, MiB, GiB, TiB (1024) or KB, MB, GB, TB (1000)";
/// The form of a size, as a regular expression.
pub const PATTERN: &str = "[0-9]+ *(?:B|[KMGT]i?B)?";

/// Reads a size.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// Sizes that may have been meant by a text that is no size: `10G`, `10m`, `10mib`. `None` for a valid size.
#[must_use]
pub fn hint(text: &str) -> Option<String> {
    if parse(text).is_some() {
        return None;
    }
    let (number, unit) = split(text)?;
    let unit = unit.to_ascii_uppercase();
    let prefix = unit.chars().next().filter(|prefix| "KMGT".contains(*prefix))?;
    let rest = &unit[1..];
    ["", "B", "IB"]
        .contains(&rest)
        .then(|| format!("did you mean {number}{prefix}iB (1024) or {number}{prefix}B (1000)?"))
}

/// Splits digits from the unit behind them; blanks may stand between.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_table() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("12B", Some(12)),
            ("64 MiB", Some(64 << 20)),
            ("10MB", Some(10_000_000)),
            ("1TB", Some(1_000_000_000_000)),
            ("10G", None),
            ("64mib", None),
            ("1.5GiB", None),
            ("-1", None),
            ("", None),
            ("MiB", None),
            ("16777216TiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }

    #[test]
    fn hints_table() {
        for (text, unit) in [("10G", "G"), ("10g", "G"), ("10gib", "G"), ("3 kb", "K")] {
            let hint = hint(text).unwrap_or_default();
            assert!(hint.contains(&format!("{unit}iB (1024) or")), "{text}: {hint}");
        }
        for text in ["10", "10X", "G", "10Gx"] {
            assert_eq!(hint(text), None, "{text}");
        }
    }
}

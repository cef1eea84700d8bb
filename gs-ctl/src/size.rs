//! Rates as the command line names them.

use std::str::FromStr;

/// Bytes a second, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a number of bytes, such as 500000, 512KiB, 10MiB, 1GiB or 10MB");
        let plain = text.strip_suffix("/s").unwrap_or(text);
        let digits = plain.find(|c: char| !c.is_ascii_digit()).unwrap_or(plain.len());
        let number: u64 = plain[..digits].parse().map_err(|_| bad())?;
        let unit: u64 = match plain[digits..].trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(bad()),
        };
        match number.checked_mul(unit) {
            Some(0) => Err("a rate of 0 would send nothing: leave --rate out for no limit".to_owned()),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, bytes) in [
            ("1", 1),
            ("10MiB", 10 << 20),
            ("10MiB/s", 10 << 20),
            ("3 KiB", 3072),
            ("5kB", 5000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
        }
        for text in ["", "0", "0MiB", "MiB", "1.5MiB", "-1", "1XB", "99999999999GiB"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}

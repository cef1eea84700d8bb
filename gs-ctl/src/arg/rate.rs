//! Rates as the command line names them.

use std::str::FromStr;

use gophership_proto::size;

/// Bytes a second, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match size::parse(text.strip_suffix("/s").unwrap_or(text)) {
            Some(0) => Err("a rate of 0 would send nothing: leave --rate out for no limit".to_owned()),
            Some(bytes) => Ok(Self(bytes)),
            None => {
                let hint = size::hint(text).unwrap_or_else(|| format!("accepted: {}", size::FORM));
                Err(format!("{text:?} is no size; {hint}"))
            }
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
            ("5KB", 5000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
        }
        for text in ["", "0", "0MiB", "MiB", "1.5MiB", "-1", "1XB", "99999999999GiB"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}

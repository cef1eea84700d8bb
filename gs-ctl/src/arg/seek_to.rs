//! The destination of a cursor, as the command line names it.

use std::str::FromStr;

use super::when::When;

/// The destination of a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SeekTo {
    /// After every entry.
    Now,
    /// Before every entry.
    Oldest,
    /// At the first entry received at this time or later.
    Time(When),
}

impl FromStr for SeekTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "oldest" => Ok(Self::Oldest),
            time => time.parse().map(Self::Time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_to_an_end_or_to_a_time() {
        assert_eq!("now".parse(), Ok(SeekTo::Now));
        assert_eq!("oldest".parse(), Ok(SeekTo::Oldest));
        assert_eq!("-15m".parse(), Ok(SeekTo::Time(When::Ago(900_000_000_000))));
        assert!("newest".parse::<SeekTo>().is_err());
    }
}

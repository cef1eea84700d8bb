//! The kernel's pressure stall information: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line `full` beside
//! it.

/// A line of a pressure file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsiLine {
    /// Time in which at least one task waited.
    Some,
    /// Time in which all of them did.
    Full,
}

impl PsiLine {
    /// The first word of the line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Some => "some",
            Self::Full => "full",
        }
    }
}

/// The reason for which a pressure file has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PsiError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// A line is missing.
    #[error("it has no line `{}`", .0.label())]
    NoLine(PsiLine),
    /// The line has no average from 0 to 100.
    #[error("its line `{}` has no avg10 from 0 to 100", .0.label())]
    NoAverage(PsiLine),
}

/// The share of the last ten seconds, in percent.
///
/// # Errors
///
/// The text has no such value.
pub fn avg10(text: &str, line: PsiLine) -> Result<f64, PsiError> {
    if text.trim().is_empty() {
        return Err(PsiError::Empty);
    }
    let words = |l: &'static str| {
        text.lines()
            .map(str::split_whitespace)
            .find_map(move |mut words| (words.next() == Some(l)).then_some(words))
    };
    words(line.label())
        .ok_or(PsiError::NoLine(line))?
        .find_map(|word| word.strip_prefix("avg10="))
        .and_then(|value| value.parse().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or(PsiError::NoAverage(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_of_ten_seconds_is_read_from_its_line() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\nfull avg10=5.00 avg60=0.50 avg300=0.05 total=1\n";
        assert_eq!(avg10(text, PsiLine::Some), Ok(12.34));
        assert_eq!(avg10(text, PsiLine::Full), Ok(5.0));
    }

    #[test]
    fn what_does_not_say_is_an_error_that_says_so() {
        let full = PsiLine::Full;
        for (text, error) in [
            ("", PsiError::Empty),
            ("\n", PsiError::Empty),
            ("some avg10=1.00 total=0", PsiError::NoLine(full)),
            ("fuller avg10=1.00", PsiError::NoLine(full)),
            ("full", PsiError::NoAverage(full)),
            ("full avg60=1.00 total=0", PsiError::NoAverage(full)),
            ("full avg10=NaN", PsiError::NoAverage(full)),
            ("full avg10=-1", PsiError::NoAverage(full)),
            ("full avg10=101", PsiError::NoAverage(full)),
            ("full avg10= avg60=1", PsiError::NoAverage(full)),
        ] {
            assert_eq!(avg10(text, full), Err(error), "{text:?}");
        }
    }
}

//! A reason for which a text is not OTLP/JSON, and its position: small and without a byte of the text, so that it can
//! be sent as an answer.

use std::fmt;

/// A fault of a text that should be OTLP/JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// The kind of fault.
    pub reason: JsonReason,
    /// The innermost known field around it; `None` at the top.
    pub field: Option<&'static str>,
    /// Line of the text, from 1; 0 where it is not known.
    pub line: u32,
    /// Column of the line in bytes, from 1; 0 where it is not known.
    pub column: u32,
}

/// The ways in which a text can fail to be OTLP/JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonReason {
    /// Not JSON, or a number beyond what JSON readers take.
    Syntax,
    /// The text ends inside a value.
    EndsEarly,
    /// The field holds another type; the text names the type that it should hold.
    Wanted(&'static str),
    /// The number does not fit the field.
    OutOfRange,
    /// Messages nest deeper than protobuf allows.
    TooDeep,
    /// The request has no record, and has unknown names at levels where records belong.
    NothingKnown,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an OTLP/JSON logs request: ")?;
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        match self.reason {
            JsonReason::Syntax => f.write_str("not JSON, or a number too large"),
            JsonReason::EndsEarly => f.write_str("the text ends too early"),
            JsonReason::Wanted(what) => write!(f, "must be {what}"),
            JsonReason::OutOfRange => f.write_str("the number is out of range"),
            JsonReason::TooDeep => f.write_str("nested deeper than 100 messages"),
            JsonReason::NothingKnown => f.write_str(
                "no log records, but names that are not those of resourceLogs, scopeLogs, logRecords and their fields",
            ),
        }?;
        if self.line > 0 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for JsonFault {}

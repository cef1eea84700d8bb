//! OTLP/JSON, the JSON form of `ExportLogsServiceRequest`: parsed into protobuf, and written from it for people and
//! files.
//!
//! Neither direction builds a tree of structs. JSON is written as protobuf while it is parsed, so the memory it takes
//! is that of its text and no multiple of it. The other way, a payload is read from its bytes, so a string that is not
//! UTF-8 can still be shown.
//!
//! - `read`: JSON to protobuf. `output`: the protobuf as it grows. `fault`: reasons for a refusal.
//! - `write`: protobuf to JSON.
//! - `schema`: the messages of OTLP logs as tables. `scalar`: numbers and ids that JSON writes as strings.
//!
//! **Not here**: the check that the protobuf so made is valid OTLP (it always is), and the counts of its records
//! (`skim`).

mod fault;
mod output;
mod read;
mod scalar;
mod schema;
mod write;

use thiserror::Error;

pub use self::fault::{JsonFault, JsonReason};
pub use self::output::Converted;
pub use self::read::to_protobuf;
pub use self::write::{strings_not_utf8, write_line};
use super::malformed::SkimError;

/// A reason for which a text cannot be turned into protobuf.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The text is not JSON, or not that of an `ExportLogsServiceRequest`.
    #[error(transparent)]
    NotOtlpJson(#[from] JsonFault),
    /// The protobuf would be longer than what was allowed.
    #[error("longer than {limit} bytes as protobuf")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// A reason for which a payload cannot be written as JSON.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The line cannot be written.
    #[error("cannot be written as JSON: {0}")]
    NotWritten(#[source] serde_json::Error),
    /// The bytes are not an `ExportLogsServiceRequest`.
    #[error(transparent)]
    NotOtlp(#[from] SkimError),
}

#[cfg(test)]
mod tests;

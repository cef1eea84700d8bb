//! OTLP/JSON, the JSON form of `ExportLogsServiceRequest`: into protobuf, and back for people and files.
//!
//! Neither direction builds a tree of structs. JSON is written as protobuf while it is parsed, which is why the memory it
//! takes is that of its text and no multiple of it; the other way, a payload is read from its bytes, which is why a
//! string that is not UTF-8 can be shown at all.
//!
//! Not here: whether the protobuf so made is OTLP (it always is) and what it holds (`skim`).

mod read;
mod schema;
mod write;

use thiserror::Error;

pub use self::read::to_protobuf;
pub use self::write::write_line;
use super::skim::SkimError;

/// Why a payload cannot be turned into the other form.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The text is not JSON, or not that of an `ExportLogsServiceRequest`.
    #[error("not an OTLP/JSON logs request: {0}")]
    NotOtlpJson(#[source] serde_json::Error),
    /// The bytes are not an `ExportLogsServiceRequest`.
    #[error(transparent)]
    NotOtlp(#[from] SkimError),
}

#[cfg(test)]
mod tests;

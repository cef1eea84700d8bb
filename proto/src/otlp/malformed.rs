//! Faults of a malformed payload, and their positions.

use std::fmt;

/// The fault for which a payload is not an `ExportLogsServiceRequest`, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkimError {
    /// The kind of fault.
    pub kind: SkimErrorKind,
    /// Offset in the payload of the first byte that was not accepted, or of the byte just after the fault.
    pub offset: usize,
}

/// The ways in which a payload can be malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkimErrorKind {
    /// The payload, or a message in it, ends inside a field.
    Truncated,
    /// A varint of more than ten bytes, or of more than 64 bits.
    VarintTooLong,
    /// A field key of more than 32 bits.
    KeyTooLarge,
    /// A field number of 0.
    TagZero,
    /// A wire type (6 or 7) that protobuf does not define.
    UnknownWireType,
    /// A field of OTLP with a wire type that is not its own.
    WrongWireType,
    /// An end-of-group key without a group that it would end.
    UnmatchedEndGroup,
    /// More than 100 nested messages or groups.
    TooDeep,
}

impl SkimErrorKind {
    /// The kind in words, for an answer to the client.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "ends inside a field",
            Self::VarintTooLong => "varint longer than 64 bits",
            Self::KeyTooLarge => "field key longer than 32 bits",
            Self::TagZero => "field number 0",
            Self::UnknownWireType => "unknown wire type",
            Self::WrongWireType => "field has the wrong wire type",
            Self::UnmatchedEndGroup => "end of a group that was not open",
            Self::TooDeep => "nested deeper than 100 levels",
        }
    }
}

impl fmt::Display for SkimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an OTLP logs request: {} at byte {}",
            self.kind.as_str(),
            self.offset
        )
    }
}

impl std::error::Error for SkimError {}

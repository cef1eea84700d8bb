//! The closed set of reasons for a refusal, which is also the metric's label set.

use gophership_proto::otlp::json::{JsonFault, JsonReason};
use gophership_proto::otlp::malformed::{SkimError, SkimErrorKind};

const NO_SKIM_ERROR: SkimError = SkimError {
    kind: SkimErrorKind::Truncated,
    offset: 0,
};

const NO_JSON_FAULT: JsonFault = JsonFault {
    reason: JsonReason::Syntax,
    field: None,
    line: 0,
    column: 0,
};

/// A reason for which a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The memory budget is taken.
    Budget,
    /// More was sent than the core can soon take.
    Busy,
    /// The disk is at its limit.
    DiskFull,
    /// No WAL file was ready in time.
    NoSpare,
    /// The entry was not durable in time, or too many entries wait. It is unknown whether this one will be durable.
    Stalled,
    /// A sync failed: the node takes no more messages.
    Failed,
    /// The message is larger than `ingest.max_message`.
    TooLarge,
    /// The message is larger than `ingest.max_message` once it is inflated.
    InflatesTooLarge,
    /// The message was not complete in time.
    ReadTimeout,
    /// The payload is not an `ExportLogsServiceRequest`.
    Malformed(SkimError),
    /// The payload is not an `ExportLogsServiceRequest` in JSON.
    MalformedJson(JsonFault),
    /// The compressed bytes are damaged.
    NotInflatable,
    /// The compression is unknown.
    UnknownCompression,
    /// A gRPC message has its compressed flag set, and no header names the compression.
    NoCompressionNamed,
    /// A gRPC message has a flag that does not exist.
    BadFlag,
    /// The body ends before the message does.
    Truncated,
    /// There is no message.
    NoMessage,
    /// There is more than one message.
    ExtraMessage,
    /// The content type is unknown.
    ContentType,
    /// The request is of traces, metrics or profiles.
    LogsOnly,
    /// The path is not served.
    UnknownPath,
    /// The method is not POST.
    Method,
    /// The request is HTTP/1.1, on the gRPC port.
    NotHttp2,
    /// The head of an HTTP/1.1 request is larger than the limit.
    HeadTooLarge,
    /// The head of an HTTP/1.1 request cannot be read.
    BadHead,
    /// A web page's origin is not allowed.
    Origin,
    /// A newer epoch of the node fenced the one that took the entry; the node takes a new one.
    Fenced,
    /// In a cluster: the entry, or one before it, was not synced on enough nodes in time. It is unknown whether it will
    /// be.
    TooFewCopies,
    /// The node waits for its cluster before it takes logs.
    Starting,
    /// An operator drains the node, which takes no more logs.
    Leaving,
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = 30;

    /// Every reason, in the order of [`Self::index`]. Reasons with a detail have an empty one here.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Budget,
        Self::Busy,
        Self::DiskFull,
        Self::NoSpare,
        Self::Stalled,
        Self::Failed,
        Self::TooLarge,
        Self::InflatesTooLarge,
        Self::ReadTimeout,
        Self::Malformed(NO_SKIM_ERROR),
        Self::MalformedJson(NO_JSON_FAULT),
        Self::NotInflatable,
        Self::UnknownCompression,
        Self::NoCompressionNamed,
        Self::BadFlag,
        Self::Truncated,
        Self::NoMessage,
        Self::ExtraMessage,
        Self::ContentType,
        Self::LogsOnly,
        Self::UnknownPath,
        Self::Method,
        Self::NotHttp2,
        Self::HeadTooLarge,
        Self::BadHead,
        Self::Origin,
        Self::Fenced,
        Self::TooFewCopies,
        Self::Starting,
        Self::Leaving,
    ];

    /// The reason's index in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Budget => 0,
            Self::Busy => 1,
            Self::DiskFull => 2,
            Self::NoSpare => 3,
            Self::Stalled => 4,
            Self::Failed => 5,
            Self::TooLarge => 6,
            Self::InflatesTooLarge => 7,
            Self::ReadTimeout => 8,
            Self::Malformed(_) => 9,
            Self::MalformedJson(_) => 10,
            Self::NotInflatable => 11,
            Self::UnknownCompression => 12,
            Self::NoCompressionNamed => 13,
            Self::BadFlag => 14,
            Self::Truncated => 15,
            Self::NoMessage => 16,
            Self::ExtraMessage => 17,
            Self::ContentType => 18,
            Self::LogsOnly => 19,
            Self::UnknownPath => 20,
            Self::Method => 21,
            Self::NotHttp2 => 22,
            Self::HeadTooLarge => 23,
            Self::BadHead => 24,
            Self::Origin => 25,
            Self::Fenced => 26,
            Self::TooFewCopies => 27,
            Self::Starting => 28,
            Self::Leaving => 29,
        }
    }

    /// True where it has a detail beyond its wording, so that its answer is made each time.
    pub(super) const fn has_detail(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::MalformedJson(_))
    }
}

//! The closed set of reasons, which is the metric's label set too.

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

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The memory budget is taken.
    Budget,
    /// More was sent than the core can take in soon.
    Busy,
    /// The disk is at its limit.
    DiskFull,
    /// No WAL file was ready in time.
    NoSpare,
    /// The entry was not durable in time, or too many wait. Whether it will be is unknown.
    Stalled,
    /// A sync failed: the node takes nothing any more.
    Failed,
    /// The message is larger than `ingest.max_message`.
    TooLarge,
    /// It would be, inflated.
    InflatesTooLarge,
    /// The message was not complete in time.
    ReadTimeout,
    /// The payload is not an `ExportLogsServiceRequest`.
    Malformed(SkimError),
    /// The payload is not that in JSON.
    MalformedJson(JsonFault),
    /// The compressed bytes are damaged.
    NotInflatable,
    /// A compression that is not known here.
    UnknownCompression,
    /// A gRPC message says that it is compressed, and no header says how.
    NoCompressionNamed,
    /// A gRPC message with a flag that does not exist.
    BadFlag,
    /// The body ends before the message does.
    Truncated,
    /// There is no message.
    NoMessage,
    /// There is more than one message.
    ExtraMessage,
    /// The content is of a type that is not known here.
    ContentType,
    /// Traces, metrics or profiles.
    LogsOnly,
    /// A path that is not served.
    UnknownPath,
    /// A method other than POST.
    Method,
    /// HTTP/1.1 on the gRPC port.
    NotHttp2,
    /// The head of a request of HTTP/1.1 is larger than what is read of one.
    HeadTooLarge,
    /// The head of a request of HTTP/1.1 cannot be read.
    BadHead,
    /// A web page of an origin that is not allowed.
    Origin,
    /// A newer epoch of the node fenced the one that took the entry; the node takes a new one.
    Fenced,
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = 27;

    /// Every reason, in the order of [`Self::index`]. Those with a detail have an empty one.
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
    ];

    /// The reason's place among all.
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
        }
    }

    /// Whether it says more than its wording, so that its answer is made each time.
    pub(super) const fn has_detail(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::MalformedJson(_))
    }
}

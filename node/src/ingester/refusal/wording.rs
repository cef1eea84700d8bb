//! What each refusal says, and by which codes.

use std::fmt;

use gophership_proto::otlp::json::{JsonFault, JsonReason};
use gophership_proto::otlp::skim::{SkimError, SkimErrorKind};
use http::{HeaderValue, StatusCode};

use super::Refusal;

pub(super) const NO_SKIM_ERROR: SkimError = SkimError {
    kind: SkimErrorKind::Truncated,
    offset: 0,
};

pub(super) const NO_JSON_FAULT: JsonFault = JsonFault {
    reason: JsonReason::Syntax,
    field: None,
    line: 0,
    column: 0,
};

/// The gRPC codes that a refusal may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    pub(super) const fn grpc_value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
        })
    }
}

/// What a refusal says.
pub(super) struct Wording {
    /// The metric's label.
    label: &'static str,
    pub(super) code: Code,
    pub(super) http: StatusCode,
    /// Whether the client is invited to try again.
    pub(super) retry: bool,
    /// Plain ASCII without `%`, so that it needs no escape in a header or in JSON.
    pub(super) message: &'static str,
}

impl Refusal {
    /// The metric's label: constant, in snake case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.wording().label
    }

    /// Whether the reason passes by itself, so that the client is invited to try again.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        self.wording().retry
    }

    pub(super) const fn wording(self) -> Wording {
        use StatusCode as Http;
        let (label, code, http, message) = match self {
            Self::Budget => (
                "budget",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "the memory budget is taken: try again",
            ),
            Self::Busy => (
                "busy",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "the node is sent more than it can take in: try again",
            ),
            Self::DiskFull => (
                "disk_full",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "the disk is at its limit: try again",
            ),
            Self::NoSpare => (
                "no_spare",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "no WAL file is ready: try again",
            ),
            Self::Stalled => (
                "stalled",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "the disk did not sync in time; whether it will is unknown: try again",
            ),
            Self::Failed => (
                "failed",
                Code::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                "this node's write-ahead log has failed: try another node",
            ),
            Self::TooLarge => (
                "too_large",
                Code::ResourceExhausted,
                Http::PAYLOAD_TOO_LARGE,
                "the message is larger than ingest.max_message",
            ),
            Self::InflatesTooLarge => (
                "inflates_too_large",
                Code::ResourceExhausted,
                Http::PAYLOAD_TOO_LARGE,
                "the message is larger than ingest.max_message once inflated",
            ),
            Self::ReadTimeout => (
                "read_timeout",
                Code::DeadlineExceeded,
                Http::REQUEST_TIMEOUT,
                "the message was not complete within ingest.read_timeout",
            ),
            Self::Malformed(_) => (
                "malformed",
                Code::InvalidArgument,
                Http::BAD_REQUEST,
                "not an OTLP logs request",
            ),
            Self::MalformedJson(_) => (
                "malformed_json",
                Code::InvalidArgument,
                Http::BAD_REQUEST,
                "not an OTLP/JSON logs request",
            ),
            Self::NotInflatable => (
                "not_inflatable",
                Code::InvalidArgument,
                Http::BAD_REQUEST,
                "the compressed data is damaged or cut short",
            ),
            Self::UnknownCompression => (
                "unknown_compression",
                Code::Unimplemented,
                Http::UNSUPPORTED_MEDIA_TYPE,
                "this compression is not known here: use gzip or zstd",
            ),
            Self::NoCompressionNamed => (
                "no_compression_named",
                Code::Internal,
                Http::BAD_REQUEST,
                "the message is flagged as compressed, but there is no grpc-encoding",
            ),
            Self::BadFlag => (
                "bad_flag",
                Code::Internal,
                Http::BAD_REQUEST,
                "the compressed flag is neither 0 nor 1",
            ),
            Self::Truncated => (
                "truncated",
                Code::InvalidArgument,
                Http::BAD_REQUEST,
                "the body ends before the message does",
            ),
            Self::NoMessage => (
                "no_message",
                Code::Unimplemented,
                Http::BAD_REQUEST,
                "a request has one message, and this one has none",
            ),
            Self::ExtraMessage => (
                "extra_message",
                Code::Unimplemented,
                Http::BAD_REQUEST,
                "a request has one message, and this one has more",
            ),
            Self::ContentType => (
                "content_type",
                Code::Internal,
                Http::UNSUPPORTED_MEDIA_TYPE,
                "unknown content-type: OTLP/gRPC is application/grpc, OTLP/HTTP is application/x-protobuf or application/json",
            ),
            Self::LogsOnly => (
                "logs_only",
                Code::Unimplemented,
                Http::NOT_FOUND,
                "this node takes logs only",
            ),
            Self::UnknownPath => (
                "unknown_path",
                Code::Unimplemented,
                Http::NOT_FOUND,
                "not served here: logs go to POST /v1/logs",
            ),
            Self::Method => (
                "method",
                Code::Unimplemented,
                Http::METHOD_NOT_ALLOWED,
                "only POST is allowed here",
            ),
            Self::NotHttp2 => (
                "not_http2",
                Code::Unimplemented,
                Http::BAD_REQUEST,
                "this port takes OTLP/gRPC over HTTP/2; OTLP/HTTP has a port of its own (listeners.otlp_http)",
            ),
            Self::HeadTooLarge => (
                "head_too_large",
                Code::InvalidArgument,
                Http::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the headers, or the path, are longer than 16 KiB",
            ),
            Self::BadHead => (
                "bad_head",
                Code::InvalidArgument,
                Http::BAD_REQUEST,
                "this is not HTTP/1.1",
            ),
            Self::Origin => (
                "origin",
                Code::InvalidArgument,
                Http::FORBIDDEN,
                "pages of this origin may not send logs: it is not in listeners.otlp_http.cors",
            ),
        };
        Wording {
            label,
            code,
            http,
            retry: matches!(code, Code::Unavailable),
            message,
        }
    }

    /// Whether it says more than its wording, so that its answer is made each time.
    pub(super) const fn has_detail(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::MalformedJson(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::MalformedJson(fault) => fault.fmt(f),
            other => f.write_str(other.wording().message),
        }
    }
}

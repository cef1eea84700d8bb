//! Texts and codes of refusals.

use std::fmt;

use http::{HeaderValue, StatusCode};

use super::reason::Refusal;

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

impl Refusal {
    /// The metric's label: constant, in snake case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Busy => "busy",
            Self::DiskFull => "disk_full",
            Self::NoSpare => "no_spare",
            Self::Stalled => "stalled",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
            Self::InflatesTooLarge => "inflates_too_large",
            Self::ReadTimeout => "read_timeout",
            Self::Malformed(_) => "malformed",
            Self::MalformedJson(_) => "malformed_json",
            Self::NotInflatable => "not_inflatable",
            Self::UnknownCompression => "unknown_compression",
            Self::NoCompressionNamed => "no_compression_named",
            Self::BadFlag => "bad_flag",
            Self::Truncated => "truncated",
            Self::NoMessage => "no_message",
            Self::ExtraMessage => "extra_message",
            Self::ContentType => "content_type",
            Self::LogsOnly => "logs_only",
            Self::UnknownPath => "unknown_path",
            Self::Method => "method",
            Self::NotHttp2 => "not_http2",
            Self::HeadTooLarge => "head_too_large",
            Self::BadHead => "bad_head",
            Self::Origin => "origin",
            Self::Fenced => "fenced",
            Self::TooFewCopies => "too_few_copies",
            Self::Starting => "starting",
            Self::Leaving => "leaving",
        }
    }

    /// True for a reason that passes by itself, so that the client is invited to retry.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self.codes().0, Code::Unavailable)
    }

    /// The gRPC code and the HTTP status.
    pub(super) const fn codes(self) -> (Code, StatusCode) {
        use StatusCode as Http;
        match self {
            Self::Budget
            | Self::Busy
            | Self::DiskFull
            | Self::NoSpare
            | Self::Stalled
            | Self::Failed
            | Self::Fenced
            | Self::TooFewCopies
            | Self::Starting
            | Self::Leaving => (Code::Unavailable, Http::SERVICE_UNAVAILABLE),
            Self::TooLarge | Self::InflatesTooLarge => (Code::ResourceExhausted, Http::PAYLOAD_TOO_LARGE),
            Self::ReadTimeout => (Code::DeadlineExceeded, Http::REQUEST_TIMEOUT),
            Self::Malformed(_) | Self::MalformedJson(_) | Self::NotInflatable | Self::Truncated | Self::BadHead => {
                (Code::InvalidArgument, Http::BAD_REQUEST)
            }
            Self::UnknownCompression => (Code::Unimplemented, Http::UNSUPPORTED_MEDIA_TYPE),
            Self::NoCompressionNamed | Self::BadFlag => (Code::Internal, Http::BAD_REQUEST),
            Self::NoMessage | Self::ExtraMessage | Self::NotHttp2 => (Code::Unimplemented, Http::BAD_REQUEST),
            Self::ContentType => (Code::Internal, Http::UNSUPPORTED_MEDIA_TYPE),
            Self::LogsOnly | Self::UnknownPath => (Code::Unimplemented, Http::NOT_FOUND),
            Self::Method => (Code::Unimplemented, Http::METHOD_NOT_ALLOWED),
            Self::HeadTooLarge => (Code::InvalidArgument, Http::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::Origin => (Code::InvalidArgument, Http::FORBIDDEN),
        }
    }

    /// The text: plain ASCII without `%`, so that it needs no escape in a header or in JSON.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Budget => "the memory budget is taken: try again",
            Self::Busy => "the node is sent more than it can take in: try again",
            Self::DiskFull => "the disk is at its limit: try again",
            Self::NoSpare => "no WAL file is ready: try again",
            Self::Stalled => "the disk did not sync in time; whether it will is unknown: try again",
            Self::Failed => "this node's write-ahead log has failed: try another node",
            Self::TooLarge => "the message is larger than ingest.max_message",
            Self::InflatesTooLarge => "the message is larger than ingest.max_message once inflated",
            Self::ReadTimeout => "the message was not complete within ingest.read_timeout",
            Self::Malformed(_) => "not an OTLP logs request",
            Self::MalformedJson(_) => "not an OTLP/JSON logs request",
            Self::NotInflatable => "the compressed data is damaged or cut short",
            Self::UnknownCompression => "this compression is not known here: use gzip or zstd",
            Self::NoCompressionNamed => "the message is flagged as compressed, but there is no grpc-encoding",
            Self::BadFlag => "the compressed flag is neither 0 nor 1",
            Self::Truncated => "the body ends before the message does",
            Self::NoMessage => "a request has one message, and this one has none",
            Self::ExtraMessage => "a request has one message, and this one has more",
            Self::ContentType => {
                "unknown content-type: OTLP/gRPC is application/grpc, OTLP/HTTP is application/x-protobuf or \
                 application/json"
            }
            Self::LogsOnly => "this node takes logs only",
            Self::UnknownPath => "not served here: logs go to POST /v1/logs",
            Self::Method => "only POST is allowed here",
            Self::NotHttp2 => {
                "this port takes OTLP/gRPC over HTTP/2; OTLP/HTTP has a port of its own (listeners.otlp_http)"
            }
            Self::HeadTooLarge => "the headers, or the path, are longer than 16 KiB",
            Self::BadHead => "this is not HTTP/1.1",
            Self::Origin => "pages of this origin may not send logs: it is not in listeners.otlp_http.cors",
            Self::Fenced => "this node takes a new epoch, since a newer one fenced it: try again",
            Self::TooFewCopies => {
                "too few nodes synced a copy within cluster.ack_timeout; whether more will is unknown: try again"
            }
            Self::Starting => "this node waits for its cluster, and takes no logs yet: try again, at another node",
            Self::Leaving => "this node leaves its cluster, and takes no logs: try again, at another node",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::MalformedJson(fault) => fault.fmt(f),
            other => f.write_str(other.message()),
        }
    }
}

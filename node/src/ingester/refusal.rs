//! Why a request is refused, and what its client is told: a gRPC status with trailers, or an HTTP status with a body.
//!
//! Owns: the closed set of reasons, which is the metric's label set too, and their encoded answers.
//!
//! Invariants:
//! - I1: a reason that passes by itself invites a retry, in every form clients know; no other does.
//! - I2: refusing for a reason without detail formats and encodes nothing: its answer is made once, at the first refusal.

mod table;
mod wording;

use gophership_proto::otlp::json::JsonFault;
use gophership_proto::otlp::skim::SkimError;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::reply::ReplyBody;
use table::{Answer, answer_to};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(super) const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

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
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = 26;

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
        Self::Malformed(wording::NO_SKIM_ERROR),
        Self::MalformedJson(wording::NO_JSON_FAULT),
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
        }
    }

    /// The trailers, which are headers too, of the gRPC answer without a message.
    #[cold]
    pub(super) fn to_grpc(self) -> Response<ReplyBody> {
        if matches!(self, Self::ContentType | Self::Method | Self::NotHttp2) {
            return self.to_text();
        }
        let wording = self.wording();
        let answer = answer_to(self);
        let Answer {
            grpc_message,
            grpc_retry,
            ..
        } = &*answer;
        let mut response = Response::new(ReplyBody::Empty);
        let headers = response.headers_mut();
        headers.reserve(6);
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert(GRPC_STATUS, wording.code.grpc_value());
        headers.insert(GRPC_MESSAGE, grpc_message.clone());
        if let Some((details, retry_info)) = grpc_retry {
            headers.insert(GRPC_STATUS_DETAILS, details.clone());
            headers.insert(GRPC_RETRY_INFO, retry_info.clone());
        }
        if self == Self::UnknownCompression {
            headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
        }
        response
    }

    /// The HTTP answer: a `google.rpc.Status`, as JSON or as protobuf.
    #[cold]
    pub(super) fn to_http(self, json: bool) -> Response<ReplyBody> {
        let answer = answer_to(self);
        let body = if json { &answer.http_json } else { &answer.http_protobuf };
        let mut response = Response::new(ReplyBody::from(body.clone()));
        *response.status_mut() = self.wording().http;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if json { JSON } else { PROTOBUF });
        self.add_http_headers(headers);
        response
    }

    /// The answer to what is not gRPC, on the gRPC port.
    fn to_text(self) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::from(bytes::Bytes::from_static(
            self.wording().message.as_bytes(),
        )));
        *response.status_mut() = self.wording().http;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        self.add_http_headers(headers);
        response
    }

    fn add_http_headers(self, headers: &mut HeaderMap) {
        if self.wording().retry {
            headers.insert(RETRY_AFTER, table::RETRY_AFTER_VALUE);
        }
        if self == Self::Method {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self == Self::UnknownCompression {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
    }
}

#[cfg(test)]
mod tests;

//! Meanings of a sink's answers for the entries that were sent: pure functions over status and headers.
//!
//! **Invariants**:
//! - I1: only an answer that refuses the *data*, or its size, counts against an entry at once. Answers that may come
//!   from trouble of the sink or the network are retried. Answers for which an operator must act are a kind of their
//!   own, and so are those in which the sink itself says that it failed, which may be the data's fault (`suspects`
//!   decides that).

use std::time::Duration;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use prost::Message;
use serde_json::Value;
use tonic::{Code, Status};

use super::limits::WHY_CHARS_MAX;

const STATUS_DETAILS: &str = "grpc-status-details-bin";

/// The meaning of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The sink accepted everything.
    Accepted,
    /// The sink accepted all but some records.
    AcceptedInPart {
        /// Number of records that it rejected.
        rejected: u64,
        /// The sink's own text.
        why: String,
    },
    /// The sink does not accept the request now.
    Retry {
        /// The delay that the sink asks for.
        after: Option<Duration>,
        /// The sink's own text.
        why: String,
    },
    /// The sink itself says that it failed: it may be in trouble, or it may fail because of this data.
    Failed {
        /// The delay that the sink asks for.
        after: Option<Duration>,
        /// The sink's own text.
        why: String,
    },
    /// The sink refuses the size.
    TooLarge(String),
    /// The request is too large or comes too often; the answer does not say which.
    Exhausted(String),
    /// The sink refuses this data for good.
    Refused(String),
    /// The sink accepts nothing until an operator sets something right.
    Operator(String),
}

impl Answer {
    /// The sink's own text, where the answer is not plain acceptance.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::AcceptedInPart { why, .. }
            | Self::Retry { why, .. }
            | Self::Failed { why, .. }
            | Self::TooLarge(why)
            | Self::Exhausted(why)
            | Self::Refused(why)
            | Self::Operator(why) => Some(why),
        }
    }
}

/// Meaning of a gRPC status that the server itself sent.
pub(super) fn of_grpc(status: &Status) -> Answer {
    let why = said(&format!("{:?}", status.code()), status.message());
    let after = retry_info(status);
    match status.code() {
        Code::Ok => Answer::Accepted,
        // A tonic server answers so to a message that is larger than its limit; no retry makes it fit.
        Code::OutOfRange | Code::InvalidArgument | Code::ResourceExhausted
            if after.is_none() && is_of_size(status.message()) =>
        {
            Answer::TooLarge(why)
        }
        // These are the codes that OTLP itself lists as retryable.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Retry { after, why },
        Code::ResourceExhausted if after.is_some() => Answer::Retry { after, why },
        // By the protocol the request will not fit later either; but gateways use this code for their quotas.
        Code::ResourceExhausted => Answer::Exhausted(why),
        Code::InvalidArgument => Answer::Refused(why),
        // Servers answer so, too, when they cannot decode a message.
        Code::Unknown | Code::Internal => Answer::Failed { after, why },
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition => Answer::Operator(why),
    }
}

/// The gRPC status in trailers, or in the headers of an answer that has nothing else.
pub(super) fn grpc_status(trailers: &HeaderMap) -> Option<Status> {
    let mut trailers = trailers.clone();
    // tonic would panic at this.
    if let Some(details) = trailers.get(STATUS_DETAILS)
        && !is_base64(details.as_bytes())
    {
        trailers.remove(STATUS_DETAILS);
    }
    Status::from_header_map(&trailers)
}

/// True where tonic can decode it as base64; tonic accepts it padded and not.
fn is_base64(text: &[u8]) -> bool {
    const LIKE_TONIC: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    LIKE_TONIC.decode(text).is_ok()
}

/// Meaning of an HTTP status where gRPC was expected and did not answer: the protocol's own table.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
pub(super) fn without_grpc_status(status: StatusCode) -> Answer {
    let why = format!("HTTP {status} without a gRPC status");
    let code = match status.as_u16() {
        // A proxy's limit.
        413 => return Answer::TooLarge(why),
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    match of_grpc(&Status::new(code, why)) {
        // No gRPC server has seen the data, so this counts nothing against it.
        Answer::Failed { after, why } => Answer::Retry { after, why },
        other => other,
    }
}

/// Meaning of an HTTP status.
pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    if status.is_success() {
        return taken_by_http(status, headers, body);
    }
    let why = match headers.get(LOCATION) {
        Some(to) if status.is_redirection() => {
            let to = String::from_utf8_lossy(to.as_bytes());
            said(
                &format!("HTTP {status}"),
                &format!("it points to {to}, and redirects are not followed"),
            )
        }
        Some(_) | None => said(&format!("HTTP {status}"), &of_status(body)),
    };
    match status.as_u16() {
        400 => Answer::Refused(why),
        413 => Answer::TooLarge(why),
        500 => Answer::Failed {
            after: retry_after(headers, now),
            why,
        },
        408 | 429 | 502..=599 => Answer::Retry {
            after: retry_after(headers, now),
            why,
        },
        _ => Answer::Operator(why),
    }
}

/// Meaning of the response message of a sink that accepted the request.
pub(super) fn of_response(body: &[u8]) -> Answer {
    // A sink that answers with something else has nevertheless accepted the request.
    match ExportLogsServiceResponse::decode(body)
        .ok()
        .and_then(|r| r.partial_success)
    {
        Some(part) if part.rejected_log_records > 0 => Answer::AcceptedInPart {
            rejected: part.rejected_log_records.unsigned_abs(),
            why: shortened(&part.error_message),
        },
        Some(_) | None => Answer::Accepted,
    }
}

/// Meaning of the answer of an HTTP sink that accepted the request. A web page comes from another server, or from a
/// login.
fn taken_by_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    let is = |name: &str| {
        content_type
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    if is("text/html") {
        Answer::Operator(format!("HTTP {status}: answered with a web page: is the path right?"))
    } else if is("application/json") {
        of_json(body)
    } else {
        of_response(body)
    }
}

/// Meaning of a response message in JSON; otherwise as [`of_response`].
fn of_json(body: &[u8]) -> Answer {
    let response = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let part = &response["partialSuccess"];
    // By protobuf's mapping a 64-bit number is a string; many servers write it as a number.
    let rejected = &part["rejectedLogRecords"];
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok());
    match rejected.unwrap_or(0) {
        0 => Answer::Accepted,
        rejected => Answer::AcceptedInPart {
            rejected,
            why: shortened(part["errorMessage"].as_str().unwrap_or_default()),
        },
    }
}

/// True where a refusal concerns the message's size, by the texts of the gRPC libraries.
fn is_of_size(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "larger than max",
        "length too large",
        "exceeds maximum size",
        "message too large",
        "size limit",
        "maximum configured message size",
        "larger than configured max",
        // The text of GopherShip itself.
        "message is larger than",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// The text of an error: the message of a `google.rpc.Status`, as the protocol demands, or the plain body.
fn of_status(body: &[u8]) -> String {
    match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        Ok(_) | Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// A status together with the sink's own text, if there is one.
fn said(status: &str, word: &str) -> String {
    match shortened(word) {
        word if word.is_empty() => status.to_owned(),
        word => format!("{status}: {word}"),
    }
}

/// A sink's own text, made fit for a line of a log.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect()
}

/// The delay in `Retry-After`, given in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// The delay that a status asks for, in either of the places where servers put it.
fn retry_info(status: &Status) -> Option<Duration> {
    let in_trailer = status
        .metadata()
        .get_bin("google.rpc.retryinfo-bin")
        .and_then(|v| v.to_bytes().ok());
    let info = in_trailer.and_then(|bytes| RetryInfo::decode(bytes).ok()).or_else(|| {
        let details = RpcStatus::decode(status.details()).ok()?.details;
        let any = details
            .into_iter()
            .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
        RetryInfo::decode(any.value.as_slice()).ok()
    })?;
    let delay = info.retry_delay.unwrap_or_default();
    Some(Duration::new(
        u64::try_from(delay.seconds).unwrap_or(0),
        u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999),
    ))
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportLogsPartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsPartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests;

//! What a sink's answer means for the entry that was sent: pure functions over status and headers.
//!
//! **Invariant.** I1: only what refuses the *data*, or its size, tells against an entry; whatever may be the sink's or the network's trouble is retried, and what an operator
//! must set right is told apart from both.

use std::time::Duration;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use prost::Message;
use tonic::{Code, Status};

use super::limits::WHY_CHARS_MAX;

const STATUS_DETAILS: &str = "grpc-status-details-bin";

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Taken.
    Accepted,
    /// Taken, but for some records.
    AcceptedInPart {
        /// How many were rejected.
        rejected: u64,
        /// The sink's own word.
        why: String,
    },
    /// Not now.
    Retry {
        /// How long the sink asks to wait.
        after: Option<Duration>,
        /// The sink's own word.
        why: String,
    },
    /// Not so much at once.
    TooLarge(String),
    /// Too large, or too often: it does not say which.
    Exhausted(String),
    /// Not this data, ever.
    Refused(String),
    /// Nothing, until an operator sets something right.
    Operator(String),
}

/// What a gRPC status means.
pub(super) fn of_grpc(status: &Status) -> Answer {
    let why = format!("{:?}: {}", status.code(), shortened(status.message()));
    let after = retry_info(status);
    match status.code() {
        Code::Ok => Answer::Accepted,
        // A server of tonic's says so of a message that is larger than it takes; none is retried into fitting.
        Code::OutOfRange | Code::InvalidArgument | Code::ResourceExhausted
            if after.is_none() && is_of_size(status.message()) =>
        {
            Answer::TooLarge(why)
        }
        // The protocol's own list.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Retry { after, why },
        Code::ResourceExhausted if after.is_some() => Answer::Retry { after, why },
        // By the protocol it will not fit later either; but gateways say so of their quotas.
        Code::ResourceExhausted => Answer::Exhausted(why),
        Code::InvalidArgument => Answer::Refused(why),
        // A broken connection looks like this too.
        Code::Unknown | Code::Internal => Answer::Retry { after, why },
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition => Answer::Operator(why),
    }
}

/// The gRPC status among trailers, or among the headers of an answer that has nothing else.
pub(super) fn grpc_status(trailers: &HeaderMap) -> Option<Status> {
    let mut trailers = trailers.clone();
    // tonic would panic.
    if let Some(details) = trailers.get(STATUS_DETAILS)
        && !is_base64(details.as_bytes())
    {
        trailers.remove(STATUS_DETAILS);
    }
    Status::from_header_map(&trailers)
}

/// Whether it is for tonic, which takes it padded and not.
fn is_base64(text: &[u8]) -> bool {
    const LIKE_TONIC: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    LIKE_TONIC.decode(text).is_ok()
}

/// What an HTTP status means where gRPC was asked for and did not answer: the protocol's own table.
/// Source: <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
pub(super) fn without_grpc_status(status: StatusCode) -> Answer {
    let why = format!("HTTP {status} without a gRPC status");
    let code = match status.as_u16() {
        // A proxy's bound.
        413 => return Answer::TooLarge(why),
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    of_grpc(&Status::new(code, why))
}

/// What an HTTP status means.
pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    if status.is_success() {
        return of_response(body);
    }
    let why = format!("HTTP {status}: {}", shortened(&of_status(body)));
    match status.as_u16() {
        400 => Answer::Refused(why),
        413 => Answer::TooLarge(why),
        408 | 429 | 500 | 502..=599 => Answer::Retry {
            after: retry_after(headers, now),
            why,
        },
        _ => Answer::Operator(why),
    }
}

/// What the answer of a sink that took the request says of its records.
pub(super) fn of_response(body: &[u8]) -> Answer {
    // A sink that answers with something else took it all the same.
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

/// Whether a refusal is of the message's size, in the words of the gRPC libraries.
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
        // Our own.
        "message is larger than",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// The text of an error: the message of a `google.rpc.Status`, as the protocol wants it, or what stands there.
fn of_status(body: &[u8]) -> String {
    match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        Ok(_) | Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// A sink's word, fit for a line of a log.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect()
}

/// `Retry-After`, in seconds or as a date.
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
mod tests {
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    fn kind(answer: &Answer) -> &'static str {
        match answer {
            Answer::Accepted => "accepted",
            Answer::AcceptedInPart { .. } => "in part",
            Answer::Retry { .. } => "retry",
            Answer::Refused(_) => "refused",
            Answer::TooLarge(_) => "too large",
            Answer::Exhausted(_) => "exhausted",
            Answer::Operator(_) => "operator",
        }
    }

    fn asked(answer: &Answer) -> Option<Duration> {
        match answer {
            Answer::Retry { after, .. } => *after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_grpc_status_is_read_whatever_its_details_are() {
        let trailers = |details: &'static str| {
            HeaderMap::from_iter([
                (
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static("14"),
                ),
                (
                    http::HeaderName::from_static(STATUS_DETAILS),
                    http::HeaderValue::from_static(details),
                ),
            ])
        };
        for (details, kept) in [
            ("CA4", true),
            ("CA4=", true),
            ("%%%", false),
            ("a", false),
            ("CA4==x", false),
            ("=", false),
            ("AAAA=", false),
            ("AAAA==", false),
        ] {
            let status = grpc_status(&trailers(details)).expect("a status");
            assert_eq!(status.code(), Code::Unavailable);
            assert_eq!(!status.details().is_empty(), kept, "{details}");
        }
        assert!(grpc_status(&HeaderMap::new()).is_none());
    }

    #[test]
    fn an_http_answer_to_grpc_is_judged_by_its_status() {
        for (status, meaning) in [
            (StatusCode::OK, "retry"),
            (StatusCode::UNAUTHORIZED, "operator"),
            (StatusCode::NOT_FOUND, "operator"),
            (StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            (StatusCode::BAD_GATEWAY, "retry"),
        ] {
            assert_eq!(kind(&without_grpc_status(status)), meaning, "{status}");
        }
    }

    #[test]
    fn i1_grpc_table() {
        for (code, meaning) in [
            (Code::Cancelled, "retry"),
            (Code::Unknown, "retry"),
            (Code::InvalidArgument, "refused"),
            (Code::DeadlineExceeded, "retry"),
            (Code::NotFound, "operator"),
            (Code::AlreadyExists, "operator"),
            (Code::PermissionDenied, "operator"),
            (Code::ResourceExhausted, "exhausted"),
            (Code::FailedPrecondition, "operator"),
            (Code::Aborted, "retry"),
            (Code::OutOfRange, "retry"),
            (Code::Unimplemented, "operator"),
            (Code::Internal, "retry"),
            (Code::Unavailable, "retry"),
            (Code::DataLoss, "retry"),
            (Code::Unauthenticated, "operator"),
        ] {
            assert_eq!(kind(&of_grpc(&Status::new(code, "x"))), meaning, "{code:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_told_by_its_words() {
        for (code, text, meaning) in [
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
                "too large",
            ),
            (
                Code::InvalidArgument,
                "grpc: received message larger than max (5 vs. 4)",
                "too large",
            ),
            (
                Code::ResourceExhausted,
                "grpc: received message after decompression larger than max 4",
                "too large",
            ),
            (
                Code::ResourceExhausted,
                "the message is larger than ingest.max_message",
                "too large",
            ),
            (
                Code::ResourceExhausted,
                "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message",
                "too large",
            ),
            (
                Code::ResourceExhausted,
                "Received message exceeds the maximum configured message size.",
                "too large",
            ),
            (
                Code::ResourceExhausted,
                "message size 5 is larger than configured max 4",
                "too large",
            ),
            (Code::ResourceExhausted, "10,000 requests a minute", "exhausted"),
            (Code::OutOfRange, "no such page", "retry"),
            (Code::InvalidArgument, "no body", "refused"),
        ] {
            assert_eq!(kind(&of_grpc(&Status::new(code, text))), meaning, "{code:?} {text}");
        }
    }

    #[test]
    fn an_error_is_told_in_the_sinks_words_on_one_line() {
        let why = |body: &[u8]| match of_http(StatusCode::BAD_REQUEST, &HeaderMap::new(), body, Timestamp::UNIX_EPOCH) {
            Answer::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let status = RpcStatus {
            message: "no\nbody".to_owned(),
            details: Vec::new(),
        };
        assert_eq!(why(&status.encode_to_vec()), "HTTP 400 Bad Request: nobody");
        assert_eq!(why(b"plain"), "HTTP 400 Bad Request: plain");
        assert!(why(&[b'x'; 10_000]).len() < 400);
    }

    #[test]
    fn i1_http_table() {
        for (code, meaning) in [
            (200, "accepted"),
            (202, "accepted"),
            (301, "operator"),
            (400, "refused"),
            (401, "operator"),
            (403, "operator"),
            (404, "operator"),
            (408, "retry"),
            (413, "too large"),
            (415, "operator"),
            (429, "retry"),
            (500, "retry"),
            (501, "operator"),
            (502, "retry"),
            (503, "retry"),
            (504, "retry"),
        ] {
            let answer = of_http(
                StatusCode::from_u16(code).unwrap(),
                &HeaderMap::new(),
                b"",
                Timestamp::UNIX_EPOCH,
            );
            assert_eq!(kind(&answer), meaning, "{code}");
        }
    }

    #[test]
    fn a_delay_is_found_in_the_details_and_in_the_trailer() {
        let info = RetryInfo {
            retry_delay: Some(Delay {
                seconds: 2,
                nanos: 500_000_000,
            }),
        }
        .encode_to_vec();
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.clone(),
        };
        let details = RpcStatus {
            message: String::new(),
            details: vec![any],
        }
        .encode_to_vec();
        let in_details = Status::with_details(Code::ResourceExhausted, "full", details.into());
        assert_eq!(asked(&of_grpc(&in_details)), Some(Duration::from_millis(2500)));
        let mut metadata = MetadataMap::new();
        metadata.insert_bin("google.rpc.retryinfo-bin", MetadataValue::from_bytes(&info));
        let in_trailer = Status::with_metadata(Code::Unavailable, "full", metadata);
        assert_eq!(asked(&of_grpc(&in_trailer)), Some(Duration::from_millis(2500)));
        assert_eq!(asked(&of_grpc(&Status::unavailable("x"))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let ask = |value: &str| {
            let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, value.parse().unwrap())]);
            asked(&of_http(
                StatusCode::SERVICE_UNAVAILABLE,
                &headers,
                b"",
                Timestamp::from_second(1_445_412_470).unwrap(),
            ))
        };
        assert_eq!(ask("7"), Some(Duration::from_secs(7)));
        assert_eq!(ask("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(
            ask("Wed, 21 Oct 2015 07:27:00 GMT"),
            Some(Duration::ZERO),
            "in the past"
        );
        assert_eq!(ask("soon"), None);
    }

    #[test]
    fn a_partial_success_counts_what_was_rejected() {
        let part = ExportLogsPartialSuccess {
            rejected_log_records: 3,
            error_message: "too old".to_owned(),
        };
        let body = ExportLogsServiceResponse {
            partial_success: Some(part),
        }
        .encode_to_vec();
        assert_eq!(
            of_response(&body),
            Answer::AcceptedInPart {
                rejected: 3,
                why: "too old".to_owned()
            }
        );
        let warned = ExportLogsPartialSuccess {
            rejected_log_records: 0,
            error_message: "slow down".to_owned(),
        };
        let body = ExportLogsServiceResponse {
            partial_success: Some(warned),
        }
        .encode_to_vec();
        assert_eq!(of_response(&body), Answer::Accepted);
        assert_eq!(of_response(b""), Answer::Accepted);
        assert_eq!(of_response(b"<html>"), Answer::Accepted);
    }
}

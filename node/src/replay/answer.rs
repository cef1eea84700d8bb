//! What a sink's answer means for the entry that was sent: pure functions over status and headers.
//!
//! **Invariant.** I1: only what refuses the *data* passes an entry over; whatever may be the sink's or the network's trouble is retried, and what an operator must set
//! right ends the job.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use prost::Message;
use tonic::{Code, Status};

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
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
    /// Not this data, ever.
    Refused(String),
    /// Nothing, until an operator sets something right.
    Stop(String),
}

/// What a gRPC status means.
pub(super) fn of_grpc(status: &Status) -> Answer {
    let why = format!("{:?}: {}", status.code(), status.message());
    let after = retry_info(status);
    match status.code() {
        Code::Ok => Answer::Accepted,
        // The protocol's own list.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Retry { after, why },
        Code::ResourceExhausted if after.is_some() => Answer::Retry { after, why },
        // Without a delay it will not fit later either.
        Code::ResourceExhausted | Code::InvalidArgument => Answer::Refused(why),
        // A broken connection looks like this too.
        Code::Unknown | Code::Internal => Answer::Retry { after, why },
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition => Answer::Stop(why),
    }
}

/// What an HTTP status means.
pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    if status.is_success() {
        return of_response(body);
    }
    let text = String::from_utf8_lossy(body);
    let why = format!(
        "HTTP {status}: {}",
        text.chars().filter(|c| !c.is_control()).take(300).collect::<String>()
    );
    match status.as_u16() {
        400 | 413 => Answer::Refused(why),
        408 | 429 | 500 | 502..=599 => Answer::Retry {
            after: retry_after(headers, now),
            why,
        },
        _ => Answer::Stop(why),
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
            why: part.error_message,
        },
        Some(_) | None => Answer::Accepted,
    }
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
            Answer::Stop(_) => "stop",
        }
    }

    fn asked(answer: &Answer) -> Option<Duration> {
        match answer {
            Answer::Retry { after, .. } => *after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn i1_grpc_table() {
        for (code, meaning) in [
            (Code::Cancelled, "retry"),
            (Code::Unknown, "retry"),
            (Code::InvalidArgument, "refused"),
            (Code::DeadlineExceeded, "retry"),
            (Code::NotFound, "stop"),
            (Code::AlreadyExists, "stop"),
            (Code::PermissionDenied, "stop"),
            (Code::ResourceExhausted, "refused"),
            (Code::FailedPrecondition, "stop"),
            (Code::Aborted, "retry"),
            (Code::OutOfRange, "retry"),
            (Code::Unimplemented, "stop"),
            (Code::Internal, "retry"),
            (Code::Unavailable, "retry"),
            (Code::DataLoss, "retry"),
            (Code::Unauthenticated, "stop"),
        ] {
            assert_eq!(kind(&of_grpc(&Status::new(code, "x"))), meaning, "{code:?}");
        }
    }

    #[test]
    fn i1_http_table() {
        for (code, meaning) in [
            (200, "accepted"),
            (202, "accepted"),
            (301, "stop"),
            (400, "refused"),
            (401, "stop"),
            (403, "stop"),
            (404, "stop"),
            (408, "retry"),
            (413, "refused"),
            (415, "stop"),
            (429, "retry"),
            (500, "retry"),
            (501, "stop"),
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
        let details = RpcStatus { details: vec![any] }.encode_to_vec();
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

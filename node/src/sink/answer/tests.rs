//! Answers by table.

use tonic::metadata::{MetadataMap, MetadataValue};

use super::*;

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted => "accepted",
        Answer::AcceptedInPart { .. } => "in part",
        Answer::Retry { .. } => "retry",
        Answer::Failed { .. } => "failed",
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
        (StatusCode::BAD_REQUEST, "retry"),
        (StatusCode::INTERNAL_SERVER_ERROR, "retry"),
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
        (Code::Unknown, "failed"),
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
        (Code::Internal, "failed"),
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
fn an_answer_without_a_word_is_its_status_and_a_redirect_says_where_to() {
    let headers = HeaderMap::from_iter([(LOCATION, "https://other.example/v1/logs".parse().unwrap())]);
    for (status, headers, expected) in [
        (403, HeaderMap::new(), "HTTP 403 Forbidden"),
        (307, HeaderMap::new(), "HTTP 307 Temporary Redirect"),
        (
            307,
            headers,
            "HTTP 307 Temporary Redirect: it points to https://other.example/v1/logs, and redirects are not followed",
        ),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = of_http(status, &headers, b"", Timestamp::UNIX_EPOCH);
        assert_eq!(answer.why(), Some(expected));
    }
    assert_eq!(of_grpc(&Status::unauthenticated("")).why(), Some("Unauthenticated"));
}

#[test]
fn what_an_http_sink_took_is_told_by_its_content_type() {
    let part = |rejected: u64| match rejected {
        0 => Answer::Accepted,
        rejected => Answer::AcceptedInPart {
            rejected,
            why: "too old".to_owned(),
        },
    };
    for (content_type, body, expected) in [
        (
            "application/json",
            r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#,
            part(3),
        ),
        (
            "Application/JSON; charset=utf-8",
            r#"{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"too old"}}"#,
            part(2),
        ),
        (
            "application/json",
            r#"{"partialSuccess":{"errorMessage":"slow down"}}"#,
            part(0),
        ),
        ("application/json", "{}", part(0)),
        ("application/json", "no JSON", part(0)),
        ("text/plain", "OK", part(0)),
        (
            "text/html; charset=utf-8",
            "<html>",
            Answer::Operator("HTTP 200 OK: answered with a web page: is the path right?".to_owned()),
        ),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        let answer = of_http(StatusCode::OK, &headers, body.as_bytes(), Timestamp::UNIX_EPOCH);
        assert_eq!(answer, expected, "{content_type} {body}");
    }
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
        (500, "failed"),
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

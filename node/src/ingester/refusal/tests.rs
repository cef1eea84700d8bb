use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use gophership_proto::otlp::json::{JsonFault, JsonReason};
use gophership_proto::otlp::skim::must_skim;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use prost::Message;

use super::*;
use crate::ingester::reply::ReplyBody;

/// google.rpc.Status, declared independently of the code.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
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

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const TEMPORARY: [Refusal; 10] = [
    Refusal::Budget,
    Refusal::Busy,
    Refusal::DiskFull,
    Refusal::NoSpare,
    Refusal::Stalled,
    Refusal::Failed,
    Refusal::Fenced,
    Refusal::TooFewCopies,
    Refusal::Starting,
    Refusal::Leaving,
];

fn header<'h>(response: &'h Response<ReplyBody>, name: &str) -> Option<&'h str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn body(response: Response<ReplyBody>) -> bytes::Bytes {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(response.into_body().collect()).unwrap().to_bytes()
}

fn decoded<M: Message + Default>(value: &str) -> M {
    M::decode(&STANDARD_NO_PAD.decode(value).unwrap()[..]).unwrap()
}

#[test]
fn every_reason_has_its_own_place_and_label() {
    for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal.index(), index);
        assert!(
            refusal
                .label()
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
    }
    let labels: std::collections::HashSet<_> = Refusal::ALL.into_iter().map(Refusal::label).collect();
    assert_eq!(labels.len(), Refusal::COUNT);
}

#[test]
fn i1_exactly_what_passes_by_itself_invites_a_retry_in_every_form() {
    for refusal in Refusal::ALL {
        let temporary = TEMPORARY.contains(&refusal);
        let grpc = refusal.to_grpc();
        for name in ["grpc-status-details-bin", "google.rpc.retryinfo-bin"] {
            assert_eq!(header(&grpc, name).is_some(), temporary, "{name} of {refusal:?}");
        }
        for json in [true, false] {
            let http = refusal.to_http(json);
            assert_eq!(header(&http, "retry-after"), temporary.then_some("1"), "{refusal:?}");
            assert_eq!(
                http.status() == StatusCode::SERVICE_UNAVAILABLE,
                temporary,
                "{refusal:?}"
            );
        }
    }
}

#[test]
fn retry_info_decodes_to_one_second_in_both_trailers() {
    let grpc = Refusal::Budget.to_grpc();
    assert_eq!(
        (header(&grpc, "grpc-status"), grpc.status()),
        (Some("14"), StatusCode::OK)
    );
    let expected = RetryInfo {
        retry_delay: Some(Delay { seconds: 1, nanos: 0 }),
    };
    assert_eq!(
        decoded::<RetryInfo>(header(&grpc, "google.rpc.retryinfo-bin").unwrap()),
        expected
    );
    let status: Status = decoded(header(&grpc, "grpc-status-details-bin").unwrap());
    assert_eq!(
        (status.code, status.message.as_str()),
        (14, header(&grpc, "grpc-message").unwrap())
    );
    let [detail] = &status.details[..] else {
        panic!("one detail")
    };
    assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(RetryInfo::decode(&detail.value[..]).unwrap(), expected);
}

#[test]
fn codes_are_those_that_the_design_names() {
    let malformed = Refusal::Malformed(must_skim(&[0xff], 0).unwrap_err());
    let rows = [
        (Refusal::Budget, "14", 503),
        (Refusal::DiskFull, "14", 503),
        (Refusal::TooLarge, "8", 413),
        (Refusal::InflatesTooLarge, "8", 413),
        (Refusal::ReadTimeout, "4", 408),
        (malformed, "3", 400),
        (Refusal::NotInflatable, "3", 400),
        (Refusal::LogsOnly, "12", 404),
        (Refusal::UnknownCompression, "12", 415),
        (Refusal::NoCompressionNamed, "13", 400),
    ];
    for (refusal, code, http) in rows {
        let grpc = refusal.to_grpc();
        assert_eq!(
            (header(&grpc, "grpc-status"), header(&grpc, "content-type")),
            (Some(code), Some("application/grpc"))
        );
        assert_eq!(refusal.to_http(true).status(), http);
    }
    assert_eq!(
        header(&Refusal::UnknownCompression.to_grpc(), "grpc-accept-encoding"),
        Some("identity,gzip,zstd")
    );
}

#[test]
fn what_is_malformed_says_where() {
    let error = must_skim(&[0x0a, 0x05, 0x00], 0).unwrap_err();
    let message = error.to_string();
    assert_eq!(
        header(&Refusal::Malformed(error).to_grpc(), "grpc-message"),
        Some(&message[..])
    );
    let http = Status::decode(&body(Refusal::Malformed(error).to_http(false))[..]).unwrap();
    assert_eq!((http.code, http.message, http.details), (3, message, vec![]));
    let json = Refusal::MalformedJson(JsonFault {
        reason: JsonReason::Wanted("an integer"),
        field: Some("flags"),
        line: 3,
        column: 7,
    })
    .to_http(true);
    assert_eq!(header(&json, "content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&body(json)).unwrap();
    assert_eq!(json["code"], 3);
    assert!(
        json["message"]
            .as_str()
            .unwrap()
            .ends_with("flags: must be an integer (line 3, column 7)")
    );
}

#[test]
fn what_is_not_grpc_is_answered_in_plain_text() {
    for (refusal, status) in [
        (Refusal::ContentType, 415),
        (Refusal::Method, 405),
        (Refusal::NotHttp2, 400),
    ] {
        let response = refusal.to_grpc();
        assert_eq!(
            (response.status().as_u16(), header(&response, "grpc-status")),
            (status, None)
        );
        assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(body(response), refusal.message());
    }
}

#[test]
fn messages_need_no_escape_in_headers_or_json() {
    for refusal in Refusal::ALL {
        let message = refusal.to_string();
        assert!(
            message
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte) && !b"%\"\\".contains(&byte)),
            "{message}"
        );
    }
}

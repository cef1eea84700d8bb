//! The encoded answers, made once.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;

use super::reason::Refusal;
use crate::limits::RETRY_DELAY_SECONDS;

/// All forms of one refusal.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) grpc_message: HeaderValue,
    /// `grpc-status-details-bin` and `google.rpc.retryinfo-bin`.
    pub(super) grpc_retry: Option<(HeaderValue, HeaderValue)>,
    pub(super) http_protobuf: Bytes,
    pub(super) http_json: Bytes,
}

pub(super) const RETRY_AFTER_VALUE: HeaderValue = HeaderValue::from_static(decimal(RETRY_DELAY_SECONDS));

/// The delay as one digit: longer ones would exceed the time that clients wait at all.
const fn decimal(seconds: u8) -> &'static str {
    const DIGITS: &str = "0123456789";
    assert!(seconds > 0 && seconds < 10);
    let (_, from) = DIGITS.as_bytes().split_at(seconds as usize);
    match std::str::from_utf8(from.split_at(1).0) {
        Ok(digit) => digit,
        Err(_) => panic!("digits are ASCII"),
    }
}

static ANSWERS: LazyLock<Vec<Answer>> = LazyLock::new(|| Refusal::ALL.into_iter().map(Answer::new).collect());

/// The forms of `refusal`.
pub(super) fn answer_to(refusal: Refusal) -> Cow<'static, Answer> {
    if refusal.has_detail() {
        Cow::Owned(Answer::new(refusal))
    } else {
        Cow::Borrowed(&ANSWERS[refusal.index()])
    }
}

impl Answer {
    fn new(refusal: Refusal) -> Self {
        let code = refusal.codes().0 as u8;
        let message = refusal.to_string();
        let retry_info = refusal.is_temporary().then(retry_info);
        let status = status(code, &message, retry_info.as_deref());
        let json = serde_json::json!({ "code": code, "message": message });
        Self {
            grpc_message: HeaderValue::from_str(&message).expect("our messages are printable ASCII"),
            grpc_retry: retry_info.map(|info| (binary(&status), binary(&info))),
            http_protobuf: status.into(),
            http_json: json.to_string().into(),
        }
    }
}

fn binary(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_str(&STANDARD_NO_PAD.encode(bytes)).expect("base64 is printable ASCII")
}

/// `google.rpc.RetryInfo { retry_delay: Duration { seconds } }`.
fn retry_info() -> Vec<u8> {
    delimited(1, &[0x08, RETRY_DELAY_SECONDS])
}

/// `google.rpc.Status { code, message, details: [Any { type_url, value: retry_info }] }`.
fn status(code: u8, message: &str, retry_info: Option<&[u8]>) -> Vec<u8> {
    let mut status = vec![0x08, code];
    status.extend(delimited(2, message.as_bytes()));
    if let Some(info) = retry_info {
        let mut any = delimited(1, b"type.googleapis.com/google.rpc.RetryInfo");
        any.extend(delimited(2, info));
        status.extend(delimited(3, &any));
    }
    status
}

/// A field of protobuf's wire type 2.
fn delimited(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    let mut rest = content.len();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(content);
    bytes
}

//! Answers of refusals: a gRPC status with trailers, or an HTTP status with a body.
//!
//! **Invariants**:
//! - I1: a temporary reason invites a retry, in every form that clients know; no other reason does.
//! - I2: a refusal for a reason without detail formats and encodes nothing: its answer is made once, at the first
//!   refusal.

use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::reason::Refusal;
use super::table::{self, Answer, answer_to};
use crate::ingester::reply::{GRPC, GRPC_MESSAGE, GRPC_STATUS, JSON, PROTOBUF, ReplyBody};

const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

impl Refusal {
    /// The headers of a gRPC answer without a message, which are also its trailers.
    #[cold]
    pub(in crate::ingester) fn to_grpc(self) -> Response<ReplyBody> {
        if matches!(self, Self::ContentType | Self::Method | Self::NotHttp2) {
            return self.to_text();
        }
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
        headers.insert(GRPC_STATUS, self.codes().0.grpc_value());
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
    pub(in crate::ingester) fn to_http(self, json: bool) -> Response<ReplyBody> {
        let answer = answer_to(self);
        let body = if json { &answer.http_json } else { &answer.http_protobuf };
        let mut response = Response::new(ReplyBody::from(body.clone()));
        *response.status_mut() = self.codes().1;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if json { JSON } else { PROTOBUF });
        self.add_http_headers(headers);
        response
    }

    /// The answer on the gRPC port to a request that is not gRPC.
    fn to_text(self) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::from(bytes::Bytes::from_static(self.message().as_bytes())));
        *response.status_mut() = self.codes().1;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        self.add_http_headers(headers);
        response
    }

    fn add_http_headers(self, headers: &mut HeaderMap) {
        if self.is_temporary() {
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

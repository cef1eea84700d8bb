//! OTLP/HTTP: `POST /v1/logs`, as protobuf or JSON, by HTTP/1.1 or HTTP/2.
//!
//! **Invariants**:
//! - I1: a body's bytes are taken from the budget before they are read: all at once where the client announces their
//!   number, else as they come.
//! - I2: the answer has the request's content type: protobuf or JSON.

use bytes::Bytes;
use gophership_proto::otlp::inflate::Compression;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::cors;
use super::message::Message;
use super::refusal::Refusal;
use super::reply::{JSON, PROTOBUF, ReplyBody};
use super::state::{ConnectionCharge, InFlight, WorkerState};
use super::store::{Form, store};
use crate::limits::{HTTP1_BUFFER_BYTES, PASSED_OVER_BYTES_MAX};

const LOGS: &str = "/v1/logs";
/// Paths of the other signals.
const OTHER_SIGNALS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1development/profiles"];

/// Answers a request on the HTTP port.
pub(super) async fn answer(
    state: &WorkerState,
    charge: &ConnectionCharge,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let mut in_flight = InFlight::must_begin(state, charge);
    // A client that names neither type is a person or a probe, and JSON is readable.
    let json = content_is_json(request.headers()).unwrap_or(true);
    let origin = cors::allowed(&state.limits.origins, request.headers());
    let outcome = match route(&request) {
        Ok(Route::Logs) => export(state, &mut in_flight, request).await.map(|()| success(json)),
        Ok(Route::Preflight) if origin.is_some() => Ok(cors::preflight(request.headers())),
        Ok(Route::Preflight) => Err(Refusal::Origin),
        Err(refusal) => Err(refusal),
    };
    let mut response = outcome.unwrap_or_else(|refusal| {
        state.counters.must_count_refusal(refusal);
        refusal.to_http(json)
    });
    if let Some(origin) = origin {
        cors::let_see(origin, response.headers_mut());
    }
    response
}

fn success(json: bool) -> Response<ReplyBody> {
    let (content_type, body) = if json {
        (JSON, Bytes::from_static(b"{}"))
    } else {
        (PROTOBUF, Bytes::new())
    };
    let mut response = Response::new(ReplyBody::from(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

enum Route {
    Logs,
    Preflight,
}

fn route(request: &Request<Incoming>) -> Result<Route, Refusal> {
    let path = request.uri().path();
    if path != LOGS {
        return Err(if OTHER_SIGNALS.contains(&path) {
            Refusal::LogsOnly
        } else {
            Refusal::UnknownPath
        });
    }
    if request.method() == Method::POST {
        Ok(Route::Logs)
    } else if cors::is_preflight(request) {
        Ok(Route::Preflight)
    } else {
        Err(Refusal::Method)
    }
}

/// True for JSON, false for protobuf, `None` for any other content type.
pub(super) fn content_is_json(headers: &HeaderMap) -> Option<bool> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-protobuf") {
        Some(false)
    } else if essence.eq_ignore_ascii_case("application/json") {
        Some(true)
    } else {
        None
    }
}

fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let json = content_is_json(headers).ok_or(Refusal::ContentType)?;
    let coding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    let is = |name: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(name);
    let compression = if is(b"") || is(b"identity") {
        None
    } else if is(b"gzip") || is(b"x-gzip") {
        Some(Compression::Gzip)
    } else if is(b"zstd") {
        Some(Compression::Zstd)
    } else {
        return Err(Refusal::UnknownCompression);
    };
    Ok(Form { compression, json })
}

async fn export<'w>(
    state: &'w WorkerState,
    in_flight: &mut InFlight<'w>,
    request: Request<Incoming>,
) -> Result<(), Refusal> {
    let form = form(request.headers())?;
    let is_http2 = request.version() == Version::HTTP_2;
    let unread = if is_http2 {
        u64::from(state.window)
    } else {
        HTTP1_BUFFER_BYTES as u64
    };
    let mut body = request.into_body();
    let read = read_message(state, in_flight, unread, form, &mut body);
    let read = tokio::time::timeout(state.limits.read_timeout, read).await;
    match read.unwrap_or(Err(Refusal::ReadTimeout)) {
        Ok(message) => store(state, message, form).await,
        Err(refusal) => {
            if refusal.is_temporary() && !is_http2 {
                pass_over(state, body).await;
            }
            Err(refusal)
        }
    }
}

/// Reads the rest of a body that is refused for now, and keeps none of it. Otherwise HTTP/1.1 would close the
/// connection, and a client that is still sending would not see the answer.
async fn pass_over(state: &WorkerState, mut body: Incoming) {
    let read = async {
        let mut left = PASSED_OVER_BYTES_MAX;
        while body.size_hint().lower() <= left {
            let Some(Ok(frame)) = body.frame().await else { return };
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
    };
    // The answer is the same, late or not.
    let _ = tokio::time::timeout(state.limits.read_timeout, read).await;
}

async fn read_message<'w>(
    state: &'w WorkerState,
    in_flight: &mut InFlight<'w>,
    unread: u64,
    form: Form,
    body: &mut Incoming,
) -> Result<Message<'w>, Refusal> {
    let coming = state.must_admit()?;
    in_flight.must_pay(unread)?;
    let max = state.limits.max_message;
    let expected = body.size_hint().exact();
    let mut message = Message::new(state, coming);
    if form != Form::PLAIN {
        message.make_contiguous();
    }
    if let Some(len) = expected {
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= max)
            .ok_or(Refusal::TooLarge)?;
        message.must_expect(len)?;
    }
    while let Some(frame) = body.frame().await {
        // The client is gone or its framing is broken; the answer, if any, says so.
        let Ok(data) = frame.map_err(|_| Refusal::Truncated)?.into_data() else {
            continue;
        };
        let len = message.len() + data.len();
        if len > max {
            return Err(Refusal::TooLarge);
        }
        if expected.is_none() {
            message.must_grow_by(data.len())?;
        }
        message.must_push(data, expected.is_some_and(|expected| len as u64 == expected));
    }
    if expected.is_none() {
        message.must_have_come();
    }
    Ok(message)
}

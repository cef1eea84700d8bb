//! OTLP/HTTP: `POST /v1/logs`, as protobuf or JSON, by HTTP/1.1 or HTTP/2.
//!
//! Invariants:
//! - I1: a body's bytes are taken from the budget before they are read: all at once where the client says how many, else as they come.
//! - I2: the answer is of the request's type: protobuf or JSON.

use bytes::Bytes;
use gophership_proto::otlp::inflate::Compression;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::message::Message;
use super::refusal::{JSON, PROTOBUF, Refusal};
use super::reply::ReplyBody;
use super::state::{ConnectionCharge, InFlight, WorkerState};
use super::store::{Form, store};

const LOGS: &str = "/v1/logs";
/// The paths of what is not logs.
const OTHER_SIGNALS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1development/profiles"];

/// Answers a request on the HTTP port.
pub(super) async fn answer(
    state: &WorkerState,
    charge: &ConnectionCharge,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let mut in_flight = InFlight::must_begin(state, charge);
    // Whoever sends neither is a human or a probe, and JSON can be read.
    let json = content_is_json(request.headers()).unwrap_or(true);
    let outcome = match route(&request) {
        Ok(()) => export(state, &mut in_flight, request).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(()) => success(json),
        Err(refusal) => {
            state.counters.must_count_refusal(refusal);
            refusal.to_http(json)
        }
    }
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

fn route(request: &Request<Incoming>) -> Result<(), Refusal> {
    let path = request.uri().path();
    if path != LOGS {
        return Err(if OTHER_SIGNALS.contains(&path) {
            Refusal::LogsOnly
        } else {
            Refusal::UnknownPath
        });
    }
    if request.method() == Method::POST {
        Ok(())
    } else {
        Err(Refusal::Method)
    }
}

/// Whether the content is JSON; `None` where it is neither that nor protobuf.
fn content_is_json(headers: &HeaderMap) -> Option<bool> {
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
    let compression = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"" | b"identity") => None,
        Some(b"gzip" | b"x-gzip") => Some(Compression::Gzip),
        Some(b"zstd") => Some(Compression::Zstd),
        Some(_) => return Err(Refusal::UnknownCompression),
    };
    Ok(Form { compression, json })
}

async fn export(state: &WorkerState, in_flight: &mut InFlight<'_>, request: Request<Incoming>) -> Result<(), Refusal> {
    let form = form(request.headers())?;
    in_flight.must_pay()?;
    let read = read_message(state, form, request.into_body());
    let message = match tokio::time::timeout(state.limits.read_timeout, read).await {
        Ok(read) => read?,
        Err(_) => return Err(Refusal::ReadTimeout),
    };
    store(state, message, form).await
}

async fn read_message(state: &WorkerState, form: Form, mut body: Incoming) -> Result<Message<'_>, Refusal> {
    let max = state.limits.max_message;
    let expected = body.size_hint().exact();
    let mut message = Message::new(state);
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
        // The client is gone or the framing is broken: the answer, if any, says so.
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
    Ok(message)
}

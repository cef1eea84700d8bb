//! OTLP/gRPC: an implementation of `LogsService/Export` of our own, from HTTP/2 frames to the answer.
//!
//! **Invariants**:
//! - I1: a message's length is taken from the budget before its bytes are read.
//! - I2: exactly one whole message is stored, or nothing.
//!
//! **Not here**: other services of the port, which `run` composes.

use std::rc::Rc;

use bytes::{Buf, Bytes};
use gophership_proto::otlp::inflate::Compression;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use tower_service::Service;

use super::admission::Expected;
use super::message::Message;
use super::refusal::Refusal;
use super::reply::{GRPC, ReplyBody};
use super::state::{ConnectionCharge, InFlight, WorkerState};
use super::store::{Form, store};
use crate::limits::OTHER_REQUEST_BYTES;

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Path prefix of OTLP's services, those of other signals included.
const COLLECTOR: &str = "/opentelemetry.proto.collector.";
const LOGS_SERVICE: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/";

/// Bytes before each gRPC message: the compressed flag and the length.
const PREFIX: usize = 5;

/// Answers a request on the gRPC port.
pub(super) async fn answer(
    state: &WorkerState,
    charge: &Rc<ConnectionCharge>,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let mut in_flight = InFlight::must_begin(state, charge);
    let outcome = match route(&request) {
        Route::Export => export(state, &mut in_flight, request).await,
        Route::Refused(refusal) => Err(refusal),
        Route::Other => other_service(state, charge, &mut in_flight, request).await,
    };
    outcome.unwrap_or_else(|refusal| {
        state.counters.must_count_refusal(refusal);
        refusal.to_grpc()
    })
}

enum Route {
    Export,
    Other,
    Refused(Refusal),
}

fn route(request: &Request<Incoming>) -> Route {
    let path = request.uri().path();
    if request.version() != Version::HTTP_2 {
        Route::Refused(Refusal::NotHttp2)
    } else if request.method() != Method::POST {
        Route::Refused(Refusal::Method)
    } else if !is_grpc(request.headers()) {
        Route::Refused(Refusal::ContentType)
    } else if path == EXPORT {
        Route::Export
    } else if path.starts_with(COLLECTOR) && !path.starts_with(LOGS_SERVICE) {
        Route::Refused(Refusal::LogsOnly)
    } else {
        Route::Other
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match content_type.strip_prefix(b"application/grpc") {
        None => false,
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')) && !rest.starts_with(b"+json"),
    }
}

async fn export(
    state: &WorkerState,
    in_flight: &mut InFlight<'_>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Refusal> {
    let coming = state.must_admit()?;
    in_flight.must_pay(state.window.into())?;
    let encoding = Encoding::of(request.headers());
    // The headers are not kept while the message arrives.
    let read = read_message(state, coming, encoding, request.into_body());
    let (message, form) = match tokio::time::timeout(state.limits.read_timeout, read).await {
        Ok(read) => read?,
        Err(_) => return Err(Refusal::ReadTimeout),
    };
    store(state, message, form).await?;
    let mut response = Response::new(ReplyBody::GrpcMessage);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(response)
}

/// Reads the one message of a request.
async fn read_message<'w>(
    state: &'w WorkerState,
    coming: Expected<'w>,
    encoding: Encoding,
    mut body: Incoming,
) -> Result<(Message<'w>, Form), Refusal> {
    let (mut frame, flag, len) = read_prefix(&mut body).await?;
    let form = Form {
        compression: compression(flag, encoding)?,
        json: false,
    };
    if len > state.limits.max_message {
        return Err(Refusal::TooLarge);
    }
    let mut message = Message::new(state, coming);
    message.must_expect(len)?;
    if form.compression.is_some() {
        message.make_contiguous();
    }
    loop {
        let left = len - message.len();
        if frame.len() > left {
            return Err(Refusal::ExtraMessage);
        }
        let last = frame.len() == left;
        message.must_push(frame, last);
        if last {
            break;
        }
        frame = next_data(&mut body).await?.ok_or(Refusal::Truncated)?;
    }
    // A client whose stream breaks off behind its message does not want it stored.
    while !body.is_end_stream() {
        match next_data(&mut body).await? {
            Some(data) if data.is_empty() => {}
            Some(_) => return Err(Refusal::ExtraMessage),
            None => break,
        }
    }
    Ok((message, form))
}

/// Reads the prefix. Returns the rest of the frame in which it ended, the flag and the length.
async fn read_prefix(body: &mut Incoming) -> Result<(Bytes, u8, usize), Refusal> {
    let mut prefix = [0; PREFIX];
    let mut have = 0;
    loop {
        let Some(mut frame) = next_data(body).await? else {
            return Err(if have == 0 {
                Refusal::NoMessage
            } else {
                Refusal::Truncated
            });
        };
        let take = frame.len().min(PREFIX - have);
        prefix[have..have + take].copy_from_slice(&frame[..take]);
        frame.advance(take);
        have += take;
        if have == PREFIX {
            let [flag, len @ ..] = prefix;
            // A u32 fits into usize: targets are 64-bit.
            return Ok((frame, flag, u32::from_be_bytes(len) as usize));
        }
    }
}

/// The value of `grpc-encoding`.
#[derive(Clone, Copy)]
enum Encoding {
    None,
    Known(Compression),
    Unknown,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
            None => Self::None,
            Some(name) if name.eq_ignore_ascii_case(b"identity") => Self::None,
            Some(name) if name.eq_ignore_ascii_case(b"gzip") => Self::Known(Compression::Gzip),
            Some(name) if name.eq_ignore_ascii_case(b"zstd") => Self::Known(Compression::Zstd),
            Some(_) => Self::Unknown,
        }
    }
}

/// The compression of a message with this flag; a message without the flag is not compressed, whatever the header says.
fn compression(flag: u8, encoding: Encoding) -> Result<Option<Compression>, Refusal> {
    match (flag, encoding) {
        (0, _) => Ok(None),
        (1, Encoding::Known(compression)) => Ok(Some(compression)),
        (1, Encoding::None) => Err(Refusal::NoCompressionNamed),
        (1, Encoding::Unknown) => Err(Refusal::UnknownCompression),
        (2.., _) => Err(Refusal::BadFlag),
    }
}

/// The next bytes of the body; `None` at its end.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            // The stream was reset, so nobody will read the refusal.
            Some(Err(_)) => return Err(Refusal::Truncated),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Answers requests to health, reflection, and unknown services.
async fn other_service(
    state: &WorkerState,
    charge: &Rc<ConnectionCharge>,
    in_flight: &mut InFlight<'_>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Refusal> {
    in_flight.must_pay(state.window.into())?;
    let paid = state
        .slice
        .must_take(OTHER_REQUEST_BYTES as u64)
        .ok_or(Refusal::Budget)?;
    let request = request.map(|body| tonic::body::Body::new(Limited::new(body, OTHER_REQUEST_BYTES)));
    // The service answers when its request's message is there; a stream goes on after that.
    let answered = tokio::time::timeout(state.limits.read_timeout, state.routes.clone().call(request)).await;
    match answered.map_err(|_| Refusal::ReadTimeout)? {
        Ok(response) => {
            let charge = Rc::clone(charge);
            let end = Box::pin(async move { charge.ended().await });
            Ok(response.map(|body| ReplyBody::Service { body, end, _paid: paid }))
        }
        Err(never) => match never {},
    }
}

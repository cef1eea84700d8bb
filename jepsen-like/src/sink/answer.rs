//! One request at a sink: it is read, split, answered as the mode says, and recorded where it was accepted.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;

use super::ledger::{EntryHeader, split};
use super::mode::{Mode, Reply};
use super::shared::{Protocol, Shared, never};
use crate::retry_info;

const ENTRY_HEADER: &str = "x-gophership-entry";
/// Time in which a sink in `drip` reads one frame.
const DRIP: Duration = Duration::from_millis(20);

type Body = BoxBody<Bytes, io::Error>;

pub(super) async fn answer(
    shared: Arc<Shared>,
    protocol: Protocol,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let Some(message) = read(&shared, body).await? else {
        note(&shared, Reply::Reset);
        return Err(io::Error::other("reset, as told"));
    };
    let arrivals = plain(protocol, &head.headers, &message).and_then(|plain| split(&plain));
    let Some(arrivals) = arrivals else {
        *shared.book().requests.entry("unreadable".into()).or_default() += 1;
        return Ok(refusal(protocol, 3, 400, None));
    };
    let marked = arrivals.iter().any(|one| one.id().is_some_and(Mode::marks));
    let reply = shared.mode.borrow().reply(arrivals.len(), marked);
    note(&shared, reply);
    match reply {
        Reply::Accept { rejected_records } => {
            let header = head.headers.get(ENTRY_HEADER).and_then(|value| value.to_str().ok());
            let header = header.and_then(EntryHeader::parse);
            shared.book().ledger.take(header, &arrivals);
            Ok(acceptance(protocol, rejected_records))
        }
        Reply::Refuse {
            grpc,
            http,
            retry_after,
        } => Ok(refusal(protocol, grpc, http, retry_after)),
        Reply::Reset => Err(io::Error::other("reset, as told")),
        Reply::Hang => match never().await {},
    }
}

fn note(shared: &Shared, reply: Reply) {
    *shared.book().requests.entry(reply.name()).or_default() += 1;
}

/// Reads the whole body; `None` where the sink is to break off in the middle of it.
async fn read(shared: &Shared, mut body: Incoming) -> io::Result<Option<Bytes>> {
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Ok(data) = frame.into_data() {
            message.put(data);
        }
        let mode = *shared.mode.borrow();
        match mode {
            Mode::Reset => return Ok(None),
            Mode::Drip => tokio::time::sleep(DRIP).await,
            Mode::Ok
            | Mode::Unavailable
            | Mode::RetryLater
            | Mode::Throttled
            | Mode::Invalid
            | Mode::InvalidMarked
            | Mode::Unauthenticated
            | Mode::NotFound
            | Mode::TooLarge
            | Mode::Hang
            | Mode::Partial
            | Mode::Down => {}
        }
    }
    Ok(Some(message.freeze()))
}

/// The request without its framing and compression.
fn plain(protocol: Protocol, headers: &HeaderMap, message: &Bytes) -> Option<Bytes> {
    let (gzip, body) = match protocol {
        Protocol::Grpc => {
            let length = u32::from_be_bytes(message.get(1..5)?.try_into().ok()?);
            let body = message.slice(5..);
            if body.len() != usize::try_from(length).ok()? {
                return None;
            }
            (message[0] == 1, body)
        }
        Protocol::Http => (headers.contains_key("content-encoding"), message.clone()),
    };
    if !gzip {
        return Some(body);
    }
    let mut plain = Vec::new();
    GzDecoder::new(body.as_ref()).read_to_end(&mut plain).ok()?;
    Some(plain.into())
}

fn acceptance(protocol: Protocol, rejected_log_records: i64) -> Response<Body> {
    let partial = (rejected_log_records > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records,
        error_message: "rejected, as told".into(),
    });
    let answer = ExportLogsServiceResponse {
        partial_success: partial,
    };
    let answer = answer.encode_to_vec();
    match protocol {
        Protocol::Grpc => {
            let mut message = BytesMut::with_capacity(5 + answer.len());
            message.put_u8(0);
            message.put_u32(u32::try_from(answer.len()).expect("an answer is short"));
            message.put_slice(&answer);
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
            let body = Full::new(message.freeze()).with_trailers(async { Some(Ok(trailers)) });
            response(protocol, body.map_err(|never| match never {}).boxed())
        }
        Protocol::Http => response(protocol, full(answer.into())),
    }
}

fn refusal(protocol: Protocol, grpc: u8, http: u16, retry_after: Option<Duration>) -> Response<Body> {
    let mut response = response(protocol, full(Bytes::new()));
    let headers = response.headers_mut();
    match protocol {
        Protocol::Grpc => {
            headers.insert("grpc-status", HeaderValue::from(u16::from(grpc)));
            headers.insert("grpc-message", HeaderValue::from_static("refused as told"));
            for (name, value) in retry_after
                .into_iter()
                .flat_map(|delay| retry_info::trailers(grpc, delay))
            {
                headers.insert(name, value);
            }
        }
        Protocol::Http => {
            if let Some(delay) = retry_after {
                headers.insert("retry-after", HeaderValue::from(delay.as_secs()));
            }
            *response.status_mut() = StatusCode::from_u16(http).expect("modes have real statuses");
        }
    }
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn response(protocol: Protocol, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let content_type = match protocol {
        Protocol::Grpc => "application/grpc",
        Protocol::Http => "application/x-protobuf",
    };
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(content_type));
    response
}

//! An OTLP/gRPC sink: payload bytes go out as they are, or compressed, without being decoded and encoded again.
//!
//! The requests are made here, over tonic's channel: its own client compresses with gzip's level 6, four times as dear
//! as the first, and panics at a `grpc-status-details-bin` that is not base64.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::stream;
use gophership_proto::otlp::ENTRY_NAME;
use gophership_proto::otlp::inflate::{Compression as Inflation, Inflater};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt, service_fn};

use super::answer::{self, Answer};
use super::compress::{compressed, content_encoding};
use super::dial::Dial;
use super::error::SinkError;
use super::limits::ANSWER_BYTES_MAX;
use super::otlp_http::{AGENT, secret_headers, with_causes};
use super::outgoing::Outgoing;
use crate::config::{Compression, ExportTarget};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Bytes before each message: the compressed flag and the length.
const PREFIX: usize = 5;
const ENCODING: &str = "grpc-encoding";

/// A connection to the sink, made when it is first needed and again when it broke.
pub(crate) struct GrpcSink {
    dial: Dial,
    endpoint: Endpoint,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
    /// The channel, made at the first request: the runtime in which it is made drives its connection.
    channel: Option<Channel>,
    /// The decoder, made at the first answer that is compressed.
    inflater: Option<Box<Inflater>>,
}

impl GrpcSink {
    pub(super) fn new(target: &ExportTarget) -> Result<Self, SinkError> {
        Self::over(Dial::new(target)?, target)
    }

    pub(super) fn over(dial: Dial, target: &ExportTarget) -> Result<Self, SinkError> {
        let invalid = |why: String| SinkError::Endpoint {
            endpoint: target.endpoint.to_string(),
            why,
        };
        let origin: Uri = target
            .endpoint
            .to_string()
            .parse()
            .map_err(|e| invalid(format!("{e}")))?;
        // TLS belongs to the dialler: tonic must not know of it, but the server must.
        let endpoint = Endpoint::from_shared(format!("http://{}", target.endpoint.authority()))
            .and_then(|endpoint| endpoint.user_agent(AGENT))
            .map_err(|e| invalid(with_causes(&e)))?
            .origin(origin);
        Ok(Self {
            dial,
            endpoint,
            headers: secret_headers(target),
            compression: target.compression,
            timeout: target.timeout,
            channel: None,
            inflater: None,
        })
    }

    pub(super) async fn send(&mut self, out: &Outgoing) -> Answer {
        match tokio::time::timeout(self.timeout, self.export(out)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Retry { after: None, why },
            Err(_) => {
                // A silent connection may stay so for long before TCP gives it up.
                self.channel = None;
                Answer::Retry {
                    after: None,
                    why: format!("no answer within {:?}", self.timeout),
                }
            }
        }
    }

    async fn export(&mut self, out: &Outgoing) -> Result<Answer, String> {
        let request = self.request(out).await?;
        let channel = self
            .channel
            .get_or_insert_with(|| connected(&self.endpoint, &self.dial));
        let ready = channel.ready().await.map_err(|e| with_causes(&e))?;
        // An error that breaks a connection says nothing about the data.
        let response = ready.call(request).await.map_err(|e| with_causes(&e))?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body,
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            Err(error) => return Err(with_causes(&*error)),
        };
        // An answer without a message has its trailers in place of headers.
        let status = body.trailers().and_then(answer::grpc_status);
        match status.or_else(|| answer::grpc_status(&head.headers)) {
            Some(status) if status.code() == Code::Ok => Ok(self.accepted(&head.headers, &body.to_bytes())),
            Some(status) => Ok(answer::of_grpc(&status)),
            None => Ok(answer::without_grpc_status(head.status)),
        }
    }

    /// Meaning of the message of a sink that accepted the request. One that cannot be read changes nothing: if the
    /// request were sent again, all of it would be there twice.
    fn accepted(&mut self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let Some(([flag, ..], message)) = body.split_first_chunk::<PREFIX>() else {
            return Answer::Accepted;
        };
        // Go's servers compress their answer as the request was, whatever the client says that it accepts.
        let compression = match headers.get(ENCODING).map(HeaderValue::as_bytes) {
            Some(b"gzip") => Inflation::Gzip,
            Some(b"zstd") => Inflation::Zstd,
            Some(_) | None => return answer::of_response(message),
        };
        if *flag == 0 {
            return answer::of_response(message);
        }
        let mut plain = Vec::new();
        let inflater = self.inflater.get_or_insert_default();
        match inflater.inflate(compression, message, &mut plain, ANSWER_BYTES_MAX) {
            Ok(()) => answer::of_response(&plain),
            Err(_) => Answer::Accepted,
        }
    }

    async fn request(&self, out: &Outgoing) -> Result<Request<Body>, String> {
        let payload = compressed(&out.payload, self.compression)
            .await
            .map_err(|e| format!("it cannot be compressed: {e}"))?;
        let encoding = content_encoding(self.compression);
        let len = u32::try_from(payload.len()).map_err(|_| "it is larger than a gRPC message can be")?;
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(encoding.is_some().into());
        prefix.put_u32(len);
        let parts = [prefix.freeze(), payload].map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(EXPORT)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(ENTRY_NAME, &out.entry)
            .body(Body::new(StreamBody::new(stream::iter(parts))))
            .map_err(|e| e.to_string())?;
        if let Some(encoding) = encoding {
            request
                .headers_mut()
                .insert(ENCODING, HeaderValue::from_static(encoding));
        }
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

/// A channel whose connection is made when it is needed.
fn connected(endpoint: &Endpoint, dial: &Dial) -> Channel {
    let dial = dial.clone();
    endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let dial = dial.clone();
        async move { dial.connect().await.map_err(std::io::Error::other) }
    }))
}

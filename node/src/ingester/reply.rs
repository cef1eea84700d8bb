//! Bodies of answers of all kinds, and constants that answers share: content types, names of headers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::buffer::Permit;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(super) const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An empty `ExportLogsServiceResponse` as a gRPC message: uncompressed, of length 0.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

/// The body of an answer.
pub(super) enum ReplyBody {
    /// An empty body.
    Empty,
    /// A body of these bytes.
    Whole(Bytes),
    /// An empty gRPC message, then the trailers of success.
    GrpcMessage,
    /// The trailers of success.
    GrpcTrailers,
    /// The body of another service, and the bytes that its request has taken from the budget.
    Service {
        /// The service's own body.
        body: tonic::body::Body,
        /// Resolves when the connection is to end: a stream without an end of its own (a watch of health) ends with it.
        end: Pin<Box<dyn Future<Output = ()>>>,
        /// Bytes of the budget, given back when the body is dropped.
        _paid: Permit,
    },
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Whole(bytes)
        }
    }
}

impl ReplyBody {
    /// The bytes of a refusal.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Empty | Self::GrpcMessage | Self::GrpcTrailers | Self::Service { .. } => Bytes::new(),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Self::Service { body, end, .. } = &mut *self {
            if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
                return Poll::Ready(frame);
            }
            std::task::ready!(end.as_mut().poll(context));
            *self = Self::Empty;
            return Poll::Ready(Some(Ok(Frame::trailers(leaving()))));
        }
        let (frame, next) = match std::mem::replace(&mut *self, Self::Empty) {
            Self::Whole(bytes) => (Frame::data(bytes), Self::Empty),
            Self::GrpcMessage => (Frame::data(EMPTY_MESSAGE), Self::GrpcTrailers),
            Self::GrpcTrailers => (Frame::trailers(success()), Self::Empty),
            Self::Empty | Self::Service { .. } => return Poll::Ready(None),
        };
        *self = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) | Self::GrpcMessage | Self::GrpcTrailers => false,
            Self::Service { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::GrpcMessage | Self::GrpcTrailers => SizeHint::default(),
            Self::Service { body, .. } => body.size_hint(),
        }
    }
}

/// The trailers of a stream that did not end by itself.
fn leaving() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("14"));
    trailers.insert(
        GRPC_MESSAGE,
        HeaderValue::from_static("this connection ends: ask again on another one"),
    );
    trailers
}

fn success() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

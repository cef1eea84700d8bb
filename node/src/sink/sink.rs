//! A sink that the node sends to: one connection, one request in flight on it.

use super::answer::Answer;
use super::error::SinkError;
use super::otlp_grpc::GrpcSink;
use super::otlp_http::HttpSink;
use super::outgoing::Outgoing;
use crate::config::{ExportKind, ExportTarget};

/// One sink. Its connection is made when it is first needed, kept, and made again when it broke.
pub(crate) enum Sink {
    /// OTLP over gRPC.
    Grpc(Box<GrpcSink>),
    /// OTLP over HTTP.
    Http(Box<HttpSink>),
}

impl Sink {
    /// Makes a sink, and sends nothing yet. The files that `tls` names are read now.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or the endpoint is no URL.
    pub(crate) fn new(target: &ExportTarget) -> Result<Self, SinkError> {
        Ok(match target.kind {
            ExportKind::Grpc => Self::Grpc(Box::new(GrpcSink::new(target)?)),
            ExportKind::Http => Self::Http(Box::new(HttpSink::new(target)?)),
        })
    }

    /// Sends one request and waits for its answer, for at most the target's `timeout` in all. If this future is dropped
    /// before its end, the sink is fit for the next request.
    pub(crate) async fn send(&mut self, out: &Outgoing) -> Answer {
        match self {
            Self::Grpc(sink) => sink.send(out).await,
            Self::Http(sink) => sink.send(out).await,
        }
    }
}

//! An OTLP/gRPC sink: payload bytes go out as they are, without being decoded and encoded again.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::answer::{self, Answer};
use super::limits::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use super::sink::{ENTRY_HEADER, Parcel};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Messages as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

/// A connection to the sink, made when it is first needed and again when it broke.
pub(super) struct GrpcSink {
    client: Grpc<Channel>,
}

impl GrpcSink {
    /// The sink at `host:port`.
    pub(super) fn new(endpoint: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))?.connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            client: Grpc::new(endpoint.connect_lazy()).max_decoding_message_size(ANSWER_BYTES_MAX),
        })
    }

    pub(super) async fn send(&mut self, parcel: &Parcel) -> Answer {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.export(parcel)).await {
            Ok(Ok(body)) => answer::of_response(&body),
            Ok(Err(status)) => answer::of_grpc(&status),
            Err(_) => Answer::Retry {
                after: None,
                why: format!("no answer within {ANSWER_TIMEOUT:?}"),
            },
        }
    }

    async fn export(&mut self, parcel: &Parcel) -> Result<Bytes, Status> {
        let mut request = Request::new(parcel.payload.clone());
        let id = AsciiMetadataValue::try_from(&parcel.id).expect("an entry's id is digits and separators");
        request.metadata_mut().insert(ENTRY_HEADER, id);
        self.client
            .ready()
            .await
            .map_err(|e| Status::unavailable(with_causes(&e)))?;
        Ok(self
            .client
            .unary(request, PathAndQuery::from_static(EXPORT), Raw)
            .await?
            .into_inner())
    }
}

/// An error and what is behind it: tonic's own text says only "transport error".
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

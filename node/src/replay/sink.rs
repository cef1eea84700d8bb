//! A sink that the node sends to: one connection for each shard of a job, one request in flight on it.

use bytes::Bytes;
use gophership_vault::StoredEntry;
use gophership_vault::entry::Encoding;

use super::answer::Answer;
use super::error::ReplayError;
use super::otlp_grpc::GrpcSink;
use super::otlp_http::HttpSink;
use super::spec::{Protocol, SinkSpec};

/// The header that names what a request carries: the first entry's id and how many entries.
pub(super) const ENTRY_HEADER: &str = "x-gophership-entry";

/// One entry, ready to be sent.
pub(super) struct Parcel {
    /// `node/shard/segment:number,count`.
    pub(super) id: String,
    pub(super) encoding: Encoding,
    pub(super) payload: Bytes,
}

impl Parcel {
    pub(super) fn new(entry: StoredEntry) -> Self {
        // One entry a request: a payload that the sink refuses takes no other with it.
        let id = format!("{}/{}/{},1", entry.node, entry.shard, entry.lsn);
        Self {
            id,
            encoding: entry.meta.encoding,
            payload: entry.payload.into(),
        }
    }
}

pub(super) enum Sink {
    Grpc(GrpcSink),
    Http(HttpSink),
}

impl Sink {
    pub(super) fn new(spec: &SinkSpec) -> Result<Self, ReplayError> {
        match spec.protocol {
            Protocol::OtlpGrpc => {
                let sink = GrpcSink::new(&spec.endpoint)
                    .map_err(|e| ReplayError::Invalid(format!("the sink {}: {e}", spec.endpoint)))?;
                Ok(Self::Grpc(sink))
            }
            Protocol::OtlpHttp => Ok(Self::Http(HttpSink::new(&spec.endpoint))),
        }
    }

    pub(super) async fn send(&mut self, parcel: &Parcel) -> Answer {
        match self {
            // Our codec cannot mark a message as compressed.
            Self::Grpc(_) if parcel.encoding != Encoding::Identity => Answer::Refused(
                "it is kept as received, compressed; only an otlp-http or file sink takes it".to_owned(),
            ),
            Self::Grpc(sink) => sink.send(parcel).await,
            Self::Http(sink) => sink.send(parcel).await,
        }
    }
}

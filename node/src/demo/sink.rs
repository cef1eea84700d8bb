//! The sink of the demonstration: it accepts OTLP over gRPC, records every payload by its hash, and dies and returns on
//! command.
//!
//! **Invariants**:
//! - I1: each recorded payload was answered, or its connection died with the answer on the way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use gophership_proto::otlp::skim::must_skim;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::load::Hash;
use super::replayed::Replayed;

/// Bytes before each gRPC message.
const PREFIX: usize = 5;

#[derive(Default)]
struct Taken {
    /// Records and number of copies, by hash.
    payloads: HashMap<Hash, (u64, u64)>,
}

/// The sink (see the module).
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    /// The listener and its connections, while it lives.
    alive: Option<JoinSet<()>>,
}

impl Sink {
    /// A sink with a free port, which does not listen yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port for the sink")?;
        Ok(Self {
            address: held.local_addr()?,
            taken: Arc::default(),
            alive: None,
        })
    }

    /// Begins to listen.
    pub(crate) fn live(&mut self) -> anyhow::Result<()> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket
            .bind(self.address)
            .context("the sink's port was taken meanwhile")?;
        let listener = socket.listen(64)?;
        let taken = Arc::clone(&self.taken);
        let mut alive = JoinSet::new();
        alive.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let taken = Arc::clone(&taken);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&taken), request));
                    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    // A connection that breaks off is that of the node that was killed.
                    drop(served.await);
                });
            }
        });
        self.alive = Some(alive);
        Ok(())
    }

    /// Closes the port and cuts every connection.
    pub(crate) fn die(&mut self) {
        self.alive = None;
    }

    /// Everything that it has accepted, each payload as often as it came.
    pub(crate) fn taken(&self) -> Vec<Replayed> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let each = taken.payloads.iter().flat_map(|(hash, (records, times))| {
            (0..*times).map(|_| Replayed {
                hash: *hash,
                records: *records,
                bytes: 0,
            })
        });
        each.collect()
    }
}

type Body = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(taken: Arc<Mutex<Taken>>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        for payload in payloads(body.get(PREFIX..).unwrap_or_default()) {
            // The comparison finds payloads that are not the demo's.
            let records = must_skim(payload, 0).map_or(0, |skim| u64::from(skim.records));
            let entry = taken.payloads.entry(*blake3::hash(payload).as_bytes()).or_default();
            *entry = (records, entry.1 + 1);
        }
    }
    let ok = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(&[0; PREFIX]))),
        Ok(Frame::trailers(ok)),
    ];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    Ok(response)
}

/// The payloads in a request: an exporter concatenates several, and each of the demo's is one `ResourceLogs` field.
fn payloads(mut request: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut rest = request.get(1..)?;
        let before = rest.len();
        let len = prost::encoding::decode_varint(&mut rest).ok()?;
        let head = 1 + before - rest.len();
        let whole = head.checked_add(usize::try_from(len).ok()?)?.min(request.len());
        let (payload, behind) = request.split_at(whole);
        request = behind;
        Some(payload)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_apart_into_its_payloads() {
        let one = [0x0a, 2, 7, 7];
        let long = [&[0x0a, 0x80, 0x02][..], &[9; 256]].concat();
        let request = [&one[..], &long, &one].concat();
        assert_eq!(payloads(&request).collect::<Vec<_>>(), [&one[..], &long, &one]);
        assert_eq!(payloads(&[]).count(), 0);
    }
}

//! A sink that answers as told: OTLP over gRPC or HTTP, on a free port of the loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;

/// An answer.
#[derive(Clone, Copy)]
pub(super) enum Reply {
    Ok,
    Grpc(Code),
    /// A status, and `Retry-After`.
    Http(u16, Option<&'static str>),
}

/// A request as it came.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) entry: String,
    pub(super) content_type: String,
    pub(super) at: Instant,
    payload: Vec<u8>,
    taken: bool,
}

struct Script {
    next: VecDeque<Reply>,
    then: Reply,
    seen: Vec<Seen>,
}

pub(super) struct Stub {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _server: JoinSet<()>,
}

type Body = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

impl Stub {
    /// Gives these answers, and then takes everything.
    pub(super) async fn grpc<const N: usize>(replies: [Reply; N]) -> Self {
        Self::start(replies.into(), true).await
    }

    pub(super) async fn http<const N: usize>(replies: [Reply; N]) -> Self {
        Self::start(replies.into(), false).await
    }

    async fn start(next: VecDeque<Reply>, grpc: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            next,
            then: Reply::Ok,
            seen: Vec::new(),
        }));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&script);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&script), request, grpc));
                    // A client that breaks off is no fault of the stub's.
                    drop(
                        auto::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self {
            address,
            script,
            _server: server,
        }
    }

    /// What is answered when the list is through.
    pub(super) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().then = reply;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// The payloads that were taken, in order.
    pub(super) fn taken(&self) -> Vec<Vec<u8>> {
        self.seen().into_iter().filter(|s| s.taken).map(|s| s.payload).collect()
    }

    /// Waits for so many requests.
    pub(super) async fn wait_for(&self, requests: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.seen().len() < requests {
            assert!(Instant::now() < deadline, "waited too long for {requests} requests");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn answer(
    script: Arc<Mutex<Script>>,
    request: Request<Incoming>,
    grpc: bool,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let payload = if grpc {
        let (prefix, payload) = body.split_at(5);
        assert_eq!(
            (prefix[0], u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize),
            (0, payload.len())
        );
        payload.to_vec()
    } else {
        body.to_vec()
    };
    let header = |name: &str| {
        head.headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let mut script = script.lock().unwrap();
    let then = script.then;
    let reply = script.next.pop_front().unwrap_or(then);
    script.seen.push(Seen {
        path: head.uri.path().to_owned(),
        entry: header("x-gophership-entry"),
        content_type: header("content-type"),
        at: Instant::now(),
        payload,
        taken: matches!(reply, Reply::Ok),
    });
    Ok(response(reply, grpc))
}

fn response(reply: Reply, grpc: bool) -> Response<Body> {
    let status = |code: Code| HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(code as i32))]);
    let frames = match reply {
        Reply::Ok if grpc => vec![
            Frame::data(Bytes::from_static(&[0; 5])),
            Frame::trailers(status(Code::Ok)),
        ],
        Reply::Grpc(code) => vec![Frame::trailers(status(code))],
        Reply::Ok | Reply::Http(..) => Vec::new(),
    };
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    let content_type = if grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(content_type));
    if let Reply::Http(status, retry_after) = reply {
        *response.status_mut() = status.try_into().unwrap();
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert("retry-after", HeaderValue::from_static(seconds));
        }
    }
    response
}

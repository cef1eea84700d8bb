//! A sink for tests that gives prepared answers: OTLP over gRPC or HTTP, on a free port of the loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use super::dial::Duplex;

/// An answer.
#[derive(Clone, Copy)]
pub(crate) enum Reply {
    Ok,
    Grpc(Code),
    /// A status, and the value of `Retry-After`.
    Http(u16, Option<&'static str>),
    /// No answer at all.
    Silence,
    /// An answer that begins and never ends, byte by byte.
    Drip,
    /// Acceptance of all but two records. As with Go's servers, the message that says so is compressed as the request
    /// was; so is that of [`Self::Ok`].
    InPart,
    /// An answer of this many bytes.
    Long(usize),
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) entry: String,
    pub(crate) content_type: String,
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    /// Number of the stub's connection on which it came, from 1.
    pub(crate) connection: usize,
    payload: Vec<u8>,
    taken: bool,
}

struct Script {
    next: VecDeque<Reply>,
    then: Reply,
    /// Bytes at which the stub fails, and the answer to a request with them.
    poison: Option<(Vec<u8>, Reply)>,
    seen: Vec<Seen>,
}

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _server: JoinSet<()>,
}

type Body = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Stub {
    /// Gives these answers, and then accepts everything.
    pub(crate) async fn grpc<const N: usize>(replies: [Reply; N]) -> Self {
        Self::start(replies.into(), true, None).await
    }

    pub(crate) async fn http<const N: usize>(replies: [Reply; N]) -> Self {
        Self::start(replies.into(), false, None).await
    }

    /// Accepts everything, over TLS.
    pub(crate) async fn tls(grpc: bool, config: Arc<ServerConfig>) -> Self {
        Self::start(VecDeque::new(), grpc, Some(config.into())).await
    }

    async fn start(next: VecDeque<Reply>, grpc: bool, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            next,
            then: Reply::Ok,
            poison: None,
            seen: Vec::new(),
        }));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&script);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&script), request, grpc, connection));
                    let stream: Box<dyn Duplex> = match tls {
                        None => Box::new(stream),
                        // A client that breaks off is no fault of the stub's.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
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

    /// Sets the answer that is given after the prepared ones.
    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().then = reply;
    }

    /// Answers every request in which `bytes` are found with `reply`, whatever the prepared answers say.
    pub(crate) fn fails_at(&self, bytes: &[u8], reply: Reply) {
        self.script.lock().unwrap().poison = Some((bytes.to_vec(), reply));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// The payloads that were accepted, in order.
    pub(crate) fn taken(&self) -> Vec<Vec<u8>> {
        self.seen().into_iter().filter(|s| s.taken).map(|s| s.payload).collect()
    }

    /// Waits for this many requests.
    pub(crate) async fn wait_for(&self, requests: usize) {
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
    connection: usize,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| {
        head.headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let payload = if grpc {
        let (prefix, payload) = body.split_at(5);
        assert_eq!(
            u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize,
            payload.len()
        );
        let encoding = header("grpc-encoding");
        assert_eq!(prefix[0] == 1, !encoding.is_empty());
        inflated(payload, &encoding)
    } else {
        inflated(&body, &header("content-encoding"))
    };
    let reply = {
        let mut script = script.lock().unwrap();
        let then = script.then;
        let poisoned = script.poison.as_ref().filter(|(bytes, _)| {
            let mut windows = payload.windows(bytes.len());
            windows.any(|window| window == bytes)
        });
        let reply = match poisoned {
            Some((_, reply)) => *reply,
            None => script.next.pop_front().unwrap_or(then),
        };
        script.seen.push(Seen {
            path: head.uri.path().to_owned(),
            entry: header("x-gophership-entry"),
            content_type: header("content-type"),
            at: Instant::now(),
            headers: head.headers.clone(),
            connection,
            payload,
            taken: matches!(reply, Reply::Ok),
        });
        reply
    };
    if matches!(reply, Reply::Silence) {
        std::future::pending::<()>().await;
    }
    Ok(response(reply, grpc, &header(if grpc { "grpc-encoding" } else { "" })))
}

fn inflated(payload: &[u8], encoding: &str) -> Vec<u8> {
    match encoding {
        "" => payload.to_vec(),
        "gzip" => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(payload).read_to_end(&mut out).unwrap();
            out
        }
        "zstd" => zstd::stream::decode_all(payload).unwrap(),
        other => panic!("{other}"),
    }
}

/// Bytes without an end, each soon after the last.
fn drip() -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok(Frame::data(Bytes::from_static(&[0]))), ()))
    })
}

/// `ExportLogsPartialSuccess { rejected_log_records: 2 }`.
const IN_PART: &[u8] = &[0x0a, 2, 0x08, 2];

fn deflated(message: &[u8], encoding: &str) -> Vec<u8> {
    match encoding {
        "" => message.to_vec(),
        "gzip" => {
            let mut out = Vec::new();
            flate2::read::GzEncoder::new(message, flate2::Compression::fast())
                .read_to_end(&mut out)
                .unwrap();
            out
        }
        "zstd" => zstd::stream::encode_all(message, 1).unwrap(),
        other => panic!("{other}"),
    }
}

fn grpc_message(message: &[u8], encoding: &str) -> Bytes {
    let message = deflated(message, encoding);
    let prefix = [
        &[u8::from(!encoding.is_empty())][..],
        &(message.len() as u32).to_be_bytes(),
    ];
    [&prefix.concat()[..], &message].concat().into()
}

fn response(reply: Reply, grpc: bool, encoding: &str) -> Response<Body> {
    let status = |code: Code| HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(code as i32))]);
    let frames = match reply {
        Reply::Ok | Reply::InPart if grpc => {
            let message = if matches!(reply, Reply::InPart) { IN_PART } else { &[] };
            vec![
                Frame::data(grpc_message(message, encoding)),
                Frame::trailers(status(Code::Ok)),
            ]
        }
        Reply::InPart => vec![Frame::data(Bytes::from_static(IN_PART))],
        Reply::Grpc(code) => vec![Frame::trailers(status(code))],
        Reply::Long(bytes) if grpc => {
            let prefix = [&[0][..], &u32::try_from(bytes).unwrap().to_be_bytes()].concat();
            vec![
                Frame::data([prefix, vec![0; bytes]].concat().into()),
                Frame::trailers(status(Code::Ok)),
            ]
        }
        Reply::Long(bytes) => vec![Frame::data(vec![0; bytes].into())],
        Reply::Ok | Reply::Http(..) | Reply::Silence | Reply::Drip => Vec::new(),
    };
    let frames = frames.into_iter().map(Ok);
    let mut response = Response::new(StreamBody::new(if matches!(reply, Reply::Drip) {
        drip().boxed()
    } else {
        futures_util::stream::iter(frames).boxed()
    }));
    let content_type = if grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    if !encoding.is_empty() {
        response
            .headers_mut()
            .insert("grpc-encoding", encoding.parse().unwrap());
    }
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

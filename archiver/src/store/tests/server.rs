//! An S3 server in this process, which checks signatures and checksums, and a hand between it and its clients that does
//! what networks and stores do.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const KEY_ID: &str = "gophership";
pub(crate) const SECRET: &str = "not a secret";

/// The fate of one request.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It is done, and the connection ends without a reply.
    LostReply,
    /// It is not done, and this is the reply: status, and code of S3.
    Answer(u16, &'static str),
    /// Of the reply's body half comes.
    CutBody,
}

/// The kind of store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Normal,
    /// It ignores the condition of a put.
    Overwrites,
    /// It answers 501 to a put with a condition.
    NoCondition,
    /// It takes a put without a condition, whatever its signature and its checksum.
    TakesAll,
}

struct Plan {
    mode: Mode,
    method: &'static str,
    faults: VecDeque<Fault>,
}

pub(crate) struct Server {
    address: std::net::SocketAddr,
    root: Arc<TempDir>,
    plan: Arc<Mutex<Plan>>,
}

impl Server {
    /// A server with a bucket named `bucket`. It ends with the runtime.
    pub(crate) async fn start() -> Self {
        // Of all tests in a process the first one installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = Arc::new(TempDir::new().unwrap());
        fs::create_dir(root.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let store = builder.build();
        let plan = Arc::new(Mutex::new(Plan {
            mode: Mode::Normal,
            method: "",
            faults: VecDeque::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hand = Arc::new(Hand {
            store,
            root: root.clone(),
            plan: plan.clone(),
        });
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let hand = hand.clone();
                let service = service_fn(move |request| {
                    let hand = hand.clone();
                    async move { hand.serve(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self { address, root, plan }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file in which the store has an object.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.root.path().join("bucket/some/prefix").join(key)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.plan.lock().unwrap().mode = mode;
    }

    /// Plans the fate of the next requests of a method, in place of an earlier plan.
    pub(crate) fn plan(&self, method: &'static str, faults: impl IntoIterator<Item = Fault>) {
        let mut plan = self.plan.lock().unwrap();
        (plan.method, plan.faults) = (method, faults.into_iter().collect());
    }

    /// The planned requests that have not come yet.
    pub(crate) fn planned(&self) -> usize {
        self.plan.lock().unwrap().faults.len()
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

struct Hand {
    store: S3Service,
    root: Arc<TempDir>,
    plan: Arc<Mutex<Plan>>,
}

impl Hand {
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mode, fault) = {
            let mut plan = self.plan.lock().unwrap();
            let is_hit = plan.method == request.method().as_str();
            (plan.mode, if is_hit { plan.faults.pop_front() } else { None })
        };
        if let Some(Fault::Answer(status, code)) = fault {
            return Ok(answer(status, code));
        }
        let has_condition = request.headers().contains_key("if-none-match");
        let is_put = request.method() == Method::PUT;
        let response = match mode {
            Mode::NoCondition if is_put && has_condition => answer(501, "NotImplemented"),
            Mode::Overwrites if is_put => self.take(request).await,
            Mode::TakesAll if is_put && !has_condition => self.take(request).await,
            Mode::Normal | Mode::Overwrites | Mode::NoCondition | Mode::TakesAll => {
                let response = self
                    .store
                    .call(request.map(s3s::Body::from))
                    .await
                    .map_err(io::Error::other)?;
                response.map(|body| body.map_err(io::Error::other).boxed_unsync())
            }
        };
        match fault {
            Some(Fault::LostReply) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::CutBody) => {
                let (parts, body) = response.into_parts();
                let whole = body.collect().await?.to_bytes();
                let half = whole.slice(..whole.len() / 2);
                // What came so far is sent while the body waits for its next part.
                let parts_of_body = stream::once(async { Ok(Frame::data(half)) }).chain(stream::once(async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(io::ErrorKind::ConnectionReset.into())
                }));
                let mut response = Response::from_parts(parts, StreamBody::new(parts_of_body).boxed_unsync());
                response.headers_mut().insert("content-length", whole.len().into());
                Ok(response)
            }
            Some(Fault::Answer(..)) | None => Ok(response),
        }
    }

    /// Stores an object as it came.
    async fn take(&self, request: Request<Incoming>) -> Response<Body> {
        let name = request.uri().path().trim_start_matches('/').replace("%3D", "=");
        let file = self.root.path().join(name);
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
        let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
        response.headers_mut().insert("etag", "\"any\"".parse().unwrap());
        response
    }
}

fn answer(status: u16, code: &str) -> Response<Body> {
    let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>planned</Message></Error>");
    let body = Full::new(Bytes::from(xml))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    response
}

//! An S3 server in this process, which checks signatures, and a hand between it and its clients that does what networks
//! and stores do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const KEY_ID: &str = "gophership";
pub(crate) const SECRET: &str = "not-to-be-shown";

/// The fate of the requests that come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Works,
    /// Connections end without a reply.
    Away,
    /// Every request gets this status, and code of S3.
    Answers(u16, &'static str),
    /// Every request is done, and its answer is lost: it gets this status, and code of S3.
    Loses(u16, &'static str),
    /// Requests of this method whose path has this in it get no reply, and are not done.
    Holds(&'static str, &'static str),
}

/// The server, with a bucket named `logs`.
pub(crate) struct Store {
    pub(crate) url: String,
    root: TempDir,
    mood: Arc<Mutex<Mood>>,
    /// Requests that were held.
    held: Arc<Mutex<Vec<String>>>,
    is_first_released: Arc<AtomicBool>,
    /// Bytes of objects that were given.
    given: Arc<AtomicU64>,
    /// Method and path of each request that was answered.
    answered: Arc<Mutex<Vec<String>>>,
    after: Arc<Mutex<Option<After>>>,
}

/// A file that is there from some request on.
struct After {
    /// The beginning and a part of method and path, and how many more of these requests are answered without it.
    request: (&'static str, &'static str),
    left: usize,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Store {
    pub(crate) async fn start(mood: Mood) -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("logs")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mood, held) = (Arc::new(Mutex::new(mood)), Arc::default());
        let is_first_released = Arc::new(AtomicBool::new(false));
        let given: Arc<AtomicU64> = Arc::default();
        let (answered, after) = (Arc::default(), Arc::default());
        let hand = Arc::new(Hand {
            store: builder.build(),
            mood: Arc::clone(&mood),
            held: Arc::clone(&held),
            is_first_released: Arc::clone(&is_first_released),
            given: Arc::clone(&given),
            answered: Arc::clone(&answered),
            after: Arc::clone(&after),
        });
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let hand = Arc::clone(&hand);
                let service = service_fn(move |request| {
                    let hand = Arc::clone(&hand);
                    async move { hand.serve(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self {
            url,
            root,
            mood,
            held,
            is_first_released,
            given,
            answered,
            after,
        }
    }

    /// Writes a file of the bucket once `count` more requests were done that begin with `method` and have `part` in
    /// their path, before the last of them is answered; at once where that is 0.
    pub(crate) fn write_after(
        &self,
        count: usize,
        (method, part): (&'static str, &'static str),
        name: &str,
        bytes: &[u8],
    ) {
        let mut after = After {
            request: (method, part),
            left: count,
            file: self.root.path().join("logs").join(name),
            bytes: bytes.to_vec(),
        };
        if !after.is_done() {
            *self.after.lock().unwrap() = Some(after);
        }
    }

    /// The file of a request's path.
    pub(crate) fn path(&self, request: &str) -> PathBuf {
        self.root.path().join(request.trim_start_matches('/'))
    }

    /// Method and path of each request that was answered, oldest first.
    pub(crate) fn answered(&self) -> Vec<String> {
        self.answered.lock().unwrap().clone()
    }

    /// The bytes of objects that were given since the last time.
    pub(crate) fn take_given(&self) -> u64 {
        self.given.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Has the request done that was held first.
    pub(crate) fn release_first(&self) {
        self.is_first_released.store(true, Ordering::Relaxed);
    }

    /// The paths of requests that were held, oldest first.
    pub(crate) fn held(&self) -> Vec<String> {
        self.held.lock().unwrap().clone()
    }

    /// The files of the archive's objects.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        files_below(&self.root.path().join("logs/some/prefix/v1/logs"))
    }

    /// The files below a folder of the bucket.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        files_below(&self.root.path().join("logs").join(below))
    }

    /// The files of manifests.
    pub(crate) fn manifests(&self) -> Vec<PathBuf> {
        files_below(&self.root.path().join("logs/some/prefix/v1/manifests"))
    }
}

/// All files below a folder, by name, without those that a store keeps for itself.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return files,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if !path.file_name().unwrap().to_string_lossy().starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    files
}

impl After {
    /// Writes the file where no request is left.
    fn is_done(&mut self) -> bool {
        if self.left == 0 {
            fs::create_dir_all(self.file.parent().unwrap()).unwrap();
            fs::write(&self.file, &self.bytes).unwrap();
        }
        self.left == 0
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

struct Hand {
    store: S3Service,
    mood: Arc<Mutex<Mood>>,
    held: Arc<Mutex<Vec<String>>>,
    is_first_released: Arc<AtomicBool>,
    given: Arc<AtomicU64>,
    answered: Arc<Mutex<Vec<String>>>,
    after: Arc<Mutex<Option<After>>>,
}

impl Hand {
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Works => {}
            Mood::Away => return Err(io::ErrorKind::ConnectionReset.into()),
            Mood::Answers(status, code) => return Ok(answer(status, code)),
            Mood::Loses(status, code) => {
                let done = self.store.call(request.map(s3s::Body::from)).await;
                return done.map(|_| answer(status, code)).map_err(io::Error::other);
            }
            Mood::Holds(method, part) => {
                let path = request.uri().path().to_owned();
                if request.method() == method && path.contains(part) {
                    let before = {
                        let mut held = self.held.lock().unwrap();
                        held.push(path);
                        held.len() - 1
                    };
                    let is_released = || before == 0 && self.is_first_released.load(Ordering::Relaxed);
                    // Until its mood has changed: then it is done.
                    while *self.mood.lock().unwrap() == mood && !is_released() {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }
            }
        }
        let is_object = request.method() == "GET" && request.uri().path().contains("/v1/logs/");
        let asked = format!("{} {}", request.method(), request.uri().path());
        let response = self.store.call(request.map(s3s::Body::from)).await;
        let response = response.map_err(io::Error::other)?;
        self.note(asked);
        let length = response.headers().get("content-length");
        if let Some(length) = length.filter(|_| is_object).and_then(|length| length.to_str().ok()) {
            self.given.fetch_add(length.parse().unwrap(), Ordering::SeqCst);
        }
        Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
    }
}

impl Hand {
    fn note(&self, asked: String) {
        let mut after = self.after.lock().unwrap();
        if let Some(of) = after.as_mut()
            && asked.starts_with(of.request.0)
            && asked.contains(of.request.1)
        {
            of.left -= 1;
            if of.is_done() {
                *after = None;
            }
        }
        self.answered.lock().unwrap().push(asked);
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

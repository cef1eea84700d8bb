//! A sink in this process: OTLP over HTTP, which takes as many requests as it is told to, and remembers every body.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

#[derive(Default)]
struct Shared {
    /// Requests that it still takes.
    room: usize,
    /// The text of each record, as they came.
    taken: Vec<String>,
    /// The beginning of the text of a record with which it takes no request, the status that it answers then, and how
    /// often.
    refuses: Option<(String, &'static str, usize)>,
    /// The values of the header `x-key`.
    keys: BTreeSet<String>,
}

/// The sink. It listens as long as the test's process.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Sink {
    /// A sink that takes nothing yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&of_listener);
                thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { address, shared }
    }

    /// From now on it takes this number of requests.
    pub(crate) fn take(&self, requests: usize) {
        self.shared.lock().unwrap().room = requests;
    }

    /// Forgets what it has taken, and takes no request with a record whose text begins like this: so many times it
    /// answers this status instead.
    pub(crate) fn refuse(&self, begins: &str, status: &'static str, times: usize) {
        let mut shared = self.shared.lock().unwrap();
        shared.taken.clear();
        shared.refuses = Some((begins.to_owned(), status, times));
    }

    /// The values of the header `x-key` in requests to it.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.shared.lock().unwrap().keys.clone()
    }

    /// The records that it has taken, in order.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.shared.lock().unwrap().taken.clone()
    }
}

fn serve(stream: &TcpStream, shared: &Mutex<Shared>) {
    let mut reader = BufReader::new(stream);
    while let Some((body, key)) = request(&mut reader) {
        let mut shared = shared.lock().unwrap();
        shared.keys.extend(key);
        let texts = texts(&body);
        let has = |begins: &str| texts.iter().any(|text| text.starts_with(begins));
        let refused = match &mut shared.refuses {
            Some((begins, status, times)) if *times > 0 && has(begins) => {
                *times -= 1;
                Some(*status)
            }
            _ => None,
        };
        let head = match (refused, shared.room.checked_sub(1)) {
            (Some(status), _) => status,
            (None, Some(room)) => {
                shared.room = room;
                shared.taken.extend(texts);
                "200 OK"
            }
            (None, None) => "503 Service Unavailable\r\nretry-after: 1",
        };
        drop(shared);
        let answer = format!("HTTP/1.1 {head}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn texts(body: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let scopes = request
        .resource_logs
        .into_iter()
        .flat_map(|resource| resource.scope_logs);
    let records = scopes.flat_map(|scope| scope.log_records);
    let text = records.filter_map(|record| match record.body?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    });
    text.collect()
}

/// The body of the next request, and its header `x-key`; `None` where the other end is gone.
fn request(reader: &mut impl BufRead) -> Option<(Vec<u8>, Option<String>)> {
    let (mut length, mut key) = (0, None);
    for line in 0.. {
        let mut text = String::new();
        reader.read_line(&mut text).ok().filter(|bytes| *bytes > 0)?;
        if text.trim().is_empty() && line > 0 {
            break;
        }
        match text.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some((name, value)) if name.eq_ignore_ascii_case("x-key") => key = Some(value.trim().to_owned()),
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((body, key))
}

//! A sink in this process: OTLP over HTTP on a free port of loopback, dead, poisonous or well.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::payload;

/// The sink's behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    /// It accepts everything.
    Takes,
    /// It closes the connection.
    Dead,
    /// It refuses a request that holds one of the entries of [`payload::is_poison`].
    Refuses,
    /// It fails at those entries with 500, as a server does that cannot decode one.
    Breaks,
}

struct Shared {
    mood: Mood,
    taken: Vec<Vec<u8>>,
}

/// The sink (see the module).
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            mood: Mood::Takes,
            taken: Vec::new(),
        }));
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(shared) = weak.upgrade() else { return };
                thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.shared.lock().unwrap().mood = mood;
    }

    /// The requests that were accepted since the last call, in order.
    pub(crate) fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.shared.lock().unwrap().taken)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared = Arc::new(Mutex::new(Shared {
            mood: Mood::Dead,
            taken: Vec::new(),
        }));
        // The connection wakes the listening thread, which sees the end.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers the requests of one connection until its other end is gone.
fn serve(stream: &TcpStream, shared: &Mutex<Shared>) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match shared.mood {
            Mood::Dead => return,
            Mood::Refuses if is_poisoned(&body) => "400 Bad Request",
            Mood::Breaks if is_poisoned(&body) => "500 Internal Server Error",
            Mood::Takes | Mood::Refuses | Mood::Breaks => {
                shared.taken.push(body);
                "200 OK"
            }
        };
        drop(shared);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn is_poisoned(body: &[u8]) -> bool {
    payload::numbers(body).into_iter().any(payload::is_poison)
}

/// The body of the next request.
fn request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    for line in 0.. {
        let mut text = String::new();
        reader.read_line(&mut text).ok().filter(|bytes| *bytes > 0)?;
        if text.trim().is_empty() && line > 0 {
            break;
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

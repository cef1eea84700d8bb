//! One connection of the open loop: requests leave in the order in which they are due.
//!
//! **Owns**: [`Lane`]. Unlike a `Link` it reconnects, at the next request after a loss.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http2::SendRequest;
use tokio::sync::Mutex;

use super::sample::{Ending, Sample};
use super::template::Stamped;
use crate::client::{self, Answer, LinkGuard};
use crate::history::Outcome;

/// A message in pieces, which are not copied together.
pub(super) struct Pieces {
    pieces: [Bytes; 3],
    next: usize,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.next;
        let Some(piece) = self.pieces.get_mut(next).map(std::mem::take) else {
            return Poll::Ready(None);
        };
        self.next += 1;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.pieces.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// One connection. It lives until the last request on it is answered, even when the lane has gone on to the next.
pub(super) struct Wire {
    sender: SendRequest<Pieces>,
    link: u32,
    _guard: LinkGuard,
}

/// A connection that is made again when it is lost.
pub(super) struct Lane {
    address: SocketAddr,
    uri: String,
    timeout: Duration,
    wire: Mutex<Option<Rc<Wire>>>,
    /// Counter of connections over all lanes.
    links: Rc<Cell<u32>>,
    /// Number of requests without an answer.
    pub(super) in_flight: Cell<usize>,
    /// Sequence number of the next request.
    pub(super) sequence: Cell<u64>,
    start: Instant,
}

impl Lane {
    pub(super) fn new(address: SocketAddr, timeout: Duration, links: Rc<Cell<u32>>, start: Instant) -> Self {
        Self {
            address,
            uri: format!("http://{address}{}", client::PATH),
            timeout,
            wire: Mutex::new(None),
            links,
            in_flight: Cell::new(0),
            sequence: Cell::new(0),
            start,
        }
    }

    /// Connects where there is no connection.
    pub(super) async fn connect(&self) -> anyhow::Result<Rc<Wire>> {
        let mut wire = self.wire.lock().await;
        if let Some(wire) = wire.as_ref().filter(|wire| !wire.sender.is_closed()) {
            return Ok(Rc::clone(wire));
        }
        let (sender, guard) = client::dial(self.address).await?;
        let fresh = Rc::new(Wire {
            sender,
            link: self.links.replace(self.links.get() + 1),
            _guard: guard,
        });
        *wire = Some(Rc::clone(&fresh));
        Ok(fresh)
    }

    /// Sends a request that was due at `due`, and adds its sample to `into`.
    pub(super) async fn send(self: Rc<Self>, request: Stamped, due: Duration, into: Rc<RefCell<Vec<Sample>>>) {
        let mut sample = Sample {
            id: request.id,
            fingerprint: request.fingerprint,
            link: None,
            due,
            sent: due,
            answered: due,
            ending: Ending::NoConnection,
            retry_delay: None,
        };
        if let Ok(wire) = self.connect().await {
            sample.link = Some(wire.link);
            sample.sent = self.start.elapsed();
            let ended = tokio::time::timeout(self.timeout, self.exchange(wire.sender.clone(), request)).await;
            sample.ending = Ending::Answered(match &ended {
                Ok(Ok(answer)) => answer.outcome,
                Ok(Err(_)) => Outcome::ConnectionLost,
                Err(_) => Outcome::TimedOut,
            });
            sample.retry_delay = ended.ok().and_then(Result::ok).and_then(|answer| answer.retry_delay);
        }
        sample.answered = self.start.elapsed();
        self.in_flight.set(self.in_flight.get() - 1);
        into.borrow_mut().push(sample);
    }

    async fn exchange(&self, mut sender: SendRequest<Pieces>, request: Stamped) -> anyhow::Result<Answer> {
        let pieces = Pieces {
            pieces: request.pieces,
            next: 0,
        };
        let request = client::request(&self.uri, request.gzip, pieces)?;
        client::exchange(&mut sender, request).await
    }
}

//! One connection: from its hand-over to its end.
//!
//! **Invariants**:
//! - I1: a connection ends by itself: when its client closes it, when it is too old, when it is silent or brings no
//!   request at first, when the node drains.
//! - I2: a connection that is told to end first answers the requests that it has read. An HTTP/1.1 connection announces
//!   the end in its last answer, and is not closed between two requests before its client had time to read that.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::linger::Lingering;
use super::refusal::Refusal;
use super::reply::ReplyBody;
use super::socket::Socket;
use super::state::{ConnectionCharge, WorkerState};
use super::{otlp_grpc, otlp_http};
use crate::limits::{
    CONNECTION_AGE_JITTER_PERCENT, CONNECTION_GRACE, HTTP1_AGE_GRACE, HTTP1_DRAIN_GRACE, HTTP1_IDLE_TIMEOUT,
    TLS_HANDSHAKE_TIMEOUT,
};
use crate::tls::ServerTls;

/// The protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// OTLP/gRPC, and the services beside it.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

/// A connection as the acceptor hands it over.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// Serves a connection to its end.
pub(super) async fn serve(state: Rc<WorkerState>, accepted: Accepted) {
    let protocol = accepted.protocol;
    match shake_hands(&state, accepted).await {
        Ok(Some(socket)) => drive(state, socket, protocol).await,
        Ok(None) => {}
        // A client that connects and sends nothing is a probe; nothing was lost.
        Err(error) => tracing::debug!(%error, "ingest.connection.failed"),
    }
}

/// Waits for the client's first bytes, and sets TLS up; `None` when the node drained before the client sent anything.
async fn shake_hands(state: &WorkerState, accepted: Accepted) -> std::io::Result<Option<Socket>> {
    let stream = tokio::net::TcpStream::from_std(accepted.stream)?;
    // The first bytes tell the protocol, and nothing after this bounds the wait for them.
    if !state.draining.get() {
        tokio::select! {
            () = state.drain.notified() => return Ok(None),
            spoken = tokio::time::timeout(HTTP1_IDLE_TIMEOUT, stream.readable()) => spoken??,
        }
    }
    let Some(tls) = accepted.tls else {
        return Ok(Some(Socket::Plain(stream)));
    };
    match tls.accept(stream, TLS_HANDSHAKE_TIMEOUT).await {
        Ok(stream) => Ok(Some(Socket::Tls(Box::new(stream)))),
        // Such failures are counted, and logged where an operator can do something.
        Err(_) => Ok(None),
    }
}

/// The stage of a connection on the way to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It takes requests.
    Open,
    /// Its next answer is the last one, and says so.
    LastAnswer,
    /// It takes no more requests, and answers those that it has read.
    Ending,
    /// It is closed, whatever is under way.
    Closed,
}

/// An event that moves a connection towards its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Push {
    /// No request came on it in time.
    Unused,
    /// The time of its stage is over.
    TimeOver,
    /// The node drains.
    Drain,
}

/// The next stage, and its length. An idle client can be told of the end by HTTP/2, which has a frame for it; HTTP/1.1
/// has only the next answer's `connection: close`, and a client that has sent a request on a connection that is closed
/// at that moment does not know whether it was read.
fn next_stage(stage: Stage, push: Push, speaks_http1: bool) -> (Stage, Duration) {
    match (stage, push) {
        (Stage::Open, Push::Unused) => (Stage::Ending, CONNECTION_GRACE),
        (Stage::Open, Push::TimeOver) if speaks_http1 => (Stage::LastAnswer, HTTP1_AGE_GRACE),
        (Stage::Open | Stage::LastAnswer, Push::Drain) if speaks_http1 => (Stage::LastAnswer, HTTP1_DRAIN_GRACE),
        (Stage::Open | Stage::LastAnswer, _) => (Stage::Ending, CONNECTION_GRACE),
        (Stage::Ending | Stage::Closed, _) => (Stage::Closed, Duration::ZERO),
    }
}

async fn drive(state: Rc<WorkerState>, socket: Socket, protocol: Protocol) {
    let charge = Rc::new(ConnectionCharge::default());
    let service = service_fn(|request| {
        let (state, charge) = (Rc::clone(&state), Rc::clone(&charge));
        async move { Ok::<_, Infallible>(answer(&state, &charge, protocol, request).await) }
    });
    let io = TokioIo::new(Lingering::new(socket));
    let mut connection = pin!(state.builder.serve_connection(io, service));
    let mut time = pin!(tokio::time::sleep(jittered(state.limits.max_connection_age)));
    let mut drained = pin!(state.drain.notified());
    // The bound on the silence of a connection begins with its first request, or with its HTTP/2 preface.
    let mut unused = pin!(tokio::time::sleep(HTTP1_IDLE_TIMEOUT));
    let (mut may_be_unused, mut may_drain) = (true, true);
    let mut stage = Stage::Open;
    let mut push = state.draining.get().then_some(Push::Drain);
    loop {
        if let Some(push) = push.take() {
            let (next, within) = next_stage(stage, push, charge.speaks_http1());
            stage = next;
            time.as_mut().reset(tokio::time::Instant::now() + within);
            match stage {
                Stage::Open => {}
                Stage::LastAnswer => charge.end(),
                Stage::Ending => {
                    charge.end();
                    connection.as_mut().graceful_shutdown();
                }
                Stage::Closed => return,
            }
        }
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    count_library_answer(&state, &*error);
                }
                return;
            }
            () = drained.as_mut(), if may_drain && stage != Stage::Ending => {
                may_drain = false;
                push = Some(Push::Drain);
            }
            () = unused.as_mut(), if may_be_unused && stage == Stage::Open => {
                may_be_unused = false;
                push = (!charge.is_used()).then_some(Push::Unused);
            }
            () = time.as_mut() => push = Some(Push::TimeOver),
        }
    }
}

async fn answer(
    state: &WorkerState,
    charge: &Rc<ConnectionCharge>,
    protocol: Protocol,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let http1 = request.version() < Version::HTTP_2;
    charge.must_note_version(http1);
    let mut response = match protocol {
        Protocol::Grpc => otlp_grpc::answer(state, charge, request).await,
        Protocol::Http => otlp_http::answer(state, charge, request).await,
    };
    if http1 && charge.is_ending() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Counts requests that hyper refuses by itself: it answers a request's head that it cannot read, and ends the
/// connection.
fn count_library_answer(state: &WorkerState, error: &(dyn std::error::Error + Send + Sync + 'static)) {
    let refusal = match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse_too_large() => Some(Refusal::HeadTooLarge),
        Some(error) if error.is_parse() => Some(Refusal::BadHead),
        Some(_) | None => None,
    };
    match refusal {
        Some(refusal) => state.counters.must_count_refusal(refusal),
        None => tracing::debug!(%error, "ingest.connection.failed"),
    }
}

/// A time within some percent of `age`, so that connections made together do not end together.
fn jittered(age: Duration) -> Duration {
    let swing = age * CONNECTION_AGE_JITTER_PERCENT as u32 / 100;
    let random = RandomState::new().hash_one(0u8) % 2001;
    age - swing + swing * 2 * random as u32 / 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_http1_says_that_it_ends_before_it_does() {
        use Push::{Drain, TimeOver, Unused};
        use Stage::{Closed, Ending, LastAnswer, Open};
        for (stage, push, http1, next, within) in [
            (Open, TimeOver, true, LastAnswer, HTTP1_AGE_GRACE),
            (Open, Drain, true, LastAnswer, HTTP1_DRAIN_GRACE),
            (LastAnswer, Drain, true, LastAnswer, HTTP1_DRAIN_GRACE),
            (LastAnswer, TimeOver, true, Ending, CONNECTION_GRACE),
            (Open, Unused, true, Ending, CONNECTION_GRACE),
            (Ending, TimeOver, true, Closed, Duration::ZERO),
            // HTTP/2 has GOAWAY, and a connection without a request has nothing to answer.
            (Open, TimeOver, false, Ending, CONNECTION_GRACE),
            (Open, Drain, false, Ending, CONNECTION_GRACE),
            (Open, Unused, false, Ending, CONNECTION_GRACE),
            (Ending, TimeOver, false, Closed, Duration::ZERO),
        ] {
            assert_eq!(
                next_stage(stage, push, http1),
                (next, within),
                "{stage:?} {push:?} {http1}"
            );
        }
    }
}

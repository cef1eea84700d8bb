//! One connection: from its hand-over to its end.
//!
//! Invariants:
//! - I1: a connection ends by itself: when its client closes it, when it is too old, when it is silent or asks nothing at first, when the node drains.
//! - I2: a connection that is told to end answers what it has read first.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;

use super::admission::Admission;
use super::socket::Socket;
use super::state::{ConnectionCharge, WorkerState};
use super::{otlp_grpc, otlp_http};
use crate::limits::{
    CONNECTION_AGE_JITTER_PERCENT, CONNECTION_GRACE, HEADERS_BYTES_MAX, HTTP1_BUFFER_BYTES, HTTP1_IDLE_TIMEOUT,
    HTTP2_FRAME_BYTES, HTTP2_LATE_FRAMES_MAX, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_STREAMS_MAX,
    HTTP2_STREAMS_PER_WINDOW, TLS_HANDSHAKE_TIMEOUT,
};
use crate::tls::ServerTls;

/// What is spoken on a port.
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

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Debug)]
pub(super) struct LocalExecutor {
    admission: Rc<Admission>,
}

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        if !self.admission.must_refuse() {
            tokio::task::spawn_local(task);
            return;
        }
        // A task of its own would have its turn behind all that the core has to do, and its answer another one behind that. What is refused is done at once.
        let mut task = Box::pin(task);
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(task);
        }
    }
}

/// How connections are served when HTTP/2 may hold `window` unread bytes of each.
pub(super) fn builder(window: u32, admission: &Rc<Admission>) -> auto::Builder<LocalExecutor> {
    let mut builder = auto::Builder::new(LocalExecutor {
        admission: Rc::clone(admission),
    });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP1_IDLE_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(window / HTTP2_STREAMS_PER_WINDOW)
        .initial_connection_window_size(window)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        // A refusal comes before its message, whose frames then arrive for a stream that is gone. h2 counts them as faults, over the connection's whole life, and
        // would end it with all that is under way on it.
        .max_local_error_reset_streams(HTTP2_LATE_FRAMES_MAX);
    builder
}

/// Serves a connection to its end.
pub(super) async fn serve(state: Rc<WorkerState>, accepted: Accepted) {
    let protocol = accepted.protocol;
    match shake_hands(&state, accepted).await {
        Ok(Some(socket)) => drive(state, socket, protocol).await,
        Ok(None) => {}
        // Common enough from scanners and probes; nothing was lost.
        Err(error) => tracing::debug!(%error, "ingest.handshake.failed"),
    }
}

/// Waits for the client's first bytes, and sets TLS up; `None` when the node drained before the client said anything.
async fn shake_hands(state: &WorkerState, accepted: Accepted) -> std::io::Result<Option<Socket>> {
    let stream = tokio::net::TcpStream::from_std(accepted.stream)?;
    // The protocol is told by the first bytes, and nothing behind this bounds the wait for them.
    if !state.draining.get() {
        tokio::select! {
            () = state.drain.notified() => return Ok(None),
            spoken = tokio::time::timeout(HTTP1_IDLE_TIMEOUT, stream.readable()) => spoken??,
        }
    }
    let Some(tls) = accepted.tls else {
        return Ok(Some(Socket::Plain(stream)));
    };
    let handshake = tokio_rustls::TlsAcceptor::from(tls.current()).accept(stream);
    let stream = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await??;
    Ok(Some(Socket::Tls(Box::new(stream))))
}

async fn drive(state: Rc<WorkerState>, socket: Socket, protocol: Protocol) {
    let charge = Rc::new(ConnectionCharge::default());
    let service = service_fn(|request| {
        let (state, charge) = (Rc::clone(&state), Rc::clone(&charge));
        async move {
            Ok::<_, Infallible>(match protocol {
                Protocol::Grpc => otlp_grpc::answer(&state, &charge, request).await,
                Protocol::Http => otlp_http::answer(&state, &charge, request).await,
            })
        }
    });
    let mut connection = pin!(state.builder.serve_connection(TokioIo::new(socket), service));
    let mut end = pin!(tokio::time::sleep(jittered(state.limits.max_connection_age)));
    let mut drained = pin!(state.drain.notified());
    // What bounds the silence of a connection begins with its first request, or with its HTTP/2 preface.
    let mut unused = pin!(tokio::time::sleep(HTTP1_IDLE_TIMEOUT));
    let mut watched = true;
    let mut ending = false;
    let mut told = state.draining.get();
    loop {
        if told && !ending {
            ending = true;
            connection.as_mut().graceful_shutdown();
            end.as_mut().reset(tokio::time::Instant::now() + CONNECTION_GRACE);
        }
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "ingest.connection.failed");
                }
                return;
            }
            () = drained.as_mut(), if !ending => told = true,
            () = unused.as_mut(), if watched && !ending => {
                watched = false;
                told = !charge.is_used();
            }
            () = end.as_mut() => {
                if ending {
                    return;
                }
                told = true;
            }
        }
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
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_will_be_refused_is_answered_in_its_connections_turn_and_all_else_in_its_own() {
        const TURN: Duration = Duration::from_millis(50);
        let admission = Rc::new(Admission::new(u64::MAX));
        let executor = LocalExecutor {
            admission: Rc::clone(&admission),
        };
        let answered = Rc::new(Cell::new(0));
        let answer = || {
            let answered = Rc::clone(&answered);
            async move { answered.set(answered.get() + 1) }
        };
        let tasks = tokio::task::LocalSet::new();
        let _in = tasks.enter();
        executor.execute(answer());
        assert_eq!(answered.get(), 0, "its turn has not come");
        // One message more than a core that reads a byte a turn can read in time.
        let mut waits = admission.must_admit();
        waits.as_mut().unwrap().must_be(1 << 20);
        waits.as_mut().unwrap().must_read(1);
        admission.tick(TURN, TURN);
        assert!(admission.must_refuse());
        executor.execute(answer());
        assert_eq!(answered.get(), 1, "at once");
        tasks.await;
        assert_eq!(answered.get(), 2);
    }
}

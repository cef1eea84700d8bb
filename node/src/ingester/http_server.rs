//! The HTTP server of a worker: hyper's settings for its connections, and the thread of their tasks.

use std::rc::Rc;
use std::task::{Context, Waker};

use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use super::admission::Admission;
use crate::limits::{
    HEADERS_BYTES_MAX, HTTP1_BUFFER_BYTES, HTTP1_IDLE_TIMEOUT, HTTP2_FRAME_BYTES, HTTP2_LATE_FRAMES_MAX,
    HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_STREAMS_MAX, HTTP2_STREAMS_PER_WINDOW,
};

/// An executor that runs hyper's tasks on the worker's own thread.
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
        // A task of its own would have its turn behind all other work of the core, and its answer another turn behind
        // that. Refusals are complete after the first poll, so they are done at once.
        let mut task = Box::pin(task);
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(task);
        }
    }
}

/// A connection builder; HTTP/2 may hold `window` unread bytes of each connection.
pub(super) fn builder(window: u32, admission: &Rc<Admission>) -> auto::Builder<LocalExecutor> {
    let mut builder = auto::Builder::new(LocalExecutor {
        admission: Rc::clone(admission),
    });
    set(&mut builder, window);
    builder
}

/// The settings of every connection.
pub(super) fn set<E>(builder: &mut auto::Builder<E>, window: u32) {
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
        // A refusal comes before its message, whose frames then arrive for a stream that is gone. h2 counts those as
        // faults, over the connection's whole life, and would in the end close the connection with everything under way
        // on it.
        .max_local_error_reset_streams(HTTP2_LATE_FRAMES_MAX);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

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

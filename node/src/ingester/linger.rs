//! The end of a connection: bytes that its client still sends are read and discarded for a while, so that the client
//! sees the answer.
//!
//! A socket that is closed with bytes unread makes the kernel send a reset, and a client that is still writing gets
//! that instead of the answer which was sent before. So the writing half is closed first, and the reading half when the
//! client has closed its own, or after bounds in bytes and time.
//!
//! **Not here**: the decision to end a connection (`connection`), refused bodies whose connection goes on
//! (`otlp_http`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::socket::Socket;
use crate::limits::{LINGER_BYTES_MAX, LINGER_IDLE, LINGER_TIME};

/// Bytes that are discarded at a time.
const STEP: usize = 16 * 1024;

/// A socket whose end lingers.
pub(super) struct Lingering {
    socket: Socket,
    last: Last,
}

/// The stage of a socket's end.
enum Last {
    Open,
    Lingers(Linger),
    Over,
}

/// A socket that is closed for writing.
struct Linger {
    left: u64,
    deadline: Instant,
    wait: Pin<Box<Sleep>>,
}

impl Lingering {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            last: Last::Open,
        }
    }
}

impl Linger {
    fn begin(now: Instant) -> Self {
        let deadline = now + LINGER_TIME;
        Self {
            left: LINGER_BYTES_MAX,
            deadline,
            wait: Box::pin(sleep_until(deadline.min(now + LINGER_IDLE))),
        }
    }

    /// Reads until the client has closed too, or a bound is reached.
    fn poll(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [std::mem::MaybeUninit::uninit(); STEP];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut *stream).poll_read(context, &mut bytes) {
                Poll::Ready(Ok(())) if !bytes.filled().is_empty() => {
                    self.left = self.left.saturating_sub(bytes.filled().len() as u64);
                    if self.left == 0 {
                        return Poll::Ready(());
                    }
                    let idle = Instant::now() + LINGER_IDLE;
                    self.wait.as_mut().reset(self.deadline.min(idle));
                }
                // The connection is closed or broken, so there is no client to wait for.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.wait.as_mut().poll(context),
            }
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.last {
                Last::Open => {
                    ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
                    this.last = Last::Lingers(Linger::begin(Instant::now()));
                }
                Last::Lingers(linger) => {
                    ready!(linger.poll(this.socket.tcp(), context));
                    this.last = Last::Over;
                }
                Last::Over => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

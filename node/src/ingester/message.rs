//! A message while it arrives: its frames as they came, or, where they are too small for that, copied together.
//!
//! **Owns**: the bytes held of one message, and the permit for them.
//!
//! **Invariants**:
//! - I1: bytes are taken from the budget before more of the message is read: all at once where its length is known.
//! - I2: a message costs its own size in memory and not a multiple of it: a frame that keeps more alive than itself is
//!   copied.
//!
//! **Not here**: the meaning of the bytes (`otlp_grpc`, `otlp_http`), their destination (`store`).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admission::Expected;
use super::refusal::Refusal;
use super::state::WorkerState;
use crate::buffer::Permit;
use crate::limits::FRAME_KEPT_MIN;

/// The bytes of one message, so far.
pub(super) struct Message<'w> {
    state: &'w WorkerState,
    permit: Permit,
    coming: Expected<'w>,
    /// Frames in order, before `copied`.
    frames: Vec<Bytes>,
    copied: Vec<u8>,
    began: Instant,
    len: usize,
    /// The message's whole length, where that is known; else 0.
    expected: usize,
    contiguous: bool,
}

impl<'w> Message<'w> {
    /// A message of which nothing is held yet, and whose first bytes were read just now.
    pub(super) fn new(state: &'w WorkerState, coming: Expected<'w>) -> Self {
        Self {
            state,
            permit: state.slice.must_take_nothing(),
            coming,
            frames: state.frames.must_take(),
            copied: Vec::new(),
            began: Instant::now(),
            len: 0,
            expected: 0,
            contiguous: false,
        }
    }

    /// Makes later frames contiguous, since the message will be needed that way.
    pub(super) fn make_contiguous(&mut self) {
        self.contiguous = true;
    }

    /// Sets the message's length and takes it from the budget.
    pub(super) fn must_expect(&mut self, len: usize) -> Result<(), Refusal> {
        self.coming.must_be(len as u64);
        self.expected = len;
        self.must_grow(len)
    }

    /// Notes that a message of unknown length is complete.
    pub(super) fn must_have_come(&mut self) {
        self.coming.must_have_been(self.len as u64);
    }

    /// Takes `bytes` more of a message of unknown length from the budget: twice as many, since a buffer that grows is
    /// copied.
    pub(super) fn must_grow_by(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.must_grow(bytes * 2)
    }

    fn must_grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.permit.must_grow(bytes as u64) {
            Ok(())
        } else {
            Err(Refusal::Budget)
        }
    }

    /// Adds a frame. With `last` no frame follows.
    pub(super) fn must_push(&mut self, frame: Bytes, last: bool) {
        if frame.is_empty() {
            return;
        }
        self.len += frame.len();
        self.coming.must_read(frame.len() as u64);
        let alone = last && self.len == frame.len();
        let keep = alone || (self.copied.is_empty() && !self.contiguous && (last || frame.len() >= FRAME_KEPT_MIN));
        if keep {
            self.frames.push(frame);
        } else {
            self.copy(&frame);
        }
    }

    #[cold]
    fn copy(&mut self, frame: &[u8]) {
        if self.copied.is_empty() {
            self.copied = self.state.bytes.must_take();
            self.copied
                .reserve_exact((self.expected + frame.len()).saturating_sub(self.len));
        }
        self.copied.extend_from_slice(frame);
    }

    /// Time since its first bytes were read.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Number of bytes that have arrived.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All parts, in order.
    pub(super) fn must_parts(&self) -> impl Iterator<Item = &[u8]> {
        self.frames
            .iter()
            .map(|frame| &frame[..])
            .chain(std::iter::once(&self.copied[..]))
    }

    /// The whole message, where it is contiguous.
    pub(super) fn in_a_row(&self) -> Option<&[u8]> {
        match (&self.frames[..], &self.copied[..]) {
            ([], copied) => Some(copied),
            ([frame], []) => Some(frame),
            _ => None,
        }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        self.state.frames.must_give(std::mem::take(&mut self.frames));
        self.state.bytes.must_give(std::mem::take(&mut self.copied));
    }
}

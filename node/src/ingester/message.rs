//! A message while it arrives: its frames as they came, or, where they are too small for that, copied together.
//!
//! Owns: what is held of one message, and what it has taken from the budget.
//!
//! Invariants:
//! - I1: bytes are taken from the budget before more of the message is read: all at once where its length is known.
//! - I2: what is held costs the memory of the message and not a multiple of it: a frame that keeps more alive than itself is copied.
//!
//! Not here: what the bytes mean (`otlp_grpc`, `otlp_http`), where they go (`store`).

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
    /// In order, before `copied`.
    frames: Vec<Bytes>,
    copied: Vec<u8>,
    began: Instant,
    len: usize,
    /// Its whole length, where that is known; else 0.
    expected: usize,
    contiguous: bool,
}

impl<'w> Message<'w> {
    /// Nothing yet, but its first bytes were read just now.
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

    /// Its bytes will be needed in a row.
    pub(super) fn make_contiguous(&mut self) {
        self.contiguous = true;
    }

    /// The message is `len` bytes long: takes them from the budget.
    pub(super) fn must_expect(&mut self, len: usize) -> Result<(), Refusal> {
        self.coming.must_be(len as u64);
        self.expected = len;
        self.must_grow(len)
    }

    /// A message of unknown length has come to its end.
    pub(super) fn must_have_come(&mut self) {
        self.coming.must_have_been(self.len as u64);
    }

    /// So many more bytes of a message of unknown length are there: takes them from the budget, twice, since a buffer that grows is copied.
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

    /// Adds what arrived. `last`: nothing follows.
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

    /// How long ago its first bytes were read.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many bytes have arrived.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of it, in order.
    pub(super) fn must_parts(&self) -> impl Iterator<Item = &[u8]> {
        self.frames
            .iter()
            .map(|frame| &frame[..])
            .chain(std::iter::once(&self.copied[..]))
    }

    /// All of it in a row, where it is.
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

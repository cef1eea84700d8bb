//! The history of a run as clients saw it: each request that was sent, and its outcome.
//!
//! **Owns**: [`Attempt`], [`Outcome`], [`History`].
//!
//! **Invariants**:
//! - I1: a request without an answer is `Unknown`, never refused: it may be stored.
//!
//! **Not here**: the judgement (`check.rs`).

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::payload::{PayloadHash, PayloadId};

/// The outcome of a request as its client knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Outcome {
    /// The server acknowledged it: the payload must be stored for ever.
    Acked,
    /// The server refused it.
    Refused {
        /// The gRPC status code.
        code: u8,
        /// True where both trailers carried a RetryInfo.
        retry_info: bool,
        /// True where the answer leaves no doubt that nothing was stored.
        settled: bool,
    },
    /// No answer came in time.
    TimedOut,
    /// The connection was lost before an answer.
    ConnectionLost,
}

impl Outcome {
    /// True where the payload may be stored although nobody acknowledged it.
    pub fn is_open(self) -> bool {
        match self {
            Self::Acked => false,
            Self::Refused { settled, .. } => !settled,
            Self::TimedOut | Self::ConnectionLost => true,
        }
    }

    /// True where there was no answer.
    pub fn is_unknown(self) -> bool {
        matches!(self, Self::TimedOut | Self::ConnectionLost)
    }
}

/// One request. Times are nanoseconds since the Unix epoch, taken from one monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The payload.
    pub id: PayloadId,
    /// Hash of its bytes.
    pub hash: PayloadHash,
    /// Fingerprint of its bytes, for comparison with a sink.
    pub fingerprint: Fingerprint,
    /// The connection, numbered anew at each reconnection: all its requests went to one shard.
    pub link: u32,
    /// Just before the request was given to the connection.
    pub sent: u64,
    /// Just after its answer, or its loss, was known.
    pub answered: u64,
    /// The outcome.
    pub outcome: Outcome,
}

/// Counts of requests by outcome.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct Tally {
    /// Acknowledged requests.
    pub acked: usize,
    /// Refused requests.
    pub refused: usize,
    /// Requests without an answer.
    pub unknown: usize,
}

/// All requests of a run.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// The requests, in no particular order.
    pub attempts: Vec<Attempt>,
}

impl History {
    /// Counts of the outcomes of the attempts from index `from` on.
    pub fn tally(&self, from: usize) -> Tally {
        let mut tally = Tally::default();
        for attempt in &self.attempts[from..] {
            match attempt.outcome {
                Outcome::Acked => tally.acked += 1,
                Outcome::Refused { .. } => tally.refused += 1,
                Outcome::TimedOut | Outcome::ConnectionLost => tally.unknown += 1,
            }
        }
        tally
    }

    /// The payloads whose every ack came at `time` or later, each with the nanoseconds from `time` to its first ack.
    pub fn acked_since(&self, time: u64) -> HashMap<PayloadId, u64> {
        let mut first: HashMap<PayloadId, u64> = HashMap::new();
        for attempt in self.attempts.iter().filter(|a| a.outcome == Outcome::Acked) {
            let at = first.entry(attempt.id).or_insert(attempt.answered);
            *at = attempt.answered.min(*at);
        }
        first.retain(|_, at| *at >= time);
        first.values_mut().for_each(|at| *at -= time);
        first
    }

    /// Counts these payloads as unknown from now on, so that one loss is not reported again after each later round.
    pub fn forgive(&mut self, lost: &[PayloadId]) {
        let lost: HashSet<_> = lost.iter().collect();
        for attempt in &mut self.attempts {
            if attempt.outcome == Outcome::Acked && lost.contains(&attempt.id) {
                attempt.outcome = Outcome::TimedOut;
            }
        }
    }
}

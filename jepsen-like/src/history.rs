//! What clients saw: each request that was sent, and what came back.
//!
//! Owns: [`Attempt`], [`Outcome`], [`History`].
//!
//! Invariants:
//! - I1: a request that has no answer is `Unknown`, never refused: it may be stored.
//!
//! Not here: the judgement (`check.rs`).

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::payload::{PayloadHash, PayloadId};

/// What a client knows of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Outcome {
    /// The server said OK: the payload must be there for ever.
    Acked,
    /// The server said no.
    Refused {
        /// The gRPC status code.
        code: u8,
        /// Whether both trailers carried a RetryInfo.
        retry_info: bool,
        /// Whether the answer leaves no doubt that nothing was stored.
        settled: bool,
    },
    /// No answer within the time.
    TimedOut,
    /// The connection went away first.
    ConnectionLost,
}

impl Outcome {
    /// Whether the payload may be stored although nobody said so.
    pub fn is_open(self) -> bool {
        match self {
            Self::Acked => false,
            Self::Refused { settled, .. } => !settled,
            Self::TimedOut | Self::ConnectionLost => true,
        }
    }

    /// Whether there was no answer.
    pub fn is_unknown(self) -> bool {
        matches!(self, Self::TimedOut | Self::ConnectionLost)
    }
}

/// One request. Times are nanoseconds since the Unix epoch, taken from one monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What was sent.
    pub id: PayloadId,
    /// The hash of its bytes.
    pub hash: PayloadHash,
    /// The same in short, for a sink.
    pub fingerprint: Fingerprint,
    /// The connection, anew at each reconnection: all of it went to one shard.
    pub link: u32,
    /// Just before the request was given to the connection.
    pub sent: u64,
    /// Just after its answer, or its loss, was known.
    pub answered: u64,
    /// What came back.
    pub outcome: Outcome,
}

/// How many requests ended how.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct Tally {
    /// Acknowledged.
    pub acked: usize,
    /// Refused.
    pub refused: usize,
    /// Neither.
    pub unknown: usize,
}

/// All requests of a run.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// In no particular order.
    pub attempts: Vec<Attempt>,
}

impl History {
    /// How many ended how, from this one on.
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

    /// The payloads whose every ack came at this time or later, and how many nanoseconds later the first came.
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

    /// Takes these payloads for unknown from now on, so that one loss is not reported again after each later round.
    pub fn forgive(&mut self, lost: &[PayloadId]) {
        let lost: HashSet<_> = lost.iter().collect();
        for attempt in &mut self.attempts {
            if attempt.outcome == Outcome::Acked && lost.contains(&attempt.id) {
                attempt.outcome = Outcome::TimedOut;
            }
        }
    }
}

//! What came of one request.

use std::time::Duration;

use crate::fingerprint::Fingerprint;
use crate::history::Outcome;
use crate::payload::PayloadId;

/// The end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was sent, with this outcome.
    Answered(Outcome),
    /// It was not sent: too many requests were unanswered.
    InFlightMax,
    /// It was not sent: there was no connection.
    NoConnection,
}

/// One request of the schedule. Times are from the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The payload that was sent.
    pub id: PayloadId,
    /// Fingerprint of its bytes.
    pub fingerprint: Fingerprint,
    /// The connection, numbered anew at each reconnection.
    pub link: Option<u32>,
    /// Time at which it was due.
    pub due: Duration,
    /// Time at which it was sent.
    pub sent: Duration,
    /// Time at which its answer, or its loss, was known.
    pub answered: Duration,
    /// Its end.
    pub ending: Ending,
    /// Delay that a refusal asked for.
    pub retry_delay: Option<Duration>,
}

//! Every bound of sinks, in one place.

use std::time::Duration;

/// Time within which a connection to a sink is made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after an answer that may be retried.
pub(super) const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause, where the sink asks for no longer one.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a sink can ask for.
pub(super) const PAUSE_ASKED_MAX: Duration = Duration::from_secs(3600);
/// Number of attempts at the same request, with a sink that says itself that it failed, before that request is taken
/// apart.
pub(super) const FAILED_TRIES: u32 = 5;
/// Failures of an entry alone before it can be convicted.
pub(super) const SUSPECT_TRIES: u32 = 5;
/// Number of times that a neighbour must be accepted after a failure of the suspect: the second shows that the sink did
/// not merely recover.
pub(super) const SUSPECT_ROUNDS: u32 = 2;
/// Failures in a row that cause no pause while a batch is taken apart: enough to get from the largest batch to one
/// entry.
pub(super) const QUICK_FAILURES: u32 = 16;
/// Failures in a row up to which pauses stay steady: a run of half as many poisonous entries is passed at a steady
/// pace.
pub(super) const STEADY_FAILURES: u32 = 256;
/// Pause after each failure up to then.
pub(super) const STEADY_PAUSE: Duration = Duration::from_secs(1);
/// Time for which an exporter that was refused for an operator's fault waits before its next attempt.
pub(super) const OPERATOR_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of a sink's answer that are read. The number is not round, so that tonic's text for this limit is not mistaken
/// for that of a sink.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 + 7;
/// Characters of a sink's own text that are kept.
pub(super) const WHY_CHARS_MAX: usize = 300;

const _: () =
    assert!(BACKOFF_MIN.as_nanos() <= BACKOFF_MAX.as_nanos() && BACKOFF_MAX.as_nanos() <= PAUSE_ASKED_MAX.as_nanos());

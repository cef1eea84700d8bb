//! Every bound of sinks, in one place.

use std::time::Duration;

/// A connection to a sink is made within this.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after an answer that may be retried.
pub(super) const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause, where the sink asks for no longer one.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a sink can ask for.
pub(super) const PAUSE_ASKED_MAX: Duration = Duration::from_secs(3600);
/// Bytes of a sink's answer that are read. Not round, so that tonic's word for it is not mistaken for that of a sink.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 + 7;
/// Characters of a sink's own word that are kept.
pub(super) const WHY_CHARS_MAX: usize = 300;

const _: () =
    assert!(BACKOFF_MIN.as_nanos() <= BACKOFF_MAX.as_nanos() && BACKOFF_MAX.as_nanos() <= PAUSE_ASKED_MAX.as_nanos());

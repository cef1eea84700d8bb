//! Every bound of the control service, in one place.

use std::time::Duration;

/// How long the listener rests when the process has no descriptor for another connection.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At shutdown calls under way are given this long.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

//! Every bound of the control service, in one place.

use std::time::Duration;

/// Pause of the listener when the process has no descriptor for another connection.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time that calls under way have at shutdown.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

//! The bounds of provisioning and joining.

use std::time::Duration;

/// Bytes of a message.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Calls at once.
pub(super) const CALLS_MAX: usize = 64;

/// The time for an answer of a peer about itself, and for its acceptance of an invitation.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for an answer of the first node, which asks all others.
pub(super) const PROVISION_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for an admission, which takes several commands of the catalogue.
pub(super) const ADMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The time in which a node that has a name must answer, or the name is free for a storage that joins in its place.
pub(super) const HEARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause of a candidate between two rounds of questions.
pub(super) const SEEK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of the file of an invitation.
pub(super) const INVITATION_BYTES_MAX: u64 = 16 << 10;

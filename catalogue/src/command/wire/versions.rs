//! The versions of commands that have more fields than at first.

/// The version of a recovery that was given a name.
pub(super) const NAMED_RECOVERY: u8 = 2;
/// The version of a word about a job that was taken over.
pub(super) const WITH_TERM: u8 = 2;
/// The version of a position of a job that passed something over.
pub(super) const WITH_LOSS: u8 = 3;
/// The version of an accepted loss of copies that names the nodes that were asked.
pub(super) const WITH_ASKED: u8 = 2;
/// The version of a removal that tells what needed the node.
pub(super) const WITH_NEEDED: u8 = 2;
/// The version of a progress with entries from the archive.
pub(super) const WITH_ARCHIVED: u8 = 4;
/// The version of a list of exporters that says whose it is.
pub(super) const WITH_NODE: u8 = 2;

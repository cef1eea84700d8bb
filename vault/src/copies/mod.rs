//! Segments that another node writes, and of which this one keeps a copy.
//!
//! - `replica`: takes the frames of a tail stream, syncs them, and answers.
//! - `store`: the copies in a data folder: reported to a recovery, and made anew by its decision.
//! - `decided`: writes a segment's file by such a decision.
//! - `sealed`: complete copies, shown once their segment is sealed, and handed on once it is trimmed.
//! - `parts`: what the store and each copy share.
//! - `shared`: bytes, disk tier and trims, which copies share with the threads that keep the vault.
//! - `mark`: how far a copy is known to have been synced.
//! - `promise`: the fence, and the number of the recovery that this node obeys, kept even for segments that were never
//!   seen.

pub(crate) mod decided;
pub(crate) mod mark;
mod parts;
pub(crate) mod promise;
pub(crate) mod replica;
pub(crate) mod sealed;
pub(crate) mod shared;
pub(crate) mod store;

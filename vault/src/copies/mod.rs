//! Segments that another node writes, and that this one keeps a copy of.
//!
//! - `replica`: takes the frames of a tail stream, syncs them, and answers.
//! - `store`: the copies of a data folder: reported to a recovery, and made anew as it decided.
//! - `promise`: the fence and the number of the recovery that this node obeys, of segments never seen too.

pub(crate) mod promise;
pub(crate) mod replica;
pub(crate) mod store;

//! Segments that another node writes, and of which this one keeps a copy.
//!
//! - `replica`: takes the frames of a tail stream, syncs them, and answers.
//! - `promise`: the fence, and the number of the recovery that this node obeys, kept even for segments that were never
//!   seen.
//! - `merge`: small frames become full blocks when a copy is complete.

mod merge;
pub(crate) mod promise;
pub(crate) mod replica;

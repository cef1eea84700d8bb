//! Recovery of a segment whose owner is gone: fence it, hear what its holders have, copy that to enough nodes, seal it.
//!
//! - `leader`: the one who recovers a segment, a state machine.
//!
//! Terms: a recovery has a *number*, which the catalogue grants; holders promise to obey no lower one. Where several
//! leaders recover one segment, only the one with the highest number can seal it.

pub mod leader;

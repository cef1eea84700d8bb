//! Memory for messages: its limit, its reuse, and the hand-over to exporters.
//!
//! - `budget`: the byte budget, and each worker's slice of it.
//! - `pool`: buffers that are reused.
//! - `live_ring`: the positions that a shard hands over to an exporter.

mod budget;
mod live_ring;
mod pool;

pub use budget::{Budget, Permit, Slice};
pub use live_ring::{LiveRing, Rings};
pub use pool::Pool;

//! Memory for messages: how much may be taken, and what is used again.

mod budget;
mod live_ring;
mod pool;

pub use budget::{Budget, Permit, Slice};
pub use live_ring::{LiveRing, Rings};
pub use pool::Pool;

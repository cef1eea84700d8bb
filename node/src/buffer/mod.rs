//! Memory for messages: how much may be taken, and what is used again.

mod budget;
mod pool;

pub use budget::{Budget, Permit, Slice};
pub use pool::Pool;

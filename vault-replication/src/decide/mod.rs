//! The decisions of replication: pure functions over values, each with a table of tests.
//!
//! - `recovery_end`: checks that the reports on a segment suffice, and finds its end by them.
//! - `owner_return`: checks that the WAL file of a returned owner stands for everything acknowledged of a segment.

pub mod owner_return;
pub mod recovery_end;

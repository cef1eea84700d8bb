//! The decisions of replication: pure functions over values, each with a table of tests.
//!
//! - `recovery_end`: whether the reports on a segment suffice, and where it ends by them.
//! - `accept_loss`: whether an operator may have a recovery end without the reports that it needs.
//! - `owner_return`: whether what its owner's disk still holds of a segment stands for all that it acknowledged.
//! - `placement`: which nodes hold the copies of a new segment.
//! - `gc_horizon`: what becomes of the segments of nodes that were replaced.
//! - `repair_plan`: which sealed segments get a further copy, and where.
//! - `departure`: what is to be done before a node can leave, and whether one can be stopped now.
//! - `folder`: whether a folder of segments answers, so that bad copies in it may be fetched anew.
//! - `scrub_round`: which segment is verified next.
//! - `liveness`: which peers are alive, by when each was heard.

pub mod accept_loss;
pub mod departure;
pub mod folder;
pub mod gc_horizon;
pub mod liveness;
pub mod owner_return;
pub mod placement;
pub mod recovery_end;
pub mod repair_plan;
pub mod scrub_round;

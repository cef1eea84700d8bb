//! The archive: sealed segments, made into objects that standard tools read.
//!
//! - [`object`]: the format of an object, written and read. Layout in `docs/formats.md`.
//! - `round`: which segments become an object, and how one gets into the store and on record.
//! - `store`: the bucket, or the folder, that objects are kept in.
//! - `contents`: what a store holds, listed, verified, and read by a range of time, without a node.
//! - [`limits`]: every bound. [`ObjectError`], [`WriteError`]: what can go wrong.

#[cfg(feature = "store")]
pub mod contents;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod object;
#[cfg(feature = "store")]
pub mod round;
#[cfg(feature = "store")]
pub mod store;

pub use error::{ObjectError, WriteError};

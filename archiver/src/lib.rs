//! The archive: sealed segments, made into objects that standard tools read.
//!
//! - [`object`]: the format of an object, written and read. Layout in `docs/formats.md`.
//! - [`limits`]: every bound. [`ObjectError`], [`WriteError`]: what can go wrong.

mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod object;

pub use error::{ObjectError, WriteError};

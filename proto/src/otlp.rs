//! OTLP logs on the wire: everything done to a payload without decoding it into structs first.

#[cfg(feature = "inflate")]
pub mod inflate;
#[cfg(feature = "json")]
pub mod json;
pub mod skim;
pub mod split;
mod wire;

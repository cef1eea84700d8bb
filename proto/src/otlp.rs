//! OTLP logs on the wire: everything done to a payload without decoding it into structs first.

#[cfg(feature = "inflate")]
pub mod inflate;
#[cfg(feature = "json")]
pub mod json;
pub mod malformed;
pub mod skim;
pub mod split;
mod wire;

/// The name under which an entry's id goes along with it: a header of a request, and a field beside OTLP/JSON.
pub const ENTRY_NAME: &str = "x-gophership-entry";

//! OTLP logs on the wire: everything that is done to a payload without first decoding it into structs.
//!
//! - `inflate`: decompression, bounded.
//! - `skim`: one pass that validates a payload and counts its records.
//! - `split`: one request into two.
//! - `json`: conversion from and to OTLP/JSON.
//! - `malformed`: faults of a payload. `wire`: the protobuf wire format below all of them.

#[cfg(feature = "inflate")]
pub mod inflate;
#[cfg(feature = "json")]
pub mod json;
pub mod malformed;
pub mod skim;
pub mod split;
mod wire;

/// Name under which the id of an entry is sent along: a request header, and a field beside OTLP/JSON.
pub const ENTRY_NAME: &str = "x-gophership-entry";

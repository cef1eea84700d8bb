//! The place where objects are kept: a bucket, or a folder.
//!
//! - `settings`: what an operator says of it. `connect`: the client that this means, for a `bucket` or a `folder`.
//! - `folder_calls`: calls to a folder, which may hang.
//! - `error`: what its answers mean. `archive_store`: objects put, and read back.
//! - `probe`: what it can do, asked once at the start. `key`: the names of objects.
//! - `reader`: a store that is only read: nothing is put into it. `succession`: which restore of it has the say.

mod archive_store;
#[cfg(feature = "s3")]
mod bucket;
mod connect;
mod error;
mod folder;
mod folder_calls;
mod key;
mod probe;
mod reader;
mod settings;
mod succession;
#[cfg(test)]
#[cfg(feature = "s3")]
pub(crate) mod tests;

pub use archive_store::{ArchiveStore, StoreId};
pub use error::StoreError;
pub(crate) use key::{LOGS, MANIFESTS, manifest_key_of, parse_manifest_key};
pub use key::{ObjectName, manifest_key, object_key};
pub(crate) use probe::Format;
pub use probe::{open, open_known};
pub use reader::{StoreReader, open_reader};
pub use settings::StoreSettings;
pub use succession::Succession;

//! Members and blocks of an object in a store, read from its last bytes.

use thiserror::Error;

use super::Found;
use crate::error::ObjectError;
use crate::object::{ObjectIndex, Opening};
use crate::store::{StoreError, StoreReader};

/// The reason for which an object, or a part of it, was not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store did not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its bytes are not those that were written.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// It has another length than its manifest says.
    #[error("it has {found} bytes, and its manifest says {listed}")]
    Length {
        /// Its bytes.
        found: u64,
        /// Bytes by the manifest.
        listed: u64,
    },
}

/// Reads the index of an object: one request for most, two or three where the index is large.
///
/// # Errors
///
/// It is not there, cannot be read now, or is damaged.
pub async fn index_of(store: &StoreReader, object: &Found) -> Result<ObjectIndex, ReadError> {
    let mut range = ObjectIndex::first_range(object.bytes);
    loop {
        let from = range.start;
        match ObjectIndex::open(from, &store.range(&object.key, range).await?)? {
            Opening::Index(index) => return Ok(index),
            Opening::Needs(more) => range = more,
        }
    }
}

/// Fails where an object has another length than was promised: an index would be looked for at the wrong place.
pub(super) async fn same_length(store: &StoreReader, object: &Found) -> Result<(), ReadError> {
    let found = store.len(&object.key).await?;
    match found == object.bytes {
        true => Ok(()),
        false => Err(ReadError::Length {
            found,
            listed: object.bytes,
        }),
    }
}

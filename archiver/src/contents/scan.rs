//! The objects that are there, whether or not a manifest lists them.

use futures_util::{Stream, StreamExt};

use super::Found;
use super::chain::ContentsFault;
use crate::store::{LOGS, StoreReader};

/// All archive objects of a store, of all clusters, by the store's list of names. After an error nothing follows.
pub fn scan(store: &StoreReader) -> impl Stream<Item = Result<Found, ContentsFault>> + use<'_> {
    store.list(LOGS).filter_map(async |found| match found {
        Ok((key, _)) if !key.ends_with(".binpb.zst") => None,
        Ok((key, bytes)) => Some(Ok(Found {
            key,
            bytes,
            listed: None,
        })),
        Err(error) => Some(Err(ContentsFault::Listing(error))),
    })
}

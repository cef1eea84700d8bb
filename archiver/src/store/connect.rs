//! The client that an operator's settings mean.

use super::archive_store::Client;
#[cfg(feature = "s3")]
use super::bucket::bucket;
use super::error::StoreError;
use super::folder::folder;
use super::settings::StoreSettings;

/// The client for a store. Of a folder it is seen that it is there, and `if_missing` says what to
/// do where it is not; of a bucket nothing is asked yet.
pub(super) async fn connect(settings: &StoreSettings, if_missing: &'static str) -> Result<Client, StoreError> {
    match settings.url.split_once("://") {
        Some(("file", path)) => folder(settings, path, if_missing).await,
        #[cfg(feature = "s3")]
        Some(("s3", rest)) => bucket(settings, rest, object_store::aws::AmazonS3Builder::from_env()),
        _ => Err(settings.fault("it must be s3://BUCKET/PREFIX, or file:///FOLDER")),
    }
}

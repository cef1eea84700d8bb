//! The settings of a store.

use super::error::StoreError;

/// A store as an operator names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSettings {
    /// `s3://BUCKET/PREFIX`, or `file:///FOLDER` with a folder that is there. A prefix may be absent.
    pub url: String,
    /// The URL of an S3 service that is not Amazon's, with `http://` or `https://`.
    pub endpoint: Option<String>,
    /// The region of the bucket. Without it the environment says it, or it is `us-east-1`.
    pub region: Option<String>,
    /// True where a store is used that cannot keep two writers from overwriting each other's object.
    pub unsafe_store: bool,
}

impl StoreSettings {
    /// The error for settings that name no store which can be used.
    pub(super) fn fault(&self, what: impl Into<String>) -> StoreError {
        StoreError::Settings {
            url: self.url.clone(),
            what: what.into(),
        }
    }
}

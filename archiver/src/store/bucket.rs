//! The client for a bucket of a store that speaks S3.
//!
//! Credentials come from the environment (`AWS_ACCESS_KEY_ID` and its fellows), from a web identity
//! (`AWS_WEB_IDENTITY_TOKEN_FILE`), from a container's or an instance's metadata. No profile and no file below `~/.aws`
//! is read. A TLS connection has the crypto provider that the process has installed.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{ClientOptions, RetryConfig};

use super::archive_store::Client;
use super::error::StoreError;
use super::settings::StoreSettings;
use crate::limits::{STORE_CONNECT_TIMEOUT, STORE_REQUEST_TIMEOUT};

/// The client for a bucket, with the credentials of `base`.
pub(super) fn bucket(settings: &StoreSettings, rest: &str, base: AmazonS3Builder) -> Result<Client, StoreError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(settings.fault("it names no bucket: s3://BUCKET/PREFIX"));
    }
    let prefix = Path::parse(prefix).map_err(|error| settings.fault(error.to_string()))?;
    let options = ClientOptions::new()
        .with_timeout(STORE_REQUEST_TIMEOUT)
        .with_connect_timeout(STORE_CONNECT_TIMEOUT)
        .with_allow_http(settings.endpoint.as_ref().is_some_and(|url| url.starts_with("http://")));
    let retries = RetryConfig {
        // What can be tried again is so in one place, which also knows what a lost reply means.
        max_retries: 0,
        ..RetryConfig::default()
    };
    let mut builder = base
        .with_bucket_name(bucket)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(options)
        .with_retry(retries);
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let whole = |error: object_store::Error| settings.fault(error.to_string());
    let damaging = builder.clone().with_http_connector(Damaging).build().map_err(whole)?;
    Ok(Client {
        url: settings.url.clone(),
        objects: Arc::new(builder.build().map_err(whole)?),
        damaging: Some(Arc::new(damaging)),
        folder: None,
        prefix,
    })
}

/// Sends other bytes than those for which the request was made and signed.
#[derive(Debug)]
struct Damaging;

impl HttpConnector for Damaging {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(DamagingClient(client)))
    }
}

#[derive(Debug)]
struct DamagingClient(HttpClient);

#[async_trait::async_trait]
impl HttpService for DamagingClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = match request.method().as_str() {
            "PUT" => request.map(|body| vec![b'?'; body.content_length()].into()),
            _ => request,
        };
        self.0.execute(request).await
    }
}

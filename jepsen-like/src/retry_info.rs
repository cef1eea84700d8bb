//! `google.rpc.RetryInfo`, in the two trailers in which clients look for it.
//!
//! **Owns**: its writing ([`trailers`]) and its reading ([`in_both`], [`delay`]).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use http::{HeaderMap, HeaderValue};
use prost::Message as _;

const DETAILS_TRAILER: &str = "grpc-status-details-bin";
const OWN_TRAILER: &str = "google.rpc.retryinfo-bin";
const TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Both trailers of a refusal with this code.
pub(crate) fn trailers(code: u8, delay: Duration) -> [(&'static str, HeaderValue); 2] {
    let info = RetryInfo {
        retry_delay: Some(ProtoDuration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
        }),
    };
    let info = info.encode_to_vec();
    let status = Status {
        code: code.into(),
        details: vec![Any {
            type_url: TYPE.to_owned(),
            value: info.clone(),
        }],
    };
    let value = |bytes: &[u8]| HeaderValue::try_from(BASE64.encode(bytes)).expect("base64 is a header's text");
    [
        (DETAILS_TRAILER, value(&status.encode_to_vec())),
        (OWN_TRAILER, value(&info)),
    ]
}

/// True where both trailers have one.
pub(crate) fn in_both(trailers: &HeaderMap) -> bool {
    let details = trailers
        .get(DETAILS_TRAILER)
        .and_then(|value| BASE64.decode(value).ok());
    let status = details.and_then(|bytes| Status::decode(bytes.as_slice()).ok());
    status.is_some_and(|status| status.details.iter().any(|any| any.type_url == TYPE))
        && trailers.contains_key(OWN_TRAILER)
}

/// The delay in the trailer that holds only a RetryInfo.
pub(crate) fn delay(trailers: &HeaderMap) -> Option<Duration> {
    let bytes = BASE64.decode(trailers.get(OWN_TRAILER)?).ok()?;
    let delay = RetryInfo::decode(bytes.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(
        delay.seconds.try_into().ok()?,
        delay.nanos.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_one_trailer_is_not_both() {
        let wanted = Duration::from_millis(1500);
        let mut map: HeaderMap = trailers(14, wanted)
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value))
            .collect();
        assert!(in_both(&map));
        assert_eq!(delay(&map), Some(wanted));
        map.remove(DETAILS_TRAILER);
        assert!(!in_both(&map));
        map.clear();
        assert_eq!(delay(&map), None);
    }
}

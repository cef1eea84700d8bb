//! Answers to browsers that send logs from a page of another origin (the Fetch standard's CORS protocol).
//!
//! A page may send without asking what a form could send. OTLP is not among that (its content types are not), so a
//! browser asks first, by a preflight. Nothing here guards the node, which has no cookies and takes logs from whoever
//! reaches it: it makes browsers send requests that they would otherwise hold back.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::reply::ReplyBody;
use crate::config::Origins;

/// True for a preflight, by which a browser asks whether it may send a page's request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin that a request names, where it is allowed.
pub(super) fn allowed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(ORIGIN)
        .filter(|origin| origins.allow(origin.as_bytes()))
        .cloned()
}

/// The answer to a preflight from an allowed origin. It allows any header, since exporters are configured with the
/// user's own.
pub(super) fn preflight(asked: &HeaderMap) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

/// Lets a page of `origin` read an answer. (Beacons, which SDKs send when a page is left, are sent with credentials.)
pub(super) fn let_see(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.insert(VARY, HeaderValue::from_static("origin"));
}

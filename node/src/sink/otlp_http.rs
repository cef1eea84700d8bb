//! An OTLP/HTTP sink: POST, protobuf, HTTP/1.1, one connection that is kept.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use jiff::Timestamp;

use super::answer::{self, Answer};
use super::compress::{compressed, content_encoding};
use super::dial::Dial;
use super::error::SinkError;
use super::limits::ANSWER_BYTES_MAX;
use super::outgoing::Outgoing;
use crate::config::{Compression, ExportTarget};
use gophership_proto::otlp::ENTRY_NAME;

/// The user agent of every request.
pub(super) const AGENT: &str = concat!("gophership/", env!("CARGO_PKG_VERSION"));

/// A connection to the sink, made when it is first needed and again when it broke.
pub(crate) struct HttpSink {
    dial: Dial,
    path: String,
    /// Headers of every request.
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl HttpSink {
    pub(super) fn new(target: &ExportTarget) -> Result<Self, SinkError> {
        Ok(Self::over(Dial::new(target)?, target))
    }

    pub(super) fn over(dial: Dial, target: &ExportTarget) -> Self {
        let mut headers = secret_headers(target);
        let authority = target.endpoint.authority();
        // As in browsers, the default port is left out: some servers know their own name only without it.
        let host = authority
            .strip_suffix(if target.endpoint.https { ":443" } else { ":80" })
            .unwrap_or(&authority);
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Self {
            dial,
            path: target.endpoint.path.clone(),
            headers,
            compression: target.compression,
            timeout: target.timeout,
            connection: None,
        }
    }

    pub(super) async fn send(&mut self, out: &Outgoing) -> Answer {
        match tokio::time::timeout(self.timeout, self.post(out)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Retry { after: None, why },
            Err(_) => Answer::Retry {
                after: None,
                why: format!("no answer within {:?}", self.timeout),
            },
        }
    }

    async fn post(&mut self, out: &Outgoing) -> Result<Answer, String> {
        let request = self.request(out).await?;
        // A connection that is not put back is not used again: a broken one, and one whose answer was not waited for.
        let mut connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(|e| with_causes(&e))?;
        let response = connection.send_request(request).await.map_err(|e| with_causes(&e))?;
        let (head, body) = response.into_parts();
        let text = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => {
                self.connection = Some(connection);
                body.to_bytes()
            }
            // The status counts, however long its explanation is. The rest of that is not read, nor its connection used
            // again.
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => return Err(with_causes(&*error)),
        };
        Ok(answer::of_http(head.status, &head.headers, &text, Timestamp::now()))
    }

    async fn request(&self, out: &Outgoing) -> Result<Request<Full<Bytes>>, String> {
        let payload = compressed(&out.payload, self.compression)
            .await
            .map_err(|e| format!("it cannot be compressed: {e}"))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(ENTRY_NAME, &out.entry)
            .body(Full::new(payload))
            .map_err(|e| e.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        if let Some(name) = content_encoding(self.compression) {
            request
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = self.dial.connect().await?;
        let (sender, connection) = handshake(stream).await.map_err(|e| with_causes(&e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "sink.connection.failed");
            }
        });
        Ok(sender)
    }
}

/// The operator's headers, marked so that nothing prints them.
pub(super) fn secret_headers(target: &ExportTarget) -> HeaderMap {
    let headers = target.headers.iter().filter_map(|(name, value)| {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name.clone(), value))
    });
    headers.collect()
}

/// An error and its causes, each text once: the client's own text says little.
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| match text.ends_with(&cause) {
        true => text,
        false => format!("{text}: {cause}"),
    })
}

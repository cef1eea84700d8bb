//! An OTLP/HTTP sink: POST /v1/logs, protobuf, one connection that is kept.

use bytes::Bytes;
use gophership_vault::entry::Encoding;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::answer::{self, Answer};
use super::limits::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use super::sink::{ENTRY_HEADER, Parcel};

/// A connection to the sink, made when it is first needed and again when it broke.
pub(super) struct HttpSink {
    endpoint: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl HttpSink {
    /// The sink at `host:port`.
    pub(super) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            connection: None,
        }
    }

    pub(super) async fn send(&mut self, parcel: &Parcel) -> Answer {
        // What is not put back is not used again.
        let connection = self.connection.take().filter(|c| !c.is_closed());
        let mut connection = match connection {
            Some(connection) => connection,
            None => match tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.endpoint)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(why)) => return Answer::Retry { after: None, why },
                Err(_) => {
                    return Answer::Retry {
                        after: None,
                        why: format!("no connection within {CONNECT_TIMEOUT:?}"),
                    };
                }
            },
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, post(&mut connection, &self.endpoint, parcel)).await {
            Ok(Ok(answer)) => {
                self.connection = Some(connection);
                answer
            }
            Ok(Err(why)) => Answer::Retry { after: None, why },
            Err(_) => Answer::Retry {
                after: None,
                why: format!("no answer within {ANSWER_TIMEOUT:?}"),
            },
        }
    }
}

async fn connect(endpoint: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(endpoint).await.map_err(|e| e.to_string())?;
    // A request is one write and then a wait.
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "replay.connection.failed");
        }
    });
    Ok(sender)
}

async fn post(connection: &mut SendRequest<Full<Bytes>>, host: &str, parcel: &Parcel) -> Result<Answer, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/v1/logs")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(ENTRY_HEADER, &parcel.id);
    if let Some(name) = content_encoding(parcel.encoding) {
        request = request.header(CONTENT_ENCODING, name);
    }
    let request = request
        .body(Full::new(parcel.payload.clone()))
        .map_err(|e| e.to_string())?;
    connection.ready().await.map_err(|e| e.to_string())?;
    let (head, body) = connection
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?
        .into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    Ok(answer::of_http(head.status, &head.headers, &body, Timestamp::now()))
}

fn content_encoding(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Identity => None,
        Encoding::Gzip => Some("gzip"),
        Encoding::Zstd => Some("zstd"),
        Encoding::Deflate => Some("deflate"),
    }
}

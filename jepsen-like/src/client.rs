//! One HTTP/2 connection that sends gRPC Export requests, byte for byte as they were built.
//!
//! **Owns**: [`Link`], and [`Answer`], the part of an answer that all clients of the harness read. A link is one
//! connection and never reconnects, so all its requests go to one shard of the node.
//!
//! **Not here**: the choice of payloads and times (`load.rs`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::history::Outcome;
use crate::payload::Payload;
use crate::retry_info;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Path of the gRPC method that takes OTLP logs.
pub(crate) const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// A connection to a node.
#[derive(Clone)]
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    uri: String,
}

/// Closes the connection when it is dropped.
pub struct LinkGuard(AbortHandle);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects to a node.
    ///
    /// # Errors
    ///
    /// Nothing listens at the address, or the listener does not speak HTTP/2.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<(Self, LinkGuard)> {
        let (sender, guard) = dial(address).await?;
        let uri = format!("http://{address}{PATH}");
        Ok((Self { sender, uri }, guard))
    }

    /// Sends a payload and waits for its outcome.
    pub async fn export(&mut self, payload: &Payload, timeout: Duration) -> Outcome {
        match tokio::time::timeout(timeout, self.exchange(payload)).await {
            Ok(Ok(answer)) => answer.outcome,
            Ok(Err(_)) => Outcome::ConnectionLost,
            Err(_) => Outcome::TimedOut,
        }
    }

    async fn exchange(&mut self, payload: &Payload) -> anyhow::Result<Answer> {
        let request = request(&self.uri, payload.gzip, Full::new(payload.message.clone()))?;
        exchange(&mut self.sender, request).await
    }
}

/// A server's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The acknowledgement or refusal.
    pub outcome: Outcome,
    /// The delay after which to retry, where a refusal has it in a trailer of its own.
    pub retry_delay: Option<Duration>,
}

/// Connects, for requests whose body is a `B`.
pub(crate) async fn dial<B>(address: SocketAddr) -> anyhow::Result<(SendRequest<B>, LinkGuard)>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("no HTTP/2 at {address}"))?;
    let driver = tokio::spawn(async move {
        // Each request shows how the connection ended.
        let _ = connection.await;
    });
    Ok((sender, LinkGuard(driver.abort_handle())))
}

/// An Export request with this message.
pub(crate) fn request<B>(uri: &str, gzip: bool, message: B) -> anyhow::Result<Request<B>> {
    let mut request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if gzip {
        request = request.header("grpc-encoding", "gzip");
    }
    Ok(request.body(message)?)
}

/// Sends a request and waits for its answer.
pub(crate) async fn exchange<B>(sender: &mut SendRequest<B>, request: Request<B>) -> anyhow::Result<Answer>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().filter(|trailers| trailers.contains_key("grpc-status"));
    let trailers = trailers.cloned().unwrap_or(head.headers);
    Ok(Answer {
        outcome: outcome(&trailers, &body.to_bytes())?,
        retry_delay: retry_info::delay(&trailers),
    })
}

/// The outcome that the trailers state. An answer without a gRPC status is an error.
fn outcome(trailers: &HeaderMap, message: &[u8]) -> anyhow::Result<Outcome> {
    let text = |name: &str| {
        trailers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let code: u8 = text("grpc-status").parse().context("no grpc-status")?;
    if code == 0 {
        let response = ExportLogsServiceResponse::decode(message.get(5..).context("no message behind OK")?)?;
        let rejected = response
            .partial_success
            .is_some_and(|partial| partial.rejected_log_records > 0);
        anyhow::ensure!(!rejected, "a partial success, though every payload is good");
        return Ok(Outcome::Acked);
    }
    // A status states in words that it leaves open whether the entry is stored.
    let words = text("grpc-message").to_ascii_lowercase();
    Ok(Outcome::Refused {
        code,
        retry_info: retry_info::in_both(trailers),
        settled: !words.contains("unknown") && !words.contains("failed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let parsed = pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        parsed.collect()
    }

    #[test]
    fn a_refusal_is_read_with_its_retry_info_and_its_doubt() {
        let infos = retry_info::trailers(14, Duration::from_secs(1));
        let infos = infos.each_ref().map(|(name, value)| (*name, value.to_str().unwrap()));
        let both = [("grpc-status", "14"), infos[0], infos[1]];
        let refused = |retry_info, settled| Outcome::Refused {
            code: 14,
            retry_info,
            settled,
        };
        assert_eq!(outcome(&trailers(&both), b"").unwrap(), refused(true, true));
        assert_eq!(outcome(&trailers(&both[..2]), b"").unwrap(), refused(false, true));
        let doubt = [("grpc-status", "14"), ("grpc-message", "whether it will is unknown")];
        assert_eq!(outcome(&trailers(&doubt), b"").unwrap(), refused(false, false));
    }

    #[test]
    fn an_answer_without_a_status_or_without_its_message_is_none() {
        assert!(outcome(&trailers(&[]), b"").is_err());
        assert!(outcome(&trailers(&[("grpc-status", "0")]), b"").is_err());
        assert_eq!(
            outcome(&trailers(&[("grpc-status", "0")]), &[0; 5]).unwrap(),
            Outcome::Acked
        );
    }
}

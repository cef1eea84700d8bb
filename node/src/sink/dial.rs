//! A connection to a sink: TCP, through the environment's proxy where it names one, then TLS.
//!
//! **Invariants**:
//! - I1: it is established within `CONNECT_TIMEOUT` or not at all.
//! - I2: a loopback endpoint never goes through a proxy.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client_tls::client_config;
use super::error::SinkError;
use super::limits::CONNECT_TIMEOUT;
use crate::config::ExportTarget;

/// A byte stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) type Stream = TokioIo<Box<dyn Duplex>>;

/// The address and proxy of a sink.
#[derive(Clone)]
pub(super) struct Dial {
    /// `host:port` of the sink.
    authority: String,
    proxy: Option<Proxy>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

#[derive(Clone)]
struct Proxy(Arc<Intercept>);

impl Dial {
    /// A dialler for this target, through the proxy that the environment names for it.
    pub(super) fn new(target: &ExportTarget) -> Result<Self, SinkError> {
        Self::with_proxies(target, &Matcher::from_env())
    }

    pub(super) fn with_proxies(target: &ExportTarget, proxies: &Matcher) -> Result<Self, SinkError> {
        let endpoint = &target.endpoint;
        let invalid = |why: String| SinkError::Endpoint {
            endpoint: endpoint.to_string(),
            why,
        };
        let uri: Uri = endpoint.to_string().parse().map_err(|e| invalid(format!("{e}")))?;
        let proxy = if endpoint.is_loopback() {
            None
        } else {
            proxies.intercept(&uri)
        };
        if let Some(scheme) = proxy
            .as_ref()
            .and_then(|proxy| proxy.uri().scheme_str())
            .filter(|s| *s != "http")
        {
            return Err(invalid(format!(
                "the environment names a proxy of {scheme}://; only http:// is spoken"
            )));
        }
        let tls = if endpoint.https {
            let name = target.tls.server_name.as_ref().unwrap_or(&endpoint.host);
            let name = ServerName::try_from(name.clone()).map_err(|e| invalid(format!("{name}: {e}")))?;
            Some((client_config(target)?, name))
        } else {
            None
        };
        Ok(Self {
            authority: endpoint.authority(),
            proxy: proxy.map(|proxy| Proxy(Arc::new(proxy))),
            tls,
        })
    }

    /// Makes a connection.
    ///
    /// # Errors
    ///
    /// The failure, in words.
    pub(super) async fn connect(&self) -> Result<Stream, String> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect()).await {
            Ok(made) => made,
            Err(_) => Err(format!(
                "no connection to {} within {CONNECT_TIMEOUT:?}: look at the address and at firewalls",
                self.authority
            )),
        }
    }

    async fn try_connect(&self) -> Result<Stream, String> {
        let stream: Box<dyn Duplex> = match &self.proxy {
            None => Box::new(tcp(&self.authority).await?),
            Some(proxy) => proxy.tunnel(&self.authority).await?,
        };
        let Some((config, name)) = &self.tls else {
            return Ok(TokioIo::new(stream));
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), stream)
            .await
            .map_err(|e| format!("TLS with {}: {}", self.authority, tls_fault(&e)))?;
        Ok(TokioIo::new(Box::new(stream)))
    }
}

/// The cause of a failed handshake with a sink, and the remedy.
fn tls_fault(error: &std::io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error, InvalidMessage};
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            return "it answers without TLS: use http:// (of a replay: otlp-grpc:// or otlp-http://), or the port on \
                which it speaks TLS"
                .to_owned();
        }
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer)) => {
            "it is of an authority that is not trusted here: set tls.ca (of a replay: --ca)"
        }
        Some(Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. })) => {
            "the name to expect is tls.server_name"
        }
        Some(Error::AlertReceived(Alert::CertificateRequired)) => {
            "it wants a certificate of this node: set tls.cert and tls.key"
        }
        Some(_) | None => return error.to_string(),
    };
    format!("{error}: {hint}")
}

async fn tcp(authority: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|e| format!("{authority}: {}", tcp_fault(&e)))?;
    // A request is one write followed by a wait, so nothing is gained by delaying segments.
    stream.set_nodelay(true).map_err(|e| format!("{authority}: {e}"))?;
    Ok(stream)
}

/// The cause for which a sink cannot be reached, and the things to check.
fn tcp_fault(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    let hint = match error.kind() {
        Kind::ConnectionRefused => "nobody listens there: is the sink running, and is this its port?",
        Kind::HostUnreachable | Kind::NetworkUnreachable => {
            "there is no way to this address: look at routes and firewalls"
        }
        Kind::TimedOut => "nobody answers at this address: look at the address and at firewalls",
        // The resolver's errors have no kind of their own.
        _ if error.raw_os_error().is_none() => "is the name right, and does the name service know it?",
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}

impl Proxy {
    /// Makes the proxy connect to `authority`.
    async fn tunnel(&self, authority: &str) -> Result<Box<dyn Duplex>, String> {
        let uri = self.0.uri();
        let host = uri.host().unwrap_or_default();
        let proxy = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let failed = |e: &dyn std::fmt::Display| format!("the proxy {proxy}: {e}");
        let stream = tcp(&proxy).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(authority)
            .header(HOST, authority);
        if let Some(auth) = self.0.basic_auth() {
            request = request.header(PROXY_AUTHORIZATION, auth);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        if !response.status().is_success() {
            return Err(failed(&format_args!(
                "does not connect to {authority}: HTTP {}",
                response.status()
            )));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| failed(&e))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn why_a_sink_cannot_be_reached_is_said_with_what_to_do() {
        use std::io::{Error, ErrorKind};
        for (error, says) in [
            (Error::from_raw_os_error(111), "is the sink running"),
            (Error::from_raw_os_error(113), "routes and firewalls"),
            (Error::from(ErrorKind::TimedOut), "firewalls"),
            (Error::other("failed to lookup address information"), "the name service"),
        ] {
            let said = tcp_fault(&error);
            assert!(said.contains(says) && said.starts_with(&error.to_string()), "{said}");
        }
        assert_eq!(
            tcp_fault(&Error::from_raw_os_error(13)),
            "Permission denied (os error 13)"
        );
    }

    #[test]
    fn what_is_wrong_with_the_tls_of_a_sink_is_said_with_what_to_do() {
        for (error, says) in [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "use http://"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "set tls.ca"),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "tls.server_name",
            ),
            (Error::InvalidCertificate(CertificateError::Expired), "Expired"),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "set tls.cert and tls.key",
            ),
            (Error::NoApplicationProtocol, "peer doesn't support any known protocol"),
        ] {
            let said = tls_fault(&std::io::Error::other(error));
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(
            tls_fault(&std::io::ErrorKind::ConnectionReset.into()),
            "connection reset"
        );
    }
}

//! `gophership health`: one `GET /readyz` to the admin port, with nothing but the standard library and, where the port
//! has it, TLS.
//!
//! **Invariants**:
//! - I1: it ends within a few seconds, whatever the other side does.
//! - I2: only a status of 200 counts as ready.
//!
//! **Not here**: the meaning of readiness (`readiness`).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{Listener, TlsFiles};

/// The longest wait for a connection, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Limit of bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// Limit of reads of an answer; together with [`TIMEOUT`] it is the bound of I1.
const READS_MAX: usize = 16;

/// The node's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ready: bool,
    pub(crate) text: String,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// Asks the node behind an admin listener, at `address` (host:port) if given, else at the listener's own.
pub(crate) fn ask(listener: &Listener, address: Option<&str>) -> anyhow::Result<Answer> {
    let address = match address {
        None => reachable(listener.address),
        Some(text) => text
            .to_socket_addrs()
            .with_context(|| format!("{text:?} is no address; accepted: host:port"))?
            .next()
            .with_context(|| format!("{text:?} has no address"))?,
    };
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("no node answers on {address}; is it running, and is this its admin address?"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut wire: Box<dyn Wire> = match &listener.tls {
        None => Box::new(stream),
        Some(files) => {
            let name = ServerName::from(address.ip());
            Box::new(StreamOwned::new(
                ClientConnection::new(Arc::new(tls(files)?), name)?,
                stream,
            ))
        }
    };
    exchange(&mut *wire, address).with_context(|| format!("the node on {address} did not answer"))
}

/// The address at which a listener can be reached from its own machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

fn exchange(wire: &mut dyn Wire, host: SocketAddr) -> anyhow::Result<Answer> {
    write!(
        wire,
        "GET /readyz HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gophership-health\r\nConnection: close\r\n\r\n"
    )?;
    wire.flush()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    for _ in 0..READS_MAX {
        match wire.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            // A TLS peer that closes without notice has nevertheless sent its answer.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) if bytes.is_empty() => return Err(error.into()),
            Err(_) => break,
        }
        if bytes.len() as u64 >= ANSWER_BYTES_MAX || is_whole(&bytes) {
            break;
        }
    }
    parse(&bytes)
}

/// True where the head and as many bytes as its Content-Length says have arrived.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            value.trim().parse::<usize>().ok()
        } else {
            None
        }
    });
    length.is_some_and(|length| body.len() >= length)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok());
    let status = status.context("the answer is not HTTP: is this its admin address, and does that port have TLS?")?;
    let body = body.trim();
    let ready = status == 200;
    let text = match (ready, body.is_empty()) {
        (true, true) => "ready".to_owned(),
        (false, true) => format!("not ready: HTTP status {status}"),
        (true, false) => body.to_owned(),
        (false, false) => format!("not ready (HTTP status {status}): {body}"),
    };
    Ok(Answer { ready, text })
}

/// TLS settings for the node's own port: the client shows the node's certificate where clients must show one.
fn tls(files: &TlsFiles) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnNode(provider)));
    if files.client_ca.is_none() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("{} holds no certificate", files.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("{} holds no private key", files.key.display()))?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// A verifier that accepts any certificate whose key the server holds. The probe runs beside the node, sends no secret,
/// and learns no more than "ready": it need not know the authority, nor whether the name fits 127.0.0.1.
#[derive(Debug)]
struct OwnNode(Arc<CryptoProvider>);

impl ServerCertVerifier for OwnNode {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;

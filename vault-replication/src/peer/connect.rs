//! A connection to a peer: TCP, then TLS in which the peer shows a certificate with its name.
//!
//! **Invariants**:
//! - I1: it stands within its time limit or not at all.
//! - I2: without TLS it goes to a loopback address only.
//! - I3: an error says for sure that nothing was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::identity::Ends;
use super::limits::CONNECT_TIMEOUT;
use super::tls::PeerSecurity;
use crate::consensus::raft_types::Member;

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// There is no connection to a peer.
#[derive(Debug, Error)]
#[error("{why}")]
pub(crate) struct NoConnection {
    pub(crate) why: String,
    /// True where something listens there.
    pub(crate) is_there: bool,
}

/// Connects to the peer `to`.
pub(crate) async fn connect(setup: Arc<dyn Ends>, to: Member) -> Result<TokioIo<Box<dyn Duplex>>, NoConnection> {
    let mut is_there = false;
    let made = tokio::time::timeout(CONNECT_TIMEOUT, try_connect(&*setup, &to, &mut is_there)).await;
    let made = made.unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")));
    made.map(TokioIo::new).map_err(|why| NoConnection {
        why: format!("{} at {}: {why}", to.name, to.address),
        is_there,
    })
}

async fn try_connect(setup: &dyn Ends, to: &Member, is_there: &mut bool) -> Result<Box<dyn Duplex>, String> {
    let stream = TcpStream::connect(&to.address).await.map_err(|e| e.to_string())?;
    *is_there = true;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let address: SocketAddr = stream.peer_addr().map_err(|e| e.to_string())?;
    let tls = match setup.security() {
        PeerSecurity::Tls(tls) => tls,
        PeerSecurity::Plain if address.ip().is_loopback() => return Ok(Box::new(stream)),
        PeerSecurity::Plain => return Err("peers talk without TLS on loopback only".to_owned()),
    };
    let name = ServerName::try_from(to.name.clone()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(tls.client()).connect(name, stream).await;
    let stream = stream.map_err(|e| format!("TLS: {e}"))?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let name = setup.list().named_by(shown.ok_or("it showed no certificate")?)?;
    if name.eq_ignore_ascii_case(&to.name) {
        Ok(Box::new(stream))
    } else {
        Err(format!("its certificate is that of {name}"))
    }
}

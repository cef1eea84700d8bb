//! Connections of peers, each with the name that its certificate has.
//!
//! **Invariants**:
//! - I1: a connection whose certificate is not that of one peer in the list ends before anything is read from it.
//! - I2: connections are bounded, those of each peer and those whose handshake is not done.
//! - I3: one that fails harms no other.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use super::connect::Duplex;
use super::identity::Ends;
use super::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, PLAIN_CONNECTIONS_MAX};
use super::tls::PeerSecurity;

/// What a connection is known by: the peer's name, or nothing where there is no TLS.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Certified(pub(crate) Option<Arc<str>>);

/// The connections of each peer.
type Seats = Arc<Mutex<HashMap<Certified, usize>>>;

/// A place among the connections of a peer.
struct Seat(Seats, Certified);

impl Seat {
    fn take(seats: &Seats, of: &Certified) -> Option<Self> {
        let max = if of.0.is_some() {
            CONNECTIONS_MAX
        } else {
            PLAIN_CONNECTIONS_MAX
        };
        let mut taken = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of.clone()).or_default();
        (*count < max).then(|| {
            *count += 1;
            Self(Arc::clone(seats), of.clone())
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

/// A connection of a peer.
pub(crate) struct PeerStream {
    stream: Box<dyn Duplex>,
    certified: Certified,
    _seat: Seat,
}

impl Connected for PeerStream {
    type ConnectInfo = Certified;

    fn connect_info(&self) -> Certified {
        self.certified.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Takes connections and hands on those of peers, until it is stopped.
pub(crate) async fn run(
    listener: TcpListener,
    setup: Arc<dyn Ends>,
    to: mpsc::Sender<io::Result<PeerStream>>,
    mut stop: watch::Receiver<bool>,
) {
    let (seats, handshakes) = (Seats::default(), Arc::new(Semaphore::new(HANDSHAKES_MAX)));
    let accept = async {
        loop {
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "peer.accept.failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (setup, seats, to) = (Arc::clone(&setup), Arc::clone(&seats), to.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, admit(stream, &*setup, &seats)).await {
                    // It is gone where the server has stopped meanwhile.
                    Ok(Ok(stream)) => drop(to.send(Ok(stream)).await),
                    Ok(Err(why)) => tracing::warn!(%peer, error = %why, "peer.connection.refused"),
                    Err(_) => tracing::debug!(%peer, "peer.connection.handshake_late"),
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stop.wait_for(|stopped| *stopped) => {}
    }
}

/// The connection, if it is one of a peer.
async fn admit(stream: TcpStream, setup: &dyn Ends, seats: &Seats) -> Result<PeerStream, String> {
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (stream, certified): (Box<dyn Duplex>, _) = match setup.security() {
        PeerSecurity::Plain => (Box::new(stream), Certified(None)),
        PeerSecurity::Tls(tls) => {
            let stream = TlsAcceptor::from(tls.server()).accept(stream).await;
            let stream = stream.map_err(|e| format!("TLS: {e}"))?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let name = setup.list().named_by(shown.ok_or("it showed no certificate")?)?;
            (Box::new(stream), Certified(Some(name.into())))
        }
    };
    let seat = Seat::take(seats, &certified).ok_or_else(|| format!("{certified:?} has too many connections"))?;
    Ok(PeerStream {
        stream,
        certified,
        _seat: seat,
    })
}

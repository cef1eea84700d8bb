//! Accepts connections on the OTLP ports and hands each to the least busy worker.
//!
//! **Invariants**:
//! - I1: no more connections are open than the process has descriptors for beside its files; one more is closed at
//!   once.
//! - I2: no system error ends accepting: after a temporary one it goes on.
//!
//! **Not here**: the connection itself (`connection`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use futures_util::future::join_all;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tokio::sync::watch;

use super::connection::{Accepted, Protocol};
use super::worker::WorkerDoor;
use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG};
use crate::tls::ServerTls;

/// The error of listening on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", self.why())]
pub struct ListenError {
    address: SocketAddr,
    cause: io::Error,
}

impl ListenError {
    /// The cause, and the remedy.
    #[must_use]
    pub fn why(&self) -> String {
        why_not(&self.cause)
    }
}

/// Listens on an address. Connections queue in the kernel until [`accept`] takes them.
///
/// # Errors
///
/// The system's error: the address is taken, not this machine's, or not allowed.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    open(address).map_err(|cause| ListenError { address, cause })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(IpProtocol::TCP))?;
    // A restart may listen while connections of the previous process are still ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this user may not: ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

/// An OTLP port.
#[derive(Debug)]
pub struct Port {
    /// Its listener; see [`listen`].
    pub listener: TcpListener,
    /// The protocol spoken on it.
    pub protocol: Protocol,
    /// Its TLS settings, if any.
    pub tls: Option<Arc<ServerTls>>,
}

impl Port {
    /// The same port once more: what is accepted by one is not accepted by the other.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            protocol: self.protocol,
            tls: self.tls.clone(),
        })
    }
}

/// Accepts on all ports until `stop` turns true; then closes them. At most `connections_max` are open at a time.
///
/// # Errors
/// A listener cannot be watched.
pub async fn accept(
    ports: Vec<Port>,
    workers: Vec<WorkerDoor>,
    connections_max: usize,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let loops = ports
        .into_iter()
        .map(|port| accept_port(port, &workers, connections_max, stop.clone()));
    join_all(loops).await.into_iter().collect()
}

async fn accept_port(
    port: Port,
    workers: &[WorkerDoor],
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(port.listener)?;
    let mut stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
    loop {
        let accepted = tokio::select! {
            // An error means that the sender of the signal is gone, which is the end too.
            _ = stopped.as_mut() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = hand_over(stream, port.protocol, port.tls.clone(), workers, connections_max) {
                    tracing::warn!(%error, "ingest.connection.refused");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "ingest.accept.failed");
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// True where an error of accept concerns only the connection that it would have returned.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

fn hand_over(
    stream: tokio::net::TcpStream,
    protocol: Protocol,
    tls: Option<Arc<ServerTls>>,
    workers: &[WorkerDoor],
    connections_max: usize,
) -> io::Result<()> {
    let loads = workers
        .iter()
        .map(|worker| (!worker.queue.is_closed()).then(|| worker.load.score()));
    let worker = &workers[least_busy(loads).ok_or_else(|| io::Error::other("no ingest worker runs any more"))?];
    let open: usize = workers
        .iter()
        .filter(|worker| !worker.queue.is_closed())
        .map(|worker| worker.load.connections() as usize)
        .sum();
    if open >= connections_max {
        return Err(io::Error::other(format!(
            "{connections_max} connections are open: one more was closed"
        )));
    }
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    worker.load.connection_given();
    worker.queue.try_send(Accepted { stream, protocol, tls }).map_err(|_| {
        worker.load.connection_ended();
        io::Error::other("a worker is behind with taking connections: one was closed")
    })
}

/// Number of the worker with the least load; `None` stands for a worker that is gone, which would seem to have none.
fn least_busy(loads: impl Iterator<Item = Option<u32>>) -> Option<usize> {
    let running = loads.enumerate().filter_map(|(number, load)| Some((load?, number)));
    running.min().map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_worker_that_runs_is_chosen() {
        for (loads, chosen) in [
            (&[Some(3), Some(1), Some(2)][..], Some(1)),
            (&[Some(2), Some(2)], Some(0)),
            (&[Some(9), None, Some(8)], Some(2)),
            (&[None, Some(u32::MAX)], Some(1)),
            (&[None, None], None),
            (&[], None),
        ] {
            assert_eq!(least_busy(loads.iter().copied()), chosen, "{loads:?}");
        }
    }
}

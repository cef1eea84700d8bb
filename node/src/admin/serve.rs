//! Serves the admin router on its port, behind TLS where that is set.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use crate::tls::ServerTls;

/// Limit of connections at once; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// Time that a client has for a handshake, or for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest life of a connection.
const AGE_MAX: Duration = Duration::from_secs(300);

/// The error of an admin port that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the admin port: {0}")]
pub struct AdminError(#[from] io::Error);

/// Serves until `stop` turns true.
///
/// # Errors
///
/// The listener cannot be watched.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AdminError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
    loop {
        let permit = tokio::select! {
            _ = stopped.as_mut() => return Ok(()),
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return Ok(()) };
        let accepted = tokio::select! {
            _ = stopped.as_mut() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, tls) = (router.clone(), tls.clone());
                tokio::spawn(async move {
                    // A client that scans or breaks off loses nothing, so this is logged at DEBUG only.
                    if let Err(error) = answer(stream, tls, router).await {
                        tracing::debug!(%error, "admin.connection.failed");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin.accept.failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, tls: Option<Arc<ServerTls>>, router: Router) -> io::Result<()> {
    // The first bytes tell the protocol, and nothing else bounds the wait for them.
    tokio::time::timeout(PATIENCE, stream.readable()).await??;
    match tls {
        None => http(TokioIo::new(stream), router).await,
        Some(tls) => http(TokioIo::new(tls.accept(stream, PATIENCE).await?), router).await,
    }
}

async fn http<I>(io: I, router: Router) -> io::Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = builder.serve_connection(io, TowerToHyperService::new(router));
    match tokio::time::timeout(AGE_MAX, connection).await {
        Ok(ended) => ended.map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

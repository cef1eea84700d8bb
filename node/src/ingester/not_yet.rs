//! The OTLP ports of a node that waits for its cluster: every request is refused, and so a client goes to another node
//! instead of waiting for this one.
//!
//! **Invariants**:
//! - I1: it works on clones of the listeners, so that clients wait in the kernel between this and [`super::accept`].
//!
//! **Not here**: the refusal's form (`refusal`).

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::acceptor::Port;
use super::connection::Protocol;
use super::http_server;
use super::linger::Lingering;
use super::otlp_http::content_is_json;
use super::refusal::Refusal;
use super::socket::Socket;
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_GRACE, HTTP1_IDLE_TIMEOUT, HTTP2_WINDOW_MIN, REFUSED_CONNECTIONS_MAX,
    TLS_HANDSHAKE_TIMEOUT,
};
use crate::tls::ServerTls;

/// Refuses requests on all ports until `stop` turns true. Connections that are open then are told to end. `count`
/// counts the requests.
///
/// # Errors
/// A listener cannot be watched.
pub async fn refuse(ports: Vec<Port>, count: Arc<AtomicU64>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(REFUSED_CONNECTIONS_MAX));
    let ports = ports
        .into_iter()
        .map(|port| refuse_port(port, &places, &count, stop.clone()));
    join_all(ports).await.into_iter().collect()
}

async fn refuse_port(
    port: Port,
    places: &Arc<Semaphore>,
    count: &Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(port.listener)?;
    let (protocol, tls) = (port.protocol, port.tls);
    let mut stopped = pin!(ended(stop.clone()));
    loop {
        // Connections without a place wait in the kernel.
        let place = tokio::select! {
            () = stopped.as_mut() => return Ok(()),
            place = Arc::clone(places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stopped.as_mut() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, count, stop) = (tls.clone(), Arc::clone(count), stop.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, protocol, tls.as_deref(), count, stop).await {
                        tracing::debug!(%error, "ingest.connection.failed");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "ingest.accept.failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn ended(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end too.
    let _gone = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: TcpStream,
    protocol: Protocol,
    tls: Option<&ServerTls>,
    count: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut stopped = pin!(ended(stop));
    stream.set_nodelay(true)?;
    tokio::select! {
        // It has sent nothing, and finds a node that takes logs when it connects anew.
        () = stopped.as_mut() => return Ok(()),
        spoken = tokio::time::timeout(HTTP1_IDLE_TIMEOUT, stream.readable()) => spoken??,
    }
    let socket = match tls {
        None => Socket::Plain(stream),
        Some(tls) => Socket::Tls(Box::new(tls.accept(stream, TLS_HANDSHAKE_TIMEOUT).await?)),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    http_server::set(&mut builder, HTTP2_WINDOW_MIN);
    let service = service_fn(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(answer(protocol, &request)))
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(Lingering::new(socket)), service));
    tokio::select! {
        served = served.as_mut() => return served.map_err(io::Error::other),
        () = stopped => served.as_mut().graceful_shutdown(),
    }
    match tokio::time::timeout(CONNECTION_GRACE, served).await {
        Ok(served) => served.map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

fn answer(protocol: Protocol, request: &Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let refused = match protocol {
        Protocol::Grpc => Refusal::Starting.to_grpc(),
        Protocol::Http => Refusal::Starting.to_http(content_is_json(request.headers()).unwrap_or(true)),
    };
    let mut response = refused.map(|body| Full::new(body.into_bytes()));
    if request.version() < Version::HTTP_2 {
        // The next request then finds the workers, once there are any.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

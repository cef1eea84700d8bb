//! The peers' port of a node without a cluster: only the calls of provisioning and joining are answered.

use std::net::TcpListener;
use std::sync::Arc;

use futures_util::stream::poll_fn;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use super::service::JoinService;
use super::setup::JoinSetup;
use crate::peer::PeerStartError;
use crate::peer::identity::Ends;
use crate::peer::limits::{KEEPALIVE, SEND_QUEUE, STOP_GRACE};
use crate::peer::listen;
use crate::peer::server::prepared;

/// The port, served. It ends with [`JoinPort::stop`], or when it is dropped.
#[derive(Debug)]
pub struct JoinPort {
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
    accepting: JoinHandle<()>,
}

impl JoinPort {
    /// Serves a listener. To be called on a runtime.
    ///
    /// # Errors
    /// Without TLS it is not on loopback; the listener cannot be used.
    pub fn start(listener: TcpListener, setup: Arc<JoinSetup>, service: JoinService) -> Result<Self, PeerStartError> {
        let (_, listener) = prepared(listener, &setup.security)?;
        let (stop, mut stopped) = watch::channel(false);
        let (streams, mut accepted) = mpsc::channel(SEND_QUEUE);
        let accepting = tokio::spawn(listen::run(listener, setup as Arc<dyn Ends>, streams, stopped.clone()));
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(service.server())
            .serve_with_incoming_shutdown(poll_fn(move |cx| accepted.poll_recv(cx)), async move {
                // A port that was dropped is stopped.
                let _gone = stopped.wait_for(|stopped| *stopped).await;
            });
        Ok(Self {
            stop,
            served: tokio::spawn(served),
            accepting,
        })
    }

    /// Takes no more calls, answers those under way, and lets go of the listener.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        match tokio::time::timeout(STOP_GRACE, &mut self.served).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "join.port.failed"),
            Ok(Err(error)) => tracing::error!(%error, "join.port.panicked"),
            Err(_) => self.served.abort(),
        }
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "join.port.panicked");
        }
    }
}

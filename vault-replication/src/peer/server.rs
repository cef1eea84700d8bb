//! The peers' port.
//!
//! **Owns**: the listener and its connections.
//!
//! **Invariants**:
//! - I1: without TLS it is on a loopback address.
//! - I2: a server that is stopped ends every call and stream.
//!
//! **Not here**: who may call (`admission.rs`); what calls do (`consensus_service.rs`, `tail_service.rs`,
//! `recovery_service.rs`, `replay_service.rs`, `operate_service.rs`).

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use gophership_proto::peer::v1::consensus_server::ConsensusServer;
use gophership_proto::peer::v1::operate_server::OperateServer;
use gophership_proto::peer::v1::recovery_server::RecoveryServer;
use gophership_proto::peer::v1::replay_server::ReplayServer;
use gophership_proto::peer::v1::tail_server::TailServer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use super::admission::Shared;
use super::consensus_service::ConsensusService;
use super::error::PeerStartError;
use super::handlers::{Handlers, OperateHandler};
use super::identity::Ends;
use super::limits::{
    CONNECTION_STREAMS_MAX, CONNECTION_WINDOW_BYTES, CONSENSUS_BYTES_MAX, KEEPALIVE, SEND_QUEUE, STOP_GRACE,
    STREAM_WINDOW_BYTES,
};
use super::listen;
use super::operate_service::OperateService;
use super::recovery_service::RecoveryService;
use super::replay_service::ReplayService;
use super::setup::PeerSetup;
use super::tail_service::TailService;
use super::tls::PeerSecurity;
use crate::join::JoinService;

/// A listener that is ready for use.
pub(crate) fn prepared(
    listener: TcpListener,
    security: &PeerSecurity,
) -> Result<(SocketAddr, tokio::net::TcpListener), PeerStartError> {
    let address = listener.local_addr()?;
    if matches!(security, PeerSecurity::Plain) && !address.ip().is_loopback() {
        return Err(PeerStartError::PlainOffLoopback { address });
    }
    listener.set_nonblocking(true)?;
    Ok((address, tokio::net::TcpListener::from_std(listener)?))
}

/// The peers' port, served. It ends with [`PeerServer::stop`], or when it is dropped.
#[derive(Debug)]
pub struct PeerServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl PeerServer {
    /// Serves a listener. To be called on a runtime.
    ///
    /// # Errors
    /// [`PeerStartError::PlainOffLoopback`]; the listener cannot be used.
    pub fn start(listener: TcpListener, setup: Arc<PeerSetup>, handlers: Handlers) -> Result<Self, PeerStartError> {
        Self::start_with(listener, setup, handlers, None, None)
    }

    /// As [`PeerServer::start`], and nodes that have no number yet may join, and operators of other nodes may ask.
    ///
    /// # Errors
    /// As [`PeerServer::start`].
    pub fn start_open(
        listener: TcpListener,
        setup: Arc<PeerSetup>,
        handlers: Handlers,
        join: JoinService,
        operate: Arc<dyn OperateHandler>,
    ) -> Result<Self, PeerStartError> {
        Self::start_with(listener, setup, handlers, Some(join), Some(operate))
    }

    fn start_with(
        listener: TcpListener,
        setup: Arc<PeerSetup>,
        handlers: Handlers,
        join: Option<JoinService>,
        operate: Option<Arc<dyn OperateHandler>>,
    ) -> Result<Self, PeerStartError> {
        let (address, listener) = prepared(listener, &setup.security)?;
        let (stop, stopped) = watch::channel(false);
        let (streams, mut accepted) = mpsc::channel(SEND_QUEUE);
        let ends = Arc::clone(&setup) as Arc<dyn Ends>;
        tokio::spawn(listen::run(listener, ends, streams, stopped.clone()));
        let bytes_max = setup.message_bytes_max();
        let shared = Arc::new(Shared {
            setup,
            handlers,
            places: Mutex::default(),
            stop: stopped,
        });
        let consensus = ConsensusServer::new(ConsensusService(Arc::clone(&shared)));
        let tail = TailServer::new(TailService(Arc::clone(&shared)));
        let recovery = RecoveryServer::new(RecoveryService(Arc::clone(&shared)));
        let replay = ReplayServer::new(ReplayService(Arc::clone(&shared)));
        let operate = operate.map(|handler| {
            let shared = Arc::clone(&shared);
            OperateServer::new(OperateService { shared, handler })
        });
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(CONNECTION_STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(consensus.max_decoding_message_size(CONSENSUS_BYTES_MAX))
            .add_service(tail.max_decoding_message_size(bytes_max))
            .add_service(recovery.max_decoding_message_size(bytes_max))
            .add_service(replay)
            .add_optional_service(operate)
            .add_optional_service(join.map(JoinService::server))
            .serve_with_incoming_shutdown(
                futures_util::stream::poll_fn(move |cx| accepted.poll_recv(cx)),
                shared.stopped(),
            );
        Ok(Self {
            address,
            stop,
            task: tokio::spawn(served),
        })
    }

    /// The address that it is on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, and ends those that are under way.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(STOP_GRACE, &mut self.task).await;
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "peer.server.failed"),
            Ok(Err(error)) => tracing::error!(%error, "peer.server.panicked"),
            // A connection whose peer does not answer keeps nobody.
            Err(_) => self.task.abort(),
        }
    }
}

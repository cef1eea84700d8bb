//! The peers' port.
//!
//! **Owns**: the listener and its connections.
//!
//! **Invariants**:
//! - I1: without TLS it is on a loopback address.
//! - I2: a call is admitted when its caller is known, and has no more calls of that kind than it may.
//! - I3: what may block has a thread, and its place is free again when it has ended, whether or not somebody still
//!   waits for it.
//! - I4: a server that is stopped ends every call and stream.
//!
//! **Not here**: what calls do (`consensus_service.rs`, `tail_service.rs`, `recovery_service.rs`, `replay_service.rs`,
//! `operate_service.rs`).

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use gophership_proto::peer::v1::consensus_server::ConsensusServer;
use gophership_proto::peer::v1::operate_server::OperateServer;
use gophership_proto::peer::v1::recovery_server::RecoveryServer;
use gophership_proto::peer::v1::replay_server::ReplayServer;
use gophership_proto::peer::v1::tail_server::TailServer;
use gophership_vault::ids::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::{Request, Status};

use super::consensus_service::ConsensusService;
use super::error::PeerStartError;
use super::handlers::{Handlers, OperateHandler};
use super::identity::{Ends, LocalNode, PeerList, caller};
use super::limits::{
    AROUND_PAYLOAD_BYTES, CONNECTION_STREAMS_MAX, CONNECTION_WINDOW_BYTES, CONSENSUS_BYTES_MAX, CONSENSUS_CALLS_MAX,
    KEEPALIVE, OPERATE_CALLS_MAX, RECOVERY_CALLS_MAX, REPLAY_CALLS_MAX, SEND_QUEUE, STOP_GRACE, STREAM_WINDOW_BYTES,
    TAIL_STREAMS_MAX,
};
use super::listen::{self, Certified};
use super::operate_service::OperateService;
use super::recovery_service::RecoveryService;
use super::replay_service::ReplayService;
use super::tail_service::TailService;
use super::tls::PeerSecurity;
use crate::join::JoinService;

/// What both ends of the peers' port go by.
#[derive(Debug)]
pub struct PeerSetup {
    /// This node.
    pub local: LocalNode,
    /// Its peers.
    pub list: PeerList,
    /// Certificates.
    pub security: PeerSecurity,
    /// Bytes of the largest payload that any node of the cluster takes.
    pub payload_bytes_max: usize,
}

impl Ends for PeerSetup {
    fn list(&self) -> &PeerList {
        &self.list
    }

    fn security(&self) -> &PeerSecurity {
        &self.security
    }
}

impl PeerSetup {
    /// Bytes of a message of the tail stream, and of recovery.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.payload_bytes_max + self.payload_bytes_max / 128 + AROUND_PAYLOAD_BYTES
    }
}

/// A kind of calls, with a bound of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum CallKind {
    Consensus,
    Tail,
    Recovery,
    Replay,
    Operate,
}

impl CallKind {
    fn max(self) -> usize {
        match self {
            Self::Consensus => CONSENSUS_CALLS_MAX,
            Self::Tail => TAIL_STREAMS_MAX,
            Self::Recovery => RECOVERY_CALLS_MAX,
            Self::Replay => REPLAY_CALLS_MAX,
            Self::Operate => OPERATE_CALLS_MAX,
        }
    }
}

/// A call that was admitted.
pub(super) struct Admitted {
    pub(super) from: NodeId,
    pub(super) permit: OwnedSemaphorePermit,
}

/// What all services of a server share.
pub(super) struct Shared {
    pub(super) setup: Arc<PeerSetup>,
    pub(super) handlers: Handlers,
    /// Places for calls; those of a peer that was in the list once are kept, which is one small row for each node.
    places: Mutex<HashMap<(NodeId, CallKind), Arc<Semaphore>>>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    /// Admits a call.
    pub(super) fn admit<T>(&self, kind: CallKind, request: &Request<T>) -> Result<Admitted, Status> {
        let certified = request.extensions().get::<Certified>().and_then(|c| c.0.as_deref());
        let (local, list) = (&self.setup.local, &self.setup.list);
        let from = caller(local, list, certified, request.metadata()).inspect_err(|refused| {
            let why = refused.message();
            tracing::warn!(error = why, certified, "peer.call.refused");
        })?;
        let places = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(kind.max()));
            Arc::clone(places.entry((from, kind)).or_insert_with(new))
        };
        let permit = places.try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("node {from} has {} calls of this kind under way", kind.max()))
        })?;
        Ok(Admitted { from, permit })
    }

    /// What `answer` gives, unless the server is stopped before.
    pub(super) async fn until_stopped<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            answered = answer => answered,
            () = self.stopped() => Err(Status::unavailable("the node is stopping")),
        }
    }

    /// Completes when the server is stopped.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        async move {
            // A server that was dropped is stopped.
            let _gone = stop.wait_for(|stopped| *stopped).await;
        }
    }
}

/// Runs what may block on a thread of its own. The call's place is taken until it has ended.
pub(super) async fn blocking<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), Status> {
    let done = tokio::task::spawn_blocking(move || (work(), permit)).await;
    done.map_err(|e| Status::internal(format!("a call ended with a panic: {e}")))
}

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

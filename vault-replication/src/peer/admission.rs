//! The admission of calls, and what the services of a server share.
//!
//! **Invariants**:
//! - I1: a call is admitted when its caller is known, and has no more calls of that kind than it may.
//! - I2: what may block has a thread, and its place is free again when it has ended, whether or not somebody still
//!   waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gophership_vault::ids::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Status};

use super::handlers::Handlers;
use super::identity::caller;
use super::limits::{CONSENSUS_CALLS_MAX, OPERATE_CALLS_MAX, RECOVERY_CALLS_MAX, REPLAY_CALLS_MAX, TAIL_STREAMS_MAX};
use super::listen::Certified;
use super::setup::PeerSetup;

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
    pub(super) places: Mutex<HashMap<(NodeId, CallKind), Arc<Semaphore>>>,
    pub(super) stop: watch::Receiver<bool>,
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

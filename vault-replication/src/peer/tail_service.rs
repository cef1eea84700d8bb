//! Tail streams of owners.
//!
//! All that came on a stream while its handler was busy is given to the handler at once, so that one sync serves it.
//! What comes meanwhile waits in the connection's window, which bounds it.
//!
//! **Invariants**:
//! - I1: an owner speaks of its own segments only, of this cluster, and of each only after its begin on the same
//!   stream.
//! - I2: the handler learns of every stream's end, once, after all that came over it.
//! - I3: one stream has one number.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt};
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::tail_server::Tail;
use gophership_vault::ids::{ClusterId, LogId, NodeId, SegmentId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use super::admission::{Admitted, CallKind, Shared, blocking};
use super::handlers::TailHandler;
use super::limits::{SEND_QUEUE, STALL_TIMEOUT, TAIL_BATCH_MAX};
use super::wire::WireError;
use super::wire::tail::{TailMessage, answer_to_wire};
use crate::limits::TAIL_COPIES_MAX;
use crate::tail::StreamId;

/// A stream of a log, and the messages of it that came together.
type Batch = ((LogId, StreamId), Vec<TailMessage>);

pub(super) struct TailService(pub(super) Arc<Shared>);

type Answers = Pin<Box<dyn Stream<Item = Result<v1::TailResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Tail for TailService {
    type CopyStream = Answers;

    async fn copy(&self, request: Request<Streaming<v1::TailRequest>>) -> Result<Response<Answers>, Status> {
        let Admitted { from, permit } = self.0.admit(CallKind::Tail, &request)?;
        let (answers, mut given) = mpsc::channel(SEND_QUEUE);
        let inbound = Inbound {
            messages: request.into_inner(),
            owner: from,
            cluster: self.0.setup.local.cluster,
            stream: None,
            begun: BTreeSet::new(),
        };
        let handler = Arc::clone(&self.0.handlers.tail);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut served = Served {
                inbound,
                handler,
                shared,
                permit: Some(permit),
            };
            if let Err(status) = served.run(&answers).await {
                tracing::debug!(peer_id = %from, error = status.message(), "peer.tail.ended");
                // Nobody reads it where the stream itself is gone.
                let _unread = answers.try_send(Err(status));
            }
            served.end().await;
        });
        let given = futures_util::stream::poll_fn(move |cx| given.poll_recv(cx));
        Ok(Response::new(given.boxed()))
    }
}

/// What comes over one stream.
struct Inbound {
    messages: Streaming<v1::TailRequest>,
    owner: NodeId,
    cluster: ClusterId,
    /// The log that it is of, and its number.
    stream: Option<(LogId, StreamId)>,
    begun: BTreeSet<SegmentId>,
}

impl Inbound {
    /// Waits for a message, and takes all that are there with it. `None` when the owner has ended the stream. Nothing
    /// is lost where the wait is given up.
    async fn batch(&mut self) -> Result<Option<Batch>, Status> {
        let mut batch = Vec::new();
        while batch.len() < TAIL_BATCH_MAX {
            let next = match batch.is_empty() {
                true => self.messages.message().await,
                false => match self.messages.message().now_or_never() {
                    Some(next) => next,
                    None => break,
                },
            };
            match next? {
                Some(message) => batch.push(self.check(message).map_err(|e| odd(&e))?),
                None => break,
            }
        }
        Ok(self.stream.filter(|_| !batch.is_empty()).map(|stream| (stream, batch)))
    }

    fn check(&mut self, message: v1::TailRequest) -> Result<TailMessage, WireError> {
        let message = TailMessage::from_wire(message)?;
        let id = message.segment();
        if id.node != self.owner {
            return Err(WireError::Other("a segment's owner"));
        }
        match &message {
            TailMessage::Begin(stream, header) => {
                if header.cluster_id != self.cluster {
                    return Err(WireError::Other("a segment's cluster"));
                }
                let this = (id.log(), *stream);
                if *self.stream.get_or_insert(this) != this {
                    return Err(WireError::Other("the log or the number of the stream"));
                }
                if self.begun.len() >= TAIL_COPIES_MAX {
                    // The oldest is done with, or its owner begins it again.
                    self.begun.pop_first();
                }
                self.begun.insert(id);
            }
            TailMessage::Frame(_) | TailMessage::Complete(..) if !self.begun.contains(&id) => {
                return Err(WireError::Missing("the begin of a segment"));
            }
            TailMessage::Frame(_) => {}
            TailMessage::Complete(..) | TailMessage::Leave(_) => {
                self.begun.remove(&id);
            }
        }
        Ok(message)
    }
}

fn odd(e: &WireError) -> Status {
    Status::invalid_argument(e.to_string())
}

/// Completes when there may be an answer that no message asked for; never before the first message.
async fn unasked(changes: &mut Option<watch::Receiver<()>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    // A handler that is gone has none.
    std::future::pending().await
}

/// A stream that is being served.
struct Served {
    inbound: Inbound,
    handler: Arc<dyn TailHandler>,
    shared: Arc<Shared>,
    /// The stream's place; with the handler while that is busy.
    permit: Option<OwnedSemaphorePermit>,
}

impl Served {
    /// Serves the stream to its end. What the handler does is never left halfway: only waiting ends with the server.
    async fn run(&mut self, answers: &mpsc::Sender<Result<v1::TailResponse, Status>>) -> Result<(), Status> {
        let mut changes = None;
        while let Some(((log, stream), batch)) = self.next(&mut changes).await? {
            if changes.is_none() {
                changes = self.handler.unasked(log);
            }
            let handler = Arc::clone(&self.handler);
            let permit = self
                .permit
                .take()
                .ok_or_else(|| Status::internal("the handler is busy"))?;
            let (given, permit) = blocking(permit, move || handler.take(log, stream, batch)).await?;
            self.permit = Some(permit);
            for (id, answer) in given {
                let sent = answers.send_timeout(Ok(answer_to_wire(id, answer)), STALL_TIMEOUT);
                let sent = sent.map(|sent| sent.map_err(|_| Status::deadline_exceeded("answers are not taken")));
                self.shared.until_stopped(sent).await?;
            }
        }
        Ok(())
    }

    /// Waits for what the handler is to be called for: messages, or an answer that it has without one.
    async fn next(&mut self, changes: &mut Option<watch::Receiver<()>>) -> Result<Option<Batch>, Status> {
        let Self { inbound, shared, .. } = self;
        let stream = inbound.stream;
        shared
            .until_stopped(async {
                tokio::select! {
                    batch = inbound.batch() => batch,
                    () = unasked(changes) => Ok(stream.map(|stream| (stream, Vec::new()))),
                }
            })
            .await
    }

    /// Tells the handler that the stream is gone.
    async fn end(self) {
        let handler = self.handler;
        let Some((log, stream)) = self.inbound.stream else {
            return;
        };
        let told = tokio::task::spawn_blocking(move || handler.disconnected(log, stream)).await;
        if let Err(error) = told {
            tracing::error!(peer_id = %log.node, %error, "peer.tail.panicked");
        }
    }
}

//! Logs of this node, read for replays that peers run.
//!
//! **Invariants**:
//! - I1: of what waits to be sent no more than a few parts are in memory.
//! - I2: a reader whose caller is gone ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::replay_found::Found;
use gophership_proto::peer::v1::replay_server::Replay;
use gophership_vault::StoredEntry;
use gophership_vault::ids::Lsn;
use gophership_vault::time::TimeRange;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::admission::{Admitted, CallKind, Shared, blocking};
use super::handlers::{ReplayFound, ReplayReading};
use super::limits::{FETCH_PART_BYTES, FETCH_PART_ENTRIES, SEND_QUEUE};
use super::wire::entries::entry_to_wire;
use super::wire::segment_to_wire;

pub(super) struct ReplayService(pub(super) Arc<Shared>);

type Sent = mpsc::Sender<Result<v1::ReplayFound, Status>>;

#[tonic::async_trait]
impl Replay for ReplayService {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReplayFound, Status>> + Send>>;

    async fn plan(&self, request: Request<v1::ReplayPlanRequest>) -> Result<Response<v1::ReplayPlan>, Status> {
        let Admitted { permit, .. } = self.0.admit(CallKind::Replay, &request)?;
        let time = time(request.into_inner().time);
        let handler = Arc::clone(&self.0.handlers.replay);
        let work = blocking(permit, move || handler.plan(time));
        let (parts, _permit) = self.0.until_stopped(work).await?;
        let parts = parts.map_err(Status::unavailable)?;
        let parts = parts.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ReplayPlan { parts }))
    }

    async fn read(&self, request: Request<v1::ReplayReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let Admitted { permit, .. } = self.0.admit(CallKind::Replay, &request)?;
        let request = request.into_inner();
        let done = Lsn::from_u64(request.done);
        let handler = Arc::clone(&self.0.handlers.replay);
        let (sender, found) = mpsc::channel(SEND_QUEUE);
        tokio::task::spawn_blocking(move || {
            let caller = sender.clone();
            let wanted = Arc::new(move || !caller.is_closed());
            let mut parts = Parts::new(sender);
            let reading = ReplayReading {
                part: &request.part,
                time: time(request.time),
                done,
                wanted,
            };
            let read = catch_unwind(AssertUnwindSafe(|| {
                handler.read(reading, &mut |found| parts.take(found))
            }));
            // An end without an error would say that all was read.
            parts.end(read.unwrap_or_else(|_| Err("the reading has panicked: see the node's log".to_owned())));
            drop(permit);
        });
        let stop = Box::pin(self.0.stopped());
        let found = stream::unfold(Some((found, stop)), |state| async {
            let (mut found, mut stop) = state?;
            tokio::select! {
                next = found.recv() => next.map(|next| (next, Some((found, stop)))),
                // An end without an error would say that all was read.
                () = &mut stop => Some((Err(Status::unavailable("the node is stopping")), None)),
            }
        });
        Ok(Response::new(found.boxed()))
    }
}

/// All time where none is named.
fn time(time: Option<v1::TimeRange>) -> TimeRange {
    time.map_or(TimeRange::ALL, |time| TimeRange {
        min: time.min,
        max: time.max,
    })
}

/// Puts entries of one segment together until there are enough to be sent.
struct Parts {
    sender: Sent,
    part: v1::ReplayEntries,
    bytes: usize,
}

impl Parts {
    fn new(sender: Sent) -> Self {
        Self {
            sender,
            part: v1::ReplayEntries::default(),
            bytes: 0,
        }
    }

    fn take(&mut self, found: ReplayFound) -> bool {
        match found {
            ReplayFound::Entry(entry) => self.entry(entry),
            ReplayFound::Missing(missing) => self.flush() && self.send(Found::Missing(missing.into())),
        }
    }

    fn entry(&mut self, entry: StoredEntry) -> bool {
        let segment = Some(segment_to_wire(entry.segment()));
        let is_full = self.bytes + entry.payload.len() > FETCH_PART_BYTES
            || self.part.entries.len() == FETCH_PART_ENTRIES
            || self.part.segment != segment;
        if is_full && !self.flush() {
            return false;
        }
        self.part.segment = segment;
        self.bytes += entry.payload.len();
        self.part.entries.push(entry_to_wire(entry));
        true
    }

    fn flush(&mut self) -> bool {
        self.bytes = 0;
        let part = std::mem::take(&mut self.part);
        part.entries.is_empty() || self.send(Found::Entries(part))
    }

    fn send(&self, found: Found) -> bool {
        let found = v1::ReplayFound { found: Some(found) };
        self.sender.blocking_send(Ok(found)).is_ok()
    }

    fn end(mut self, read: Result<(), String>) {
        match read {
            Ok(()) => drop(self.flush()),
            // Nobody reads it where the call is gone.
            Err(why) => drop(self.sender.blocking_send(Err(Status::unavailable(why)))),
        }
    }
}

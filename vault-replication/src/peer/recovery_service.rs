//! Fences, reports, copies made anew and fetched entries, for recoveries that peers lead.
//!
//! **Invariants**:
//! - I1: what is asked for is of this cluster.
//! - I2: reports and entries leave in parts; of entries that wait to be sent no more than a few parts are in memory.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::recovery_server::Recovery;
use gophership_vault::ids::{EntryNumber, SegmentId};
use gophership_vault::{StoredEntry, VaultError};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, Streaming};

use super::admission::{Admitted, CallKind, Shared, blocking};
use super::handlers::RecoveryHandler;
use super::limits::{FETCH_PART_BYTES, FETCH_PART_ENTRIES, SEND_QUEUE, STALL_TIMEOUT};
use super::wire::end::{EndReader, copy_to_wire};
use super::wire::entries::entry_to_wire;
use super::wire::report::report_to_wire;
use super::wire::{WireError, range, segment};

pub(super) struct RecoveryService(pub(super) Arc<Shared>);

type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Recovery for RecoveryService {
    type FenceStream = Parts<v1::ReportPart>;
    type FetchStream = Parts<v1::FetchPart>;

    async fn fence(&self, request: Request<v1::FenceRequest>) -> Result<Response<Self::FenceStream>, Status> {
        let Admitted { from, permit } = self.0.admit(CallKind::Recovery, &request)?;
        let request = request.into_inner();
        let (id, number) = (segment(request.segment).map_err(odd)?, request.number);
        let handler = Arc::clone(&self.0.handlers.recovery);
        let work = blocking(permit, move || handler.fence(from, id, number));
        let (report, permit) = self.0.until_stopped(work).await?;
        let parts = report_to_wire(report.map_err(|e| failed(&e))?);
        let parts = stream::iter(parts).map(move |part| {
            // The call's place is taken until the last part has left.
            let _held = &permit;
            Ok(part)
        });
        Ok(Response::new(parts.take_until(self.0.stopped()).boxed()))
    }

    async fn rebuild(
        &self,
        request: Request<Streaming<v1::RebuildPart>>,
    ) -> Result<Response<v1::CompleteCopy>, Status> {
        let Admitted { from, permit } = self.0.admit(CallKind::Recovery, &request)?;
        let mut parts = request.into_inner();
        let handler = Arc::clone(&self.0.handlers.recovery);
        let work = async {
            let first = next(&mut parts).await?;
            let first = first.ok_or_else(|| odd(WireError::Missing("the head of a segment's end")))?;
            let mut reader = EndReader::begin(first).map_err(odd)?;
            while let Some(part) = next(&mut parts).await? {
                reader.add(part).map_err(odd)?;
            }
            let (header, number, end) = reader.end().map_err(odd)?;
            if header.cluster_id != self.0.setup.local.cluster {
                return Err(odd(WireError::Other("a segment's cluster")));
            }
            blocking(permit, move || handler.rebuild(from, header, number, end)).await
        };
        let (copy, _permit) = self.0.until_stopped(work).await?;
        let copy = copy.map_err(|e| failed(&e))?;
        Ok(Response::new(copy_to_wire(&copy)))
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let Admitted { permit, .. } = self.0.admit(CallKind::Recovery, &request)?;
        let request = request.into_inner();
        let id = segment(request.segment).map_err(odd)?;
        let (first, last) = range("a range of entries", request.first, request.last).map_err(odd)?;
        let handler = Arc::clone(&self.0.handlers.recovery);
        let (sender, mut parts) = mpsc::channel(SEND_QUEUE);
        tokio::task::spawn_blocking(move || {
            give_entries(&*handler, id, first, last, &sender);
            drop(permit);
        });
        let parts = stream::poll_fn(move |cx| parts.poll_recv(cx));
        Ok(Response::new(parts.take_until(self.0.stopped()).boxed()))
    }
}

async fn next(parts: &mut Streaming<v1::RebuildPart>) -> Result<Option<v1::RebuildPart>, Status> {
    let next = tokio::time::timeout(STALL_TIMEOUT, parts.message()).await;
    next.map_err(|_| Status::deadline_exceeded("the next part did not come"))?
}

/// Reads entries and sends them in parts. It ends when nobody reads them any more.
fn give_entries(
    handler: &dyn RecoveryHandler,
    id: SegmentId,
    first: EntryNumber,
    last: EntryNumber,
    to: &mpsc::Sender<Result<v1::FetchPart, Status>>,
) {
    let (mut part, mut bytes) = (v1::FetchPart::default(), 0);
    let mut take = |entry: StoredEntry| {
        // A part with a large entry holds little else.
        if bytes + entry.payload.len() > FETCH_PART_BYTES || part.entries.len() == FETCH_PART_ENTRIES {
            bytes = 0;
            let full = std::mem::take(&mut part);
            if !full.entries.is_empty() && to.blocking_send(Ok(full)).is_err() {
                return false;
            }
        }
        bytes += entry.payload.len();
        part.entries.push(entry_to_wire(entry));
        true
    };
    let read = handler.entries(id, first, last, &mut take);
    let end = read.map(|()| part).map_err(|e| failed(&e));
    // Nobody reads it where the call is gone.
    let _unread = to.blocking_send(end);
}

fn odd(e: WireError) -> Status {
    Status::invalid_argument(e.to_string())
}

/// What an error here means to a recovery's leader.
fn failed(e: &VaultError) -> Status {
    match e {
        VaultError::StaleRecovery { promised, .. } => {
            let details = v1::StaleRecovery { promised: *promised }.encode_to_vec();
            Status::with_details(Code::Aborted, e.to_string(), details.into())
        }
        e => Status::failed_precondition(e.to_string()),
    }
}

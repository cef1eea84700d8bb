//! Verification of a segment: a complete read of its file, reported as it goes.
//!
//! **Invariants**:
//! - I1: a verification that waits (for the zone, for a client that reads slowly) holds nothing that another call
//!   needs, and ends its wait when its client goes away.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, Stream};
use gophership_proto::control::v1;
use gophership_somatic::{Job, Throttle};
use gophership_vault::ids::SegmentId;
use gophership_vault::{SegmentFault, Vault, VerifyReport};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::error::OperateError;
use super::limits::VERIFIES_MAX;

type Message = Result<v1::VerifyProgress, OperateError>;

/// The permits for verifications: their own, since each may wait for as long as the zone is red.
#[derive(Clone, Debug)]
pub(super) struct Verifies {
    permits: Arc<Semaphore>,
}

impl Verifies {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(VERIFIES_MAX)),
        }
    }

    /// A permit, or the refusal where none is free.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, OperateError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| OperateError::TooManyVerifications)
    }
}

/// Verifies on a thread of its own, at the pace that the throttle allows. A slow client misses progress, never the
/// result.
pub(super) fn verify(
    vault: Vault,
    id: SegmentId,
    permit: OwnedSemaphorePermit,
    throttle: Throttle,
) -> impl Stream<Item = Message> {
    let (progress, shown) = watch::channel(v1::VerifyProgress::default());
    let runtime = Handle::current();
    let verifying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut block_began = Instant::now();
        vault.verify(id, &mut |bytes_done, bytes_total| {
            progress.send_replace(v1::VerifyProgress {
                bytes_done,
                bytes_total,
                waits_for: throttle.waits_for(Job::Verify).unwrap_or_default(),
                ..v1::VerifyProgress::default()
            });
            runtime.block_on(async {
                tokio::select! {
                    // No client waits for the rest, so it is read without pauses.
                    () = progress.closed() => {}
                    () = throttle.pass(Job::Verify, block_began.elapsed()) => {}
                }
            });
            block_began = Instant::now();
        })
    });
    stream::unfold(Some((shown, verifying)), |state| async {
        let (mut shown, verifying) = state?;
        if shown.changed().await.is_ok() {
            let progress = shown.borrow_and_update().clone();
            return Some((Ok(progress), Some((shown, verifying))));
        }
        let result = match verifying.await {
            Ok(report) => report.map(|report| result(&report)).map_err(OperateError::from),
            Err(error) => Err(OperateError::VerificationEnded(error)),
        };
        Some((result, None))
    })
}

fn result(report: &VerifyReport) -> v1::VerifyProgress {
    v1::VerifyProgress {
        bytes_done: report.bytes,
        bytes_total: report.bytes,
        faults: report.faults.iter().map(fault).collect(),
        finished: true,
        ok: report.ok,
        digest: hex(&report.digest),
        waits_for: String::new(),
    }
}

fn fault(fault: &SegmentFault) -> v1::VerifyFault {
    let place = match fault.numbers {
        Some((first, last)) => format!(
            "offset {}, {} bytes, entries {first} to {last}",
            fault.offset, fault.len
        ),
        None => format!("offset {}, {} bytes", fault.offset, fault.len),
    };
    v1::VerifyFault {
        r#where: place,
        what: fault.what.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

//! The answer to `VerifySegment`: a whole read of one file, reported as it goes.

use std::time::Instant;

use futures_util::stream::{self, Stream};
use gophership_proto::control::v1;
use gophership_vault::ids::SegmentId;
use gophership_vault::{SegmentFault, Vault, VerifyReport};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::convert::vault_status;
use super::limits::VERIFY_QUEUE;
use crate::somatic::{Job, Throttle};

type Message = Result<v1::VerifyProgress, Status>;

/// Verifies on a thread of its own, at the pace that the throttle allows. A slow client misses progress, never the result.
pub(super) fn verify(
    vault: Vault,
    id: SegmentId,
    place: OwnedSemaphorePermit,
    throttle: Throttle,
) -> impl Stream<Item = Message> {
    let (say, heard) = mpsc::channel::<Message>(VERIFY_QUEUE);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut block_began = Instant::now();
        let report = vault.verify(id, &mut |bytes_done, bytes_total| {
            // A full queue means that the client has enough to read.
            let _ = say.try_send(Ok(v1::VerifyProgress {
                bytes_done,
                bytes_total,
                ..v1::VerifyProgress::default()
            }));
            // Nobody waits for a client that went away.
            if !say.is_closed() {
                throttle.pass_blocking(Job::Verify, block_began.elapsed());
            }
            block_began = Instant::now();
        });
        // A client that went away wants no result.
        let _ = say.blocking_send(report.map(|report| result(&report)).map_err(|e| vault_status(&e)));
    });
    stream::unfold(heard, |mut heard| async move {
        heard.recv().await.map(|message| (message, heard))
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

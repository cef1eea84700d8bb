//! From a complete message to its ack: unpacked where it must be, copied once into the WAL, skimmed there, durable.
//!
//! **Invariants**:
//! - I1: no await lies between a complete message and its append, except where no WAL file was ready.
//! - I2: an entry is acknowledged only when the watermark has reached it.
//! - I3: a payload that is not a logs request leaves the log as it was. In Red a compressed payload is kept as received
//!   and validated later.

use std::time::{Duration, Instant};

use gophership_proto::otlp::inflate::Compression;
use gophership_proto::otlp::json::Converted;
use gophership_proto::otlp::skim::must_skim;
use gophership_somatic::Zone;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{Lsn, TenantId};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{AppendError, AppendFault};

use super::message::Message;
use super::refusal::Refusal;
use super::state::WorkerState;
use crate::limits::{SPARE_WAIT_FIRST, SPARE_WAIT_MAX};

/// The form in which a payload was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) compression: Option<Compression>,
    pub(super) json: bool,
}

impl Form {
    /// The form in which payloads are stored.
    pub(super) const PLAIN: Self = Self {
        compression: None,
        json: false,
    };

    /// The encoding in which the payload could be stored as received; `None` unless it is compressed protobuf.
    fn deferrable(self) -> Option<Encoding> {
        match self.compression {
            Some(Compression::Gzip) if !self.json => Some(Encoding::Gzip),
            Some(Compression::Zstd) if !self.json => Some(Encoding::Zstd),
            Some(Compression::Gzip | Compression::Zstd) | None => None,
        }
    }
}

/// An entry that was appended.
struct Stored {
    lsn: Lsn,
    records: u32,
    bytes: usize,
    state: EntryState,
    /// Changes made when it was converted from JSON.
    converted: Converted,
}

/// The reason for which a payload is not appended.
enum Unwanted {
    /// It has no records.
    Empty,
    Refused(Refusal),
}

/// Stores a message and waits until it is durable.
pub(super) async fn store(state: &WorkerState, message: Message<'_>, form: Form) -> Result<(), Refusal> {
    let complete = Instant::now();
    let stored = match must_store(state, &message, form) {
        Err(Refusal::NoSpare) => wait_for_spare(state, &message, form).await,
        stored => stored,
    };
    let Some(stored) = stored? else {
        state.counters.must_count_empty();
        return Ok(());
    };
    state.counters.must_count_append(message.age());
    // From here on the copy in the log is the one that counts.
    drop(message);
    state.waiters.must_wait(stored.lsn).await?;
    state
        .counters
        .must_count_ack(stored.records, stored.bytes, stored.state, complete.elapsed());
    state.counters.must_count_converted(stored.converted);
    Ok(())
}

#[cold]
async fn wait_for_spare(state: &WorkerState, message: &Message<'_>, form: Form) -> Result<Option<Stored>, Refusal> {
    let mut wait = SPARE_WAIT_FIRST;
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(wait).await;
        waited += wait;
        match must_store(state, message, form) {
            Err(Refusal::NoSpare) if waited < SPARE_WAIT_MAX => {}
            stored => return stored,
        }
        wait = (wait * 2).min(SPARE_WAIT_MAX - waited);
    }
}

/// Appends the message; `None` where it has no records.
fn must_store(state: &WorkerState, message: &Message<'_>, form: Form) -> Result<Option<Stored>, Refusal> {
    if !state.waiters.must_have_room() {
        return Err(Refusal::Stalled);
    }
    if state.waiters.must_be_overdue() {
        return Err(state.limits.acks.refusal);
    }
    if form == Form::PLAIN {
        return must_append(state, message.len(), message.must_parts(), must_describe);
    }
    if state.senses.zone() == Zone::Red
        && let Some(encoding) = form.deferrable()
        && message.len() > 0
    {
        return must_append(state, message.len(), message.must_parts(), |_| Ok(must_defer(encoding)));
    }
    let limit = state.limits.max_message;
    let unpacked = u64::from(form.compression.is_some()) + u64::from(form.json);
    let _permit = state.slice.must_take(limit as u64 * unpacked).ok_or(Refusal::Budget)?;
    let sent = message
        .in_a_row()
        .expect("a message that must be unpacked was gathered");
    let mut scratch = state.scratch.borrow_mut();
    let (payload, converted) = scratch.must_unpack(sent, form.compression, form.json, limit)?;
    let stored = must_append(state, payload.len(), std::iter::once(payload), must_describe)?;
    Ok(stored.map(|stored| Stored { converted, ..stored }))
}

fn must_append<'a>(
    state: &WorkerState,
    len: usize,
    parts: impl Iterator<Item = &'a [u8]>,
    describe: impl FnOnce(&[u8]) -> Result<EntryMeta, Unwanted>,
) -> Result<Option<Stored>, Refusal> {
    let mut described = None;
    let appended = state.writer.borrow_mut().must_append_with(len, parts, |payload| {
        let meta = describe(payload)?;
        described = Some(meta);
        Ok(meta)
    });
    if appended.is_ok() {
        state.unflushed.notify_one();
    }
    match (appended, described) {
        (Ok(lsn), Some(meta)) => Ok(Some(Stored {
            lsn,
            records: meta.record_count,
            bytes: len,
            state: meta.state,
            converted: Converted::default(),
        })),
        (Ok(_), None) => unreachable!("what is appended was described"),
        (Err(AppendFault::Refused(Unwanted::Empty)), _) => Ok(None),
        (Err(AppendFault::Refused(Unwanted::Refused(refusal))), _) => Err(refusal),
        (Err(AppendFault::Append(error)), _) => Err(refuse(error)),
    }
}

fn must_describe(payload: &[u8]) -> Result<EntryMeta, Unwanted> {
    let received_ns = now_unix_nano();
    let skim = must_skim(payload, received_ns).map_err(|error| Unwanted::Refused(Refusal::Malformed(error)))?;
    if skim.records == 0 {
        return Err(Unwanted::Empty);
    }
    Ok(EntryMeta {
        received_ns,
        min_event_ns: skim.min_event_ns,
        max_event_ns: skim.max_event_ns,
        record_count: skim.records,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: if skim.non_utf8 {
            EntryState::NOT_UTF8
        } else {
            EntryState::PLAIN
        },
    })
}

/// The description of a payload that is kept as received: its received time only. Its readers inflate and validate it.
fn must_defer(encoding: Encoding) -> EntryMeta {
    EntryMeta {
        received_ns: now_unix_nano(),
        min_event_ns: 0,
        max_event_ns: 0,
        record_count: 0,
        tenant: TenantId::DEFAULT,
        encoding,
        state: EntryState::DEFERRED,
    }
}

fn refuse(error: AppendError) -> Refusal {
    match error {
        AppendError::NoSpare => Refusal::NoSpare,
        AppendError::DiskFull => Refusal::DiskFull,
        AppendError::Fenced => Refusal::Fenced,
        AppendError::Failed => Refusal::Failed,
        AppendError::TooLarge => Refusal::TooLarge,
    }
}

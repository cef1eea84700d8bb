//! The reflex end of a shard: appends into the map. One per shard, used by one thread.
//!
//! **Owns** the shard's current WAL file and its next number. **Invariants.** I1: an entry's header is written after its payload, and `written` moves after
//! both. I2: Lsns go up by one within a file. I3: nothing here allocates, locks or waits; a roll takes a file that is ready, or fails.
//! **Not here**: making files ready (`keeper`), syncing (`syncer`), cutting (`cutter`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::file::{SpareWal, WalFile};
use crate::disk_tier::DiskTier;
use crate::entry::{Encoding, EntryMeta, EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::error::{AppendError, AppendFault};
use crate::ids::{EntryNumber, Lsn, ShardId, TenantId};
use crate::limits::{CUTTER_WAKE_BYTES, PAGE};
use crate::map::MapWriter;
use crate::shard::ShardShared;
use crate::time::now_unix_nano;
use crate::watermark::Watermark;

/// The cutter's news: the file before is complete, this one follows.
pub(crate) struct Roll {
    /// The write side of the file that is complete; it makes the file writable again once it is recycled.
    pub(crate) filled: MapWriter,
    /// The file that takes entries from now on.
    pub(crate) next: Arc<WalFile>,
}

/// Appends entries to one shard.
pub struct ShardWriter {
    shared: Arc<ShardShared>,
    wal: Arc<WalFile>,
    map: MapWriter,
    next: EntryNumber,
    spares: Receiver<SpareWal>,
    to_syncer: SyncSender<Arc<WalFile>>,
    to_cutter: SyncSender<Roll>,
    uncut: u64,
    segment_age: Duration,
    /// When the current file took its first entry.
    first_append: Option<Instant>,
    /// The last entry, and the durable mark it carries.
    last: Option<(Lsn, Option<Lsn>)>,
    /// Entries appended up to the last tick.
    ticked_at: Option<Lsn>,
}

/// The ends of a shard's channels that its writer holds.
pub(crate) struct WriterPorts {
    pub(crate) spares: Receiver<SpareWal>,
    pub(crate) to_syncer: SyncSender<Arc<WalFile>>,
    pub(crate) to_cutter: SyncSender<Roll>,
}

impl ShardWriter {
    pub(crate) fn new(shared: Arc<ShardShared>, first: SpareWal, ports: WriterPorts, segment_age: Duration) -> Self {
        Self {
            shared,
            wal: first.wal,
            map: first.writer,
            next: EntryNumber::FIRST,
            spares: ports.spares,
            to_syncer: ports.to_syncer,
            to_cutter: ports.to_cutter,
            uncut: 0,
            segment_age,
            first_append: None,
            last: None,
            ticked_at: None,
        }
    }

    /// The last entry appended.
    pub fn last_written(&self) -> Option<Lsn> {
        self.shared.written()
    }

    /// Which shard this is.
    pub fn shard(&self) -> ShardId {
        self.shared.id
    }

    /// The shard's marks: an entry may be acknowledged once [`Watermark::acked`] has reached its Lsn.
    pub fn watermark(&self) -> Arc<Watermark> {
        Arc::clone(&self.shared.watermark)
    }

    /// Appends a payload of `payload_len` bytes that comes in `parts` and is described already.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    ///
    /// # Panics
    /// When `parts` do not add up to `payload_len`.
    pub fn must_append<'a, P>(&mut self, meta: &EntryMeta, payload_len: usize, parts: P) -> Result<Lsn, AppendError>
    where
        P: Iterator<Item = &'a [u8]>,
    {
        match self.must_append_with(payload_len, parts, |_| Ok::<_, std::convert::Infallible>(*meta)) {
            Ok(lsn) => Ok(lsn),
            Err(AppendFault::Append(e)) => Err(e),
            Err(AppendFault::Refused(never)) => match never {},
        }
    }

    /// Copies a payload into the map, once, lets `describe` look at it there, and appends it if that is content.
    ///
    /// # Errors
    /// [`AppendFault::Append`] when the vault cannot take it, [`AppendFault::Refused`] with what `describe` said. The log is as it was, then.
    ///
    /// # Panics
    /// When `parts` do not add up to `payload_len`.
    pub fn must_append_with<'a, P, E>(
        &mut self,
        payload_len: usize,
        parts: P,
        describe: impl FnOnce(&[u8]) -> Result<EntryMeta, E>,
    ) -> Result<Lsn, AppendFault<E>>
    where
        P: Iterator<Item = &'a [u8]>,
    {
        let room = self.must_make_room(payload_len).map_err(AppendFault::Append)?;
        let lsn = Lsn::at(self.wal.header.id.index, self.next);
        let durable = self.shared.watermark.durable();
        let (head, rest) = self.map.free()[..room].split_at_mut(WAL_ENTRY_HEADER);
        let (payload, padding) = rest.split_at_mut(payload_len);
        must_copy(payload, parts);
        let meta = describe(payload).map_err(AppendFault::Refused)?;
        padding.fill(0);
        // The room was made for it, so its length fits.
        let header = WalEntryHeader::encode(payload_len as u32, lsn, durable, &meta, self.wal.seal.tag());
        let crc = self.wal.seal.crc(&header, std::iter::once(&*payload));
        head.copy_from_slice(&header);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        self.map.publish(room);
        self.must_note(lsn, durable, room);
        Ok(lsn)
    }

    /// To be called now and then (each 50 ms or so) by the thread that appends: writes the idle mark and rolls by age.
    pub fn must_tick(&mut self) {
        let last = self.last.map(|(lsn, _)| lsn);
        let quiet = last == self.ticked_at;
        self.ticked_at = last;
        if quiet {
            self.must_mark_idle();
        }
        if self.first_append.is_some_and(|at| at.elapsed() >= self.segment_age) {
            // Without a spare the segment just grows older; the next tick tries again.
            let _ = self.must_roll();
        }
    }

    /// Where the entry after the next one of `payload_len` bytes would go; rolls when the current file is full.
    fn must_make_room(&mut self, payload_len: usize) -> Result<usize, AppendError> {
        if self.shared.watermark.failed() {
            return Err(AppendError::Failed);
        }
        if self.shared.tier() >= DiskTier::Refuse {
            return Err(AppendError::DiskFull);
        }
        let room = room_for(payload_len);
        if room as u64 > self.wal.end() - WalFile::FIRST {
            return Err(AppendError::TooLarge);
        }
        if room as u64 > self.must_free() {
            self.must_roll()?;
        }
        Ok(room)
    }

    /// Bytes left for entries in the current file.
    fn must_free(&mut self) -> u64 {
        (self.map.free().len() as u64).saturating_sub(PAGE)
    }

    fn must_note(&mut self, lsn: Lsn, durable: Option<Lsn>, bytes: usize) {
        self.next = self
            .next
            .checked_next()
            .expect("a file of at most 4 GiB holds fewer than 2^32 entries");
        self.last = Some((lsn, durable));
        if self.first_append.is_none() {
            self.first_append = Some(Instant::now());
        }
        self.shared.must_publish(lsn);
        self.uncut += bytes as u64;
        if self.uncut >= CUTTER_WAKE_BYTES {
            self.uncut = 0;
            self.shared.must_wake_cutter();
        }
    }

    /// Goes on in the next file.
    fn must_roll(&mut self) -> Result<(), AppendError> {
        let spare = self.spares.try_recv().map_err(|_| AppendError::NoSpare)?;
        // The keeper hands out no more files than both channels hold, so neither is full; a peer that has ended is a stopped vault.
        self.to_syncer
            .try_send(Arc::clone(&spare.wal))
            .map_err(|_| AppendError::Failed)?;
        let last = self
            .last
            .filter(|(lsn, _)| lsn.index() == self.wal.header.id.index)
            .map_or(0, |(lsn, _)| lsn.number().get());
        self.wal.last_number.store(last, Ordering::Release);
        let filled = std::mem::replace(&mut self.map, spare.writer);
        let roll = Roll {
            filled,
            next: Arc::clone(&spare.wal),
        };
        if let Err(TrySendError::Full(roll) | TrySendError::Disconnected(roll)) = self.to_cutter.try_send(roll) {
            self.map = roll.filled;
            return Err(AppendError::Failed);
        }
        self.wal = spare.wal;
        self.shared.set_current(self.wal.header.id.index);
        self.next = EntryNumber::FIRST;
        self.first_append = None;
        self.uncut = 0;
        self.shared.must_wake_cutter();
        Ok(())
    }

    /// Writes down what is durable where no later entry would say it.
    pub(crate) fn must_mark_idle(&mut self) {
        let Some((last, carried)) = self.last else { return };
        let durable = self.shared.watermark.durable();
        let told = carried == durable || last.index() != self.wal.header.id.index;
        if durable != Some(last) || told || self.must_free() < WAL_ENTRY_HEADER as u64 {
            return;
        }
        let meta = EntryMeta {
            received_ns: now_unix_nano(),
            min_event_ns: 0,
            max_event_ns: 0,
            record_count: 0,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::IDLE,
        };
        let header = WalEntryHeader::encode(0, last, durable, &meta, self.wal.seal.tag());
        let crc = self.wal.seal.crc(&header, std::iter::empty());
        let head = &mut self.map.free()[..WAL_ENTRY_HEADER];
        head.copy_from_slice(&header);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        self.map.publish(WAL_ENTRY_HEADER);
        self.last = Some((last, durable));
        self.shared.idle_mark_written();
    }
}

/// Bytes that an entry takes in a WAL file.
pub(crate) fn room_for(payload_len: usize) -> usize {
    (WAL_ENTRY_HEADER + payload_len).next_multiple_of(8)
}

fn must_copy<'a>(payload: &mut [u8], parts: impl Iterator<Item = &'a [u8]>) {
    let mut at = 0;
    for part in parts {
        payload[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert_eq!(at, payload.len(), "the parts of a payload do not add up to its length");
}

//! The writer of a shard: appends to the WAL file, on the reflex path. One per shard, used by one thread.
//!
//! **Owns**: the shard's current WAL file and its next number.
//!
//! **Invariants**:
//! - I1: an entry is completely written before it is published, and `written` moves after that.
//! - I2: Lsns go up by one within a file.
//! - I3: nothing here allocates, locks, or waits for a sync; a roll takes a file that is ready, or fails.
//!
//! **Not here**: preparing files (`keep`), syncing (`syncer`), cutting (`cutter`).

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::Instant;

use super::file::{SpareWal, WalFile};
use crate::disk_tier::DiskTier;
use crate::entry::{Encoding, EntryMeta, EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::error::{AppendError, AppendFault, is_full};
use crate::ids::{EntryNumber, Lsn, ShardId, TenantId};
use crate::limits::{CUTTER_WAKE_BYTES, GATHERED_BYTES, GATHERED_ENTRY_MAX, GATHERED_PARTS, PAGE};
use crate::time::now_unix_nano;
use crate::tuned::Tuned;
use crate::wal::map::WalFileWriter;
use crate::wal::shard::ShardShared;
use crate::wal::watermark::Watermark;

/// The message to the cutter that a file is complete, and which file follows it.
pub(crate) struct Roll {
    /// The writer's side of the file that is complete; it makes the file writable again once that is recycled.
    pub(crate) filled: WalFileWriter,
    /// The file that takes entries from now on.
    pub(crate) next: Arc<WalFile>,
}

/// The writer of one shard.
pub struct ShardWriter {
    shared: Arc<ShardShared>,
    wal: Arc<WalFile>,
    map: WalFileWriter,
    /// Small entries that are not written yet; they follow the published bytes.
    gathered: Vec<u8>,
    next: EntryNumber,
    spares: Receiver<SpareWal>,
    to_syncer: SyncSender<Arc<WalFile>>,
    to_cutter: SyncSender<Roll>,
    uncut: u64,
    tuned: Arc<Tuned>,
    /// Time at which the current file took its first entry.
    first_append: Option<Instant>,
    /// The last entry, and the durable mark that it carries.
    last: Option<(Lsn, Option<Lsn>)>,
    /// The last entry at the time of the last tick.
    ticked_at: Option<Lsn>,
}

/// The ends of a shard's channels that its writer holds.
pub(crate) struct WriterPorts {
    pub(crate) spares: Receiver<SpareWal>,
    pub(crate) to_syncer: SyncSender<Arc<WalFile>>,
    pub(crate) to_cutter: SyncSender<Roll>,
}

impl ShardWriter {
    pub(crate) fn new(shared: Arc<ShardShared>, first: SpareWal, ports: WriterPorts, tuned: Arc<Tuned>) -> Self {
        Self {
            shared,
            wal: first.wal,
            map: first.writer,
            gathered: Vec::with_capacity(GATHERED_BYTES),
            next: EntryNumber::FIRST,
            spares: ports.spares,
            to_syncer: ports.to_syncer,
            to_cutter: ports.to_cutter,
            uncut: 0,
            tuned,
            first_append: None,
            last: None,
            ticked_at: None,
        }
    }

    /// The last entry appended.
    pub fn last_written(&self) -> Option<Lsn> {
        self.shared.written()
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.shared.id
    }

    /// The shard's marks: an entry may be acknowledged once [`Watermark::acked`] has reached its Lsn.
    pub fn watermark(&self) -> Arc<Watermark> {
        Arc::clone(&self.shared.watermark)
    }

    /// Appends and writes a payload of `payload_len` bytes that comes in `parts` and is already described.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; nothing was appended then.
    ///
    /// # Panics
    ///
    /// `parts` do not add up to `payload_len`.
    pub fn must_append<'a, P>(&mut self, meta: &EntryMeta, payload_len: usize, parts: P) -> Result<Lsn, AppendError>
    where
        P: Iterator<Item = &'a [u8]>,
    {
        match self.must_append_with(payload_len, parts, |_| Ok::<_, std::convert::Infallible>(*meta)) {
            Ok(lsn) => self.must_flush().map(|()| lsn),
            Err(AppendFault::Append(e)) => Err(e),
            Err(AppendFault::Refused(never)) => match never {},
        }
    }

    /// Lets `describe` examine a payload, and appends the payload if `describe` accepts it. A payload in one piece is
    /// examined where it is; one in several is written first, once, and examined there. A small entry waits for others
    /// to be written with: [`Self::must_flush`] must follow, or the entry is never acknowledged.
    ///
    /// # Errors
    ///
    /// [`AppendFault::Append`] when the vault cannot take it, [`AppendFault::Refused`] with the error of `describe`.
    /// The log is then as it was.
    ///
    /// # Panics
    ///
    /// `parts` do not add up to `payload_len`.
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
        let padding = &[0u8; 8][..room - WAL_ENTRY_HEADER - payload_len];
        let mut parts = parts.filter(|part| !part.is_empty());
        let first = parts.next().unwrap_or_default();
        if first.len() == payload_len {
            let meta = describe(first).map_err(AppendFault::Refused)?;
            let header = self.must_head(first, lsn, durable, &meta);
            if room <= GATHERED_ENTRY_MAX {
                if self.gathered.len() + room > GATHERED_BYTES {
                    self.must_flush().map_err(AppendFault::Append)?;
                }
                for part in [&header, first, padding] {
                    self.gathered.extend_from_slice(part);
                }
                self.must_note(lsn, durable, room);
                return Ok(lsn);
            }
            self.must_flush().map_err(AppendFault::Append)?;
            let mut whole = [IoSlice::new(&header), IoSlice::new(first), IoSlice::new(padding)];
            self.must_write(0, &mut whole).map_err(AppendFault::Append)?;
        } else {
            self.must_flush().map_err(AppendFault::Append)?;
            let all = std::iter::once(first).chain(parts).chain(std::iter::once(padding));
            let written = self.must_gather(all).map_err(AppendFault::Append)?;
            assert_eq!(
                written,
                payload_len + padding.len(),
                "the parts of a payload do not add up to its length"
            );
            let payload = self.map.written(WAL_ENTRY_HEADER, payload_len);
            let meta = describe(payload).map_err(AppendFault::Refused)?;
            let header = self.must_head(payload, lsn, durable, &meta);
            self.must_write(0, &mut [IoSlice::new(&header)])
                .map_err(AppendFault::Append)?;
        }
        self.map.publish(room);
        self.must_note(lsn, durable, room);
        self.shared.must_publish(lsn);
        Ok(lsn)
    }

    /// Writes the small entries that wait for it.
    ///
    /// # Errors
    ///
    /// They could not be written: the shard has failed, since they have their numbers.
    pub fn must_flush(&mut self) -> Result<(), AppendError> {
        let (false, Some((last, _))) = (self.gathered.is_empty(), self.last) else {
            return Ok(());
        };
        if let Err(error) = self.map.write(0, &mut [IoSlice::new(&self.gathered)]) {
            self.gathered.clear();
            return Err(self.fail(&error));
        }
        self.map.publish(self.gathered.len());
        self.gathered.clear();
        self.shared.must_publish(last);
        Ok(())
    }

    /// An entry's header, with its CRC.
    fn must_head(&self, payload: &[u8], lsn: Lsn, durable: Option<Lsn>, meta: &EntryMeta) -> [u8; WAL_ENTRY_HEADER] {
        // Room was made for it, so its length fits.
        let mut header = WalEntryHeader::encode(payload.len() as u32, lsn, durable, meta, self.wal.entry_crc.tag());
        let crc = self.wal.entry_crc.crc(&header, std::iter::once(payload));
        header[..4].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Writes parts behind the room for a header; returns their number of bytes.
    fn must_gather<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Result<usize, AppendError> {
        let mut parts = parts.peekable();
        let mut done = 0;
        while parts.peek().is_some() {
            let mut batch = [IoSlice::new(&[]); GATHERED_PARTS];
            let mut bytes = 0;
            for (slot, part) in batch.iter_mut().zip(&mut parts) {
                *slot = IoSlice::new(part);
                bytes += part.len();
            }
            self.must_write(WAL_ENTRY_HEADER + done, &mut batch)?;
            done += bytes;
        }
        Ok(done)
    }

    fn must_write(&mut self, at: usize, parts: &mut [IoSlice<'_>]) -> Result<(), AppendError> {
        self.map.write(at, parts).map_err(|error| self.write_failed(&error))
    }

    /// The error of a failed write. A file that was allocated and written before takes a write, unless the disk is
    /// broken, or the file system is a copying one.
    #[cold]
    fn write_failed(&self, error: &io::Error) -> AppendError {
        if is_full(error) {
            AppendError::DiskFull
        } else {
            self.fail(error)
        }
    }

    #[cold]
    fn fail(&self, error: &io::Error) -> AppendError {
        self.shared
            .watermark
            .fail(format!("cannot write {}: {error}", self.wal.path.display()));
        AppendError::Failed
    }

    /// Does the periodic work: writes the idle mark, and rolls by age or at an operator's request. The thread that
    /// appends must call it from time to time (each 50 ms or so).
    pub fn must_tick(&mut self) {
        if self.shared.watermark.fenced().is_some() || self.must_flush().is_err() {
            return;
        }
        let last = self.last.map(|(lsn, _)| lsn);
        let quiet = last == self.ticked_at;
        self.ticked_at = last;
        if quiet {
            self.must_mark_idle();
        }
        let asked = self.shared.is_seal_asked(self.wal.header.id.index);
        if self
            .first_append
            .is_some_and(|at| asked || at.elapsed() >= self.tuned.segment_age())
        {
            // Without a spare the segment just grows older; the next tick tries again.
            let _ = self.must_roll();
        }
    }

    /// Goes on in a file of a new epoch, where the one of this writer is fenced; says whether it did, and is to be
    /// called again where the shard's notify says so and it did not. Whoever waits for an entry that was appended
    /// before must have been refused by then: the watermark will pass it, and it counts for nothing.
    #[cold]
    pub fn must_renew(&mut self) -> bool {
        let Some(fenced) = self.shared.watermark.fenced() else {
            return false;
        };
        let mut spares = self.spares.try_iter();
        let of_new = spares.find(|spare| spare.wal.header.epoch > fenced);
        self.shared.drained(fenced);
        let Some(spare) = of_new else { return false };
        // What was not written of the old file nobody waits for.
        self.gathered.clear();
        self.last = None;
        if self.must_go_on_in(spare).is_err() {
            return false;
        }
        self.shared.renewed(fenced);
        true
    }

    /// Where the entry after the next one of `payload_len` bytes would go; rolls when the current file is full.
    fn must_make_room(&mut self, payload_len: usize) -> Result<usize, AppendError> {
        if self.shared.watermark.failed() {
            return Err(AppendError::Failed);
        }
        if self.shared.watermark.fenced().is_some() {
            return Err(AppendError::Fenced);
        }
        if self.shared.tier() >= DiskTier::Refuse {
            return Err(AppendError::DiskFull);
        }
        let room = room_for(payload_len);
        // The mark that opens a file takes some of the room.
        if (room + WAL_ENTRY_HEADER) as u64 > self.wal.end() - WalFile::FIRST {
            return Err(AppendError::TooLarge);
        }
        if room as u64 > self.must_free() {
            self.must_roll()?;
        }
        Ok(room)
    }

    /// Bytes left for entries in the current file.
    fn must_free(&self) -> u64 {
        ((self.map.free_len() - self.gathered.len()) as u64).saturating_sub(PAGE)
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
        self.uncut += bytes as u64;
        if self.uncut >= CUTTER_WAKE_BYTES {
            self.uncut = 0;
            self.shared.must_wake_cutter();
        }
    }

    /// Goes on in the next spare.
    fn must_roll(&mut self) -> Result<(), AppendError> {
        self.must_flush()?;
        let spare = self.spares.try_recv().map_err(|_| AppendError::NoSpare)?;
        self.must_go_on_in(spare)
    }

    fn must_go_on_in(&mut self, spare: SpareWal) -> Result<(), AppendError> {
        let last = self
            .last
            .filter(|(lsn, _)| lsn.index() == self.wal.header.id.index)
            .map_or(0, |(lsn, _)| lsn.number().get());
        // This comes before the next file is sent: a reader that comes to that one knows where this one ends.
        self.wal.last_number.store(last, Ordering::Release);
        // The sealer hands out no more files than both channels hold, so neither is full; a peer that has ended is a
        // stopped vault.
        self.to_syncer
            .try_send(Arc::clone(&spare.wal))
            .map_err(|_| AppendError::Failed)?;
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
        self.must_open_with_mark();
        self.shared.set_current(self.wal.header.id.index);
        self.next = EntryNumber::FIRST;
        self.first_append = None;
        self.uncut = 0;
        self.shared.must_wake_cutter();
        Ok(())
    }

    /// Opens the new file with a mark that bears the last entry of the file before, and so states where that one ended.
    fn must_open_with_mark(&mut self) {
        let Some((last, _)) = self.last else { return };
        let durable = self.shared.watermark.durable();
        let header = self.must_head(&[], last, durable, &idle_meta());
        // The mark is written with the first entry.
        self.gathered.extend_from_slice(&header);
        self.wal.marks.fetch_add(1, Ordering::Release);
        self.last = Some((last, durable));
    }

    /// Writes an idle mark, which records what is durable where no later entry would.
    pub(crate) fn must_mark_idle(&mut self) {
        let Some((last, carried)) = self.last else { return };
        let durable = self.shared.watermark.durable();
        let told = carried == durable || !self.gathered.is_empty();
        if durable != Some(last) || told || self.must_free() < WAL_ENTRY_HEADER as u64 {
            return;
        }
        let header = self.must_head(&[], last, durable, &idle_meta());
        if self.must_write(0, &mut [IoSlice::new(&header)]).is_err() {
            return;
        }
        self.map.publish(WAL_ENTRY_HEADER);
        self.wal.marks.fetch_add(1, Ordering::Release);
        self.last = Some((last, durable));
        self.shared.idle_mark_written();
    }
}

/// The description of an idle mark.
fn idle_meta() -> EntryMeta {
    EntryMeta {
        received_ns: now_unix_nano(),
        min_event_ns: 0,
        max_event_ns: 0,
        record_count: 0,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::IDLE,
    }
}

/// Bytes that an entry takes in a WAL file.
pub(crate) fn room_for(payload_len: usize) -> usize {
    (WAL_ENTRY_HEADER + payload_len).next_multiple_of(8)
}

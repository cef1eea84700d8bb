//! Reads a WAL file that is still in use, up to an Lsn that is known to be written.
//!
//! It reads with pread and not through the map, so that a bad sector is an error with a place. If the file was recycled
//! meanwhile, no CRC fits.

use std::path::Path;
use std::sync::Arc;

use super::file::WalFile;
use crate::entry::{EntryMeta, EntryState, WAL_ENTRY_HEADER, WalEntryHeader};
use crate::error::VaultError;
use crate::file_io::{DiskReader, ReadFault};
use crate::ids::{EntryNumber, Lsn};
use crate::wal::scan::resync;
use crate::wal::writer::room_for;

/// A position in a WAL file in use.
pub(crate) struct OpenWal {
    wal: Arc<WalFile>,
    reader: DiskReader,
    offset: u64,
    next: EntryNumber,
    until: Option<Lsn>,
}

/// One step of a [`OpenWal`].
pub(crate) enum OpenWalStep {
    /// The next entry.
    Entry(Lsn, EntryMeta, Vec<u8>),
    /// Everything up to the limit, or up to the file's last entry, was given.
    End,
    /// The bytes are not the entry that must be there: the file was recycled, or it is damaged.
    Mismatch {
        /// Offset of the bytes.
        offset: u64,
        /// The disk's error, if there was one.
        error: Option<std::io::Error>,
    },
}

/// A range of bytes that was skipped because it holds no entry.
pub(crate) struct Skipped {
    pub(crate) bytes: Vec<u8>,
    /// The entries that are missing because of it, first and last.
    pub(crate) numbers: Option<(EntryNumber, EntryNumber)>,
}

impl OpenWal {
    pub(crate) fn new(wal: Arc<WalFile>) -> Result<Self, VaultError> {
        let file = wal.file.try_clone().map_err(VaultError::io("open", &wal.path))?;
        let reader = DiskReader::over(file, &wal.path)?;
        Ok(Self {
            wal,
            reader,
            offset: WalFile::FIRST,
            next: EntryNumber::FIRST,
            until: None,
        })
    }

    /// The next entry at or below `until`, whose entries are all written.
    pub(crate) fn step(&mut self, until: Lsn) -> OpenWalStep {
        self.promise(until);
        loop {
            if !self.has_next(until) {
                return OpenWalStep::End;
            }
            let at = self.offset;
            match self.read() {
                Ok(Some((_, meta, _))) if meta.state.contains(EntryState::IDLE) => {}
                Ok(Some((lsn, meta, payload))) if lsn.number() == self.next => {
                    let Some(next) = self.next.checked_next() else {
                        return OpenWalStep::End;
                    };
                    self.next = next;
                    return OpenWalStep::Entry(lsn, meta, payload);
                }
                Ok(_) | Err(ReadFault::PastEnd) => {
                    // The bytes there may be a later entry.
                    self.offset = at;
                    return OpenWalStep::Mismatch {
                        offset: at,
                        error: None,
                    };
                }
                Err(ReadFault::Io(error)) => {
                    return OpenWalStep::Mismatch {
                        offset: self.offset,
                        error: Some(error),
                    };
                }
            }
        }
    }

    fn promise(&mut self, until: Lsn) {
        if self.until != Some(until) {
            // Bytes that were read ahead may be older than the entries that are promised now.
            self.reader.forget();
            self.until = Some(until);
        }
    }

    /// Goes on at `number`, or as near to it as the headers lead: payloads between are neither checked nor copied.
    /// Returns the number at which it goes on.
    pub(crate) fn skip_to(&mut self, number: EntryNumber, until: Lsn) -> EntryNumber {
        self.promise(until);
        while self.next < number && self.has_next(until) {
            let raw = self.reader.get(self.offset, WAL_ENTRY_HEADER).ok();
            let raw = raw.and_then(|raw| raw.try_into().ok());
            let Some(header) = raw.and_then(|raw| WalEntryHeader::decode(&raw, self.wal.entry_crc.tag())) else {
                break;
            };
            if !header.meta.state.contains(EntryState::IDLE) {
                match self.next.checked_next() {
                    Some(next) if header.lsn.number() == self.next => self.next = next,
                    Some(_) | None => break,
                }
            }
            self.offset += room_for(header.payload_len as usize) as u64;
        }
        self.next
    }

    /// Goes on behind bytes that [`Self::step`] found to be no entry.
    pub(crate) fn skip_damaged(&mut self, until: Lsn) -> Skipped {
        let (from, first) = (self.offset, self.next.get());
        let index = self.wal.header.id.index;
        let found = resync(
            &mut self.reader,
            &self.wal.entry_crc,
            index,
            // The bytes there may be whole, and of a later entry.
            from,
            self.next,
            self.wal.end(),
        );
        let until = self.last(until);
        let missing_to = found.map_or(until, |(_, header)| {
            let idle = header.meta.state.contains(EntryState::IDLE);
            (header.lsn.number().get() - u32::from(!idle)).min(until)
        });
        // Where nothing follows yet, later entries are found from here.
        self.offset = found.map_or(from, |(at, _)| at);
        let end = found.map_or(self.wal.end(), |(at, _)| at);
        self.next = EntryNumber::new(missing_to.saturating_add(1).max(first)).unwrap_or(self.next);
        let numbers = EntryNumber::new(first)
            .zip(EntryNumber::new(missing_to))
            .filter(|(first, last)| first <= last);
        Skipped {
            bytes: self.reader.get_readable(from, end - from),
            numbers,
        }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.wal.path
    }

    fn has_next(&self, until: Lsn) -> bool {
        self.next.get() <= self.last(until)
    }

    /// The last number at or below `until` in this file; 0 where it has none.
    fn last(&self, until: Lsn) -> u32 {
        self.wal.last_number(until)
    }

    fn read(&mut self) -> Result<Option<(Lsn, EntryMeta, Vec<u8>)>, ReadFault> {
        let raw: [u8; WAL_ENTRY_HEADER] = self
            .reader
            .get(self.offset, WAL_ENTRY_HEADER)?
            .try_into()
            .expect("as many bytes as asked for");
        let entry_crc = &self.wal.entry_crc;
        let Some(header) = WalEntryHeader::decode(&raw, entry_crc.tag()) else {
            return Ok(None);
        };
        let payload = self
            .reader
            .get(self.offset + WAL_ENTRY_HEADER as u64, header.payload_len as usize)?;
        if entry_crc.crc(&raw, std::iter::once(payload)) != header.crc {
            return Ok(None);
        }
        let payload = payload.to_vec();
        self.offset += room_for(payload.len()) as u64;
        Ok(Some((header.lsn, header.meta, payload)))
    }
}

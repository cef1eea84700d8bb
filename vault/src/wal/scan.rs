//! The scan of a WAL file that an earlier boot left: every valid entry in it, and the ranges of bytes that are no
//! entries.
//!
//! **Invariants**:
//! - I1: an entry is valid by tag, position and CRC, whatever stands before it.
//! - I2: nothing is decided here: `recover::unsynced_tail` decides whether missing numbers are an unsynced tail or
//!   corruption.
//! - I3: an unreadable page costs only the entries that touch it.

use std::collections::BTreeMap;

use super::header::{HeaderFault, WalHeader};
use crate::entry::{EntryCrc, EntryState, WAL_ENTRY_HEADER, WalEntryHeader, u32_at};
use crate::error::VaultError;
use crate::file_io::{DiskReader, ReadFault};
use crate::ids::{EntryNumber, Lsn, SegmentIndex};
use crate::limits::PAGE;
use crate::wal::writer::room_for;

const TAG_AT: u64 = 60;

/// Bytes between valid entries, or before the first, that are no entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadRange {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// The numbers that are missing there, first and last.
    pub(crate) missing: Option<(EntryNumber, EntryNumber)>,
    /// The number that the next valid entry or idle mark carries.
    pub(crate) before: EntryNumber,
}

/// The result of a scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct WalScan {
    /// Ranges of numbers that are present, first and last of each, in order.
    pub(crate) present: Vec<(EntryNumber, EntryNumber)>,
    pub(crate) bad: Vec<BadRange>,
    /// Offset at which the last valid entry or idle mark ends.
    pub(crate) end: u64,
    /// True where an entry may stand there that cannot be read: a bad sector, or the file was cut off.
    pub(crate) end_is_unread: bool,
    /// The last entry of the segment before, by the mark that opens the file.
    pub(crate) before: Option<Lsn>,
    /// The highest number in durable marks, for each segment that they name.
    pub(crate) marks: BTreeMap<SegmentIndex, EntryNumber>,
}

impl WalScan {
    fn found(&mut self, number: EntryNumber) {
        match self.present.last_mut() {
            Some((_, last)) if last.checked_next() == Some(number) => *last = number,
            Some(_) | None => self.present.push((number, number)),
        }
    }

    /// Notes the bytes from `offset` to the entry at `at`, numbered `before`, and the entries that are missing there.
    fn skipped(&mut self, offset: u64, at: u64, missing: Option<(EntryNumber, EntryNumber)>, before: EntryNumber) {
        if at > offset || missing.is_some() {
            self.bad.push(BadRange {
                offset,
                len: at - offset,
                missing,
                before,
            });
        }
    }
}

/// Reads both header pages of a file: the first that is whole counts.
///
/// # Errors
///
/// Neither page is whole, or the file is of another format.
pub(crate) fn read_header(reader: &mut DiskReader) -> Result<WalHeader, VaultError> {
    let last = reader.len().saturating_sub(PAGE);
    let mut format = None;
    for offset in [0, last] {
        match reader.get(offset, PAGE as usize).map(WalHeader::decode) {
            Ok(Ok(header)) => return Ok(header),
            Ok(Err(HeaderFault::Format(found))) => format = Some(found),
            Ok(Err(HeaderFault::Damaged)) | Err(_) => {}
        }
    }
    let path = reader.path().to_path_buf();
    Err(match format {
        Some(found) => VaultError::Format { path, found, known: 1 },
        None => VaultError::Damaged {
            path,
            offset: 0,
            what: "neither of its two header pages is whole",
        },
    })
}

/// Offsets of the header pages that are not whole, in a file that was made with `size` bytes.
pub(crate) fn damaged_headers(reader: &mut DiskReader, size: u64) -> Vec<u64> {
    let last = size.saturating_sub(PAGE);
    [0, last]
        .into_iter()
        .filter(|at| !matches!(reader.get(*at, PAGE as usize).map(WalHeader::decode), Ok(Ok(_))))
        .collect()
}

/// A function that takes each valid entry, header and payload.
pub(crate) type Visitor<'a> = dyn FnMut(&WalEntryHeader, &[u8]) -> Result<(), VaultError> + 'a;

/// Scans the whole file with this `header`, and calls `each` with every valid entry in turn.
///
/// # Errors
///
/// Those of `each`.
pub(crate) fn scan(reader: &mut DiskReader, header: &WalHeader, each: &mut Visitor<'_>) -> Result<WalScan, VaultError> {
    let (entry_crc, index) = (EntryCrc::new(header.uuid), header.id.index);
    let mut found = WalScan {
        end: PAGE,
        ..WalScan::default()
    };
    let file_end = entries_end(reader.len(), header.size);
    let mut expected = EntryNumber::FIRST;
    while found.end + (WAL_ENTRY_HEADER as u64) <= file_end {
        let offset = found.end;
        let here = read_entry(reader, &entry_crc, index, offset, expected, file_end).map(|entry| (offset, entry));
        let Some((at, entry)) = here.or_else(|| resync(reader, &entry_crc, index, offset + 8, expected, file_end))
        else {
            break;
        };
        let number = entry.lsn.number();
        if let Some(mark) = entry.durable {
            let highest = found.marks.entry(mark.index()).or_insert(mark.number());
            *highest = mark.number().max(*highest);
        }
        let idle = entry.meta.state.contains(EntryState::IDLE);
        if entry.lsn.index() != index {
            found.skipped(offset, at, None, expected);
            found.before = found.before.max(Some(entry.lsn));
            found.end = at + room_for(0) as u64;
            continue;
        }
        // An idle mark names the entry before it, which may be the missing one.
        let missing_to = if idle {
            Some(number)
        } else {
            EntryNumber::new(number.get() - 1)
        };
        let missing = missing_to.filter(|last| *last >= expected).map(|last| (expected, last));
        found.skipped(offset, at, missing, number);
        found.end = at + room_for(entry.payload_len as usize) as u64;
        if !idle {
            let payload = reader
                .get(at + WAL_ENTRY_HEADER as u64, entry.payload_len as usize)
                .expect("the window that it was just checked in");
            each(&entry, payload)?;
            found.found(number);
        }
        if number >= expected {
            let Some(next) = number.checked_next() else { break };
            expected = next;
        }
    }
    found.end_is_unread = is_unread(
        reader,
        &entry_crc,
        found.end,
        file_end,
        file_end < header.size.saturating_sub(PAGE),
    );
    Ok(found)
}

/// True where `offset`, at which no entry was found, may hold one all the same.
fn is_unread(reader: &mut DiskReader, entry_crc: &EntryCrc, offset: u64, file_end: u64, is_cut_off: bool) -> bool {
    let body = offset + WAL_ENTRY_HEADER as u64;
    if body > file_end {
        return is_cut_off;
    }
    let header = match reader.get(offset, WAL_ENTRY_HEADER) {
        Ok(raw) => <[u8; WAL_ENTRY_HEADER]>::try_from(raw).ok(),
        Err(_) => return true,
    };
    let Some(header) = header.and_then(|raw| WalEntryHeader::decode(&raw, entry_crc.tag())) else {
        return false;
    };
    if offset + room_for(header.payload_len as usize) as u64 > file_end {
        return is_cut_off;
    }
    reader.get(body, header.payload_len as usize).is_err()
}

/// The offset at which entries end in a file of `len` bytes that was made with `size` bytes: at its last page, unless
/// it was cut off before that.
pub(crate) fn entries_end(len: u64, size: u64) -> u64 {
    len.min(size.saturating_sub(PAGE))
}

/// The valid entry at `offset`, numbered `expected` or later.
fn read_entry(
    reader: &mut DiskReader,
    entry_crc: &EntryCrc,
    index: SegmentIndex,
    offset: u64,
    expected: EntryNumber,
    file_end: u64,
) -> Option<WalEntryHeader> {
    let raw: [u8; WAL_ENTRY_HEADER] = reader.get(offset, WAL_ENTRY_HEADER).ok()?.try_into().ok()?;
    let header = WalEntryHeader::decode(&raw, entry_crc.tag())?;
    let idle = header.meta.state.contains(EntryState::IDLE);
    // A mark before the first entry names the last one of an earlier segment.
    let of_before = idle && header.lsn.index() < index && expected == EntryNumber::FIRST;
    let in_order =
        of_before || header.lsn.number() >= expected || (idle && header.lsn.number().checked_next() >= Some(expected));
    let fits = offset + room_for(header.payload_len as usize) as u64 <= file_end;
    if (header.lsn.index() != index && !of_before) || !in_order || !fits || (idle && header.payload_len != 0) {
        return None;
    }
    let payload = reader
        .get(offset + WAL_ENTRY_HEADER as u64, header.payload_len as usize)
        .ok()?;
    (entry_crc.crc(&raw, std::iter::once(payload)) == header.crc).then_some(header)
}

/// The next valid entry or idle mark at or after `from`, numbered `expected` or later, found by its tag.
pub(crate) fn resync(
    reader: &mut DiskReader,
    entry_crc: &EntryCrc,
    index: SegmentIndex,
    from: u64,
    expected: EntryNumber,
    file_end: u64,
) -> Option<(u64, WalEntryHeader)> {
    let mut tag_at = from + TAG_AT;
    while tag_at + 4 <= file_end {
        let page_end = (tag_at - tag_at % PAGE + PAGE).min(file_end);
        match next_tag(reader, entry_crc.tag(), tag_at, page_end) {
            Ok(Some(hit)) => {
                let offset = hit - TAG_AT;
                if let Some(header) = read_entry(reader, entry_crc, index, offset, expected, file_end) {
                    return Some((offset, header));
                }
                tag_at = hit + 8;
            }
            // Offsets of tags leave 4 when divided by 8, so tags do not straddle pages.
            Ok(None) | Err(_) => tag_at = page_end + (TAG_AT % 8),
        }
    }
    None
}

/// The first offset in `from..page_end`, in steps of 8, at which the tag stands.
fn next_tag(reader: &mut DiskReader, tag: u32, from: u64, page_end: u64) -> Result<Option<u64>, ReadFault> {
    let bytes = reader.get(from, (page_end - from) as usize)?;
    let hit = (0..bytes.len().saturating_sub(3))
        .step_by(8)
        .find(|at| u32_at(bytes, *at) == tag);
    Ok(hit.map(|at| from + at as u64))
}

#[cfg(test)]
mod tests;

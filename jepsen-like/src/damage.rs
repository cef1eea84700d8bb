//! Positions in a node's files at which to do damage, found by a small reader of the stored formats that was written
//! from `docs/formats.md` alone.
//!
//! **Owns**: [`WalMap`], [`SegmentMap`], [`flip_bit`].
//!
//! **Not here**: the vault's own readers, which are under test.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::payload::PayloadHash;

const PAGE: usize = 4096;
const WAL_MAGIC: &[u8] = b"GSWAL\x00\x01\n";
const WAL_ENTRY_HEADER: usize = 64;
const IDLE: u8 = 0x80;
const APART: u8 = 0x07;
const SKIPPABLE: u32 = 0x184D_2A5A;
const FRAME_HEADER: usize = 8;
const BLOCK_FIXED: usize = 80;
const SEGMENT_ENTRY_HEADER: usize = 56;

/// An entry in a WAL file.
#[derive(Clone, Debug)]
pub struct WalEntry {
    /// Its header.
    pub header: Range<usize>,
    /// Its payload.
    pub payload: Range<usize>,
    /// Hash that names the payload.
    pub hash: PayloadHash,
}

/// Positions of everything in a WAL file.
#[derive(Clone, Debug)]
pub struct WalMap {
    /// The file.
    pub path: PathBuf,
    /// The first copy of the header.
    pub header: Range<usize>,
    /// Its entries, without idle marks.
    pub entries: Vec<WalEntry>,
}

/// A block in a segment file.
#[derive(Clone, Debug)]
pub struct Block {
    /// The content of its block frame.
    pub metadata: Range<usize>,
    /// Its LZ4 frame.
    pub lz4: Range<usize>,
    /// The payloads in it.
    pub hashes: Vec<PayloadHash>,
}

/// Positions of everything in a sealed segment file.
#[derive(Clone, Debug)]
pub struct SegmentMap {
    /// The file.
    pub path: PathBuf,
    /// The content of its header frame.
    pub header: Range<usize>,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// The content of its footer frame.
    pub footer: Range<usize>,
}

impl WalMap {
    /// Reads a WAL file up to the first position without a valid entry.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no WAL file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path)?;
        ensure!(
            bytes.len() > 2 * PAGE && bytes.starts_with(WAL_MAGIC),
            "{} is no WAL file",
            path.display()
        );
        let uuid = &bytes[32..48];
        let mut entries = Vec::new();
        let mut at = PAGE;
        while at + WAL_ENTRY_HEADER <= bytes.len() - PAGE {
            let header = at..at + WAL_ENTRY_HEADER;
            let payload = header.end..header.end + u32_at(&bytes, at + 4)? as usize;
            let Some(body) = bytes.get(payload.clone()) else { break };
            let mut crc = crc32fast::Hasher::new();
            [uuid, &bytes[at + 4..header.end], body]
                .iter()
                .for_each(|part| crc.update(part));
            if crc.finalize() != u32_at(&bytes, at)? {
                break;
            }
            at = payload.end.next_multiple_of(8);
            if bytes[header.start + 57] & IDLE == 0 {
                let hash = hash_of(body, bytes[header.start + 56])?;
                entries.push(WalEntry { header, payload, hash });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            header: 0..PAGE,
            entries,
        })
    }
}

impl SegmentMap {
    /// Reads a sealed segment file, frame by frame.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not complete.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path)?;
        let header = content(&bytes, 0, b"GSH1")?;
        let mut blocks = Vec::new();
        let mut at = header.end;
        while kind(&bytes, at) == Some(b"GSB1") {
            let (block, end) = block(&bytes, at)?;
            at = end;
            blocks.push(block);
        }
        let footer = content(&bytes, at, b"GSF1")?;
        ensure!(
            footer.end == bytes.len(),
            "{} goes on behind its footer",
            path.display()
        );
        Ok(Self {
            path: path.to_owned(),
            header,
            blocks,
            footer,
        })
    }
}

/// The payloads in the complete blocks at the start of a segment file that is not sealed.
///
/// # Errors
///
/// The file cannot be read.
pub fn payloads_of_open(path: &Path) -> anyhow::Result<HashSet<PayloadHash>> {
    let bytes = fs::read(path)?;
    let mut hashes = HashSet::new();
    let mut at = content(&bytes, 0, b"GSH1").map_or(bytes.len(), |header| header.end);
    while let Ok((block, end)) = block(&bytes, at) {
        hashes.extend(block.hashes);
        at = end;
    }
    Ok(hashes)
}

fn block(bytes: &[u8], at: usize) -> anyhow::Result<(Block, usize)> {
    let metadata = content(bytes, at, b"GSB1")?;
    let apart = usize::try_from(u64_at(bytes, metadata.start + 16)?)?;
    let start = metadata.end + apart;
    // The encodings stand behind the head of their frame and its kind.
    let mut from_apart = metadata.end + FRAME_HEADER + 4;
    let lz4 = start..start + usize::try_from(u64_at(bytes, metadata.start + 24)?)?;
    let mut plain = Vec::new();
    let frame = bytes.get(lz4.clone()).context("a block goes past the file's end")?;
    lz4_flex::frame::FrameDecoder::new(frame).read_to_end(&mut plain)?;
    let mut hashes = Vec::new();
    let mut from = 0;
    for number in 0..u32_at(bytes, metadata.start + 8)? as usize {
        let header = metadata.start + BLOCK_FIXED + number * SEGMENT_ENTRY_HEADER;
        let [encoding, state] = *bytes
            .get(header + 48..header + 50)
            .and_then(|pair| pair.first_chunk())
            .context("an entry header goes past the file's end")?;
        let (payloads, at) = if state & APART == 0 {
            (&plain[..], &mut from)
        } else {
            (bytes, &mut from_apart)
        };
        let end = *at + u32_at(bytes, header + 4)? as usize;
        let payload = payloads.get(*at..end).context("a payload goes past its block")?;
        hashes.push(hash_of(payload, encoding)?);
        *at = end;
    }
    let end = lz4.end;
    Ok((Block { metadata, lz4, hashes }, end))
}

/// Hash of a payload. A node under pressure keeps a payload compressed, as it was received; then the hash is of its
/// content.
fn hash_of(payload: &[u8], encoding: u8) -> anyhow::Result<PayloadHash> {
    match encoding {
        0 => Ok(PayloadHash::of(payload)),
        1 => {
            let mut message = Vec::new();
            flate2::read::GzDecoder::new(payload).read_to_end(&mut message)?;
            Ok(PayloadHash::of(&message))
        }
        other => anyhow::bail!("a payload of encoding {other}, which no load here sends"),
    }
}

fn kind(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes.get(at + FRAME_HEADER..at + FRAME_HEADER + 4)
}

fn content(bytes: &[u8], at: usize, wanted: &[u8; 4]) -> anyhow::Result<Range<usize>> {
    let range = at + FRAME_HEADER..at + FRAME_HEADER + u32_at(bytes, at + 4)? as usize;
    let is_it = u32_at(bytes, at)? == SKIPPABLE && kind(bytes, at) == Some(wanted) && range.end <= bytes.len();
    ensure!(is_it, "no {} frame at offset {at}", String::from_utf8_lossy(wanted));
    Ok(range)
}

fn u32_at(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let field = bytes.get(at..at + 4).context("a field goes past the file's end")?;
    Ok(u32::from_le_bytes(field.try_into()?))
}

fn u64_at(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    let field = bytes.get(at..at + 8).context("a field goes past the file's end")?;
    Ok(u64::from_le_bytes(field.try_into()?))
}

/// Inverts one bit of a file and syncs the file.
///
/// # Errors
///
/// The file cannot be read or written at this offset.
pub fn flip_bit(path: &Path, offset: usize, bit: u8) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64)?;
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset as u64)?;
    Ok(file.sync_all()?)
}

/// Files below a folder with this extension, sorted by name.
///
/// # Errors
///
/// A folder cannot be read.
pub fn files_below(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;

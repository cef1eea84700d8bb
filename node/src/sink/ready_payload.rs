//! A stored payload made ready to be sent: one that was kept as received is inflated and validated here, on the way.
//!
//! **Invariants**:
//! - I1: the bytes that are sent are a well-formed request, bit for bit as it was acknowledged.

use bytes::Bytes;
use gophership_catalogue::exporter::EntryId;
use gophership_proto::otlp::inflate::{Compression, InflateError, Inflater};
use gophership_proto::otlp::skim::must_skim;
use gophership_vault::entry::{Encoding, EntryState};
use gophership_vault::ids::LogId;
use gophership_vault::{StoredEntry, Vault};
use tokio::task::spawn_blocking;

use super::piece::Item;

/// A payload that is fit to be sent.
#[derive(Debug)]
pub(crate) struct ReadyPayload {
    pub(crate) payload: Bytes,
    /// Records in it, counted now where the entry was deferred.
    pub(crate) records: u32,
}

/// Reads one entry; `None` where it is not there, or damaged. This reads from the disk, and waits for nothing else.
///
/// # Errors
///
/// The reason for which it cannot be read now; it may be readable later.
pub(crate) fn read_entry(vault: &Vault, (node, shard, lsn): EntryId) -> Result<Option<StoredEntry>, String> {
    let mut cursor = vault.follower_of(LogId { node, shard }, Some(lsn));
    // The cursor first reports what it met when it opened the segment.
    let found = cursor
        .by_ref()
        .take_while(|found| found.as_ref().map_or(true, |entry| entry.lsn <= lsn))
        .find_map(|found| found.ok().filter(|entry| entry.lsn == lsn));
    match (found, cursor.waits()) {
        (None, Some(why)) => Err(why.to_owned()),
        (found, _) => Ok(found),
    }
}

/// Reads one entry again, on a thread that may block.
///
/// # Errors
///
/// As for [`read_entry`].
pub(crate) async fn read_again(vault: &Vault, entry: EntryId) -> Result<Option<StoredEntry>, String> {
    let vault = vault.clone();
    let found = spawn_blocking(move || read_entry(&vault, entry));
    found.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Decoder of deferred entries. Its buffers are made at the first one.
#[derive(Default)]
pub(crate) struct DeferredDecoder {
    inflater: Option<Box<Inflater>>,
}

impl DeferredDecoder {
    /// Decodes an entry into the item of a request.
    ///
    /// # Errors
    ///
    /// As for [`Self::ready`].
    pub(crate) fn item(&mut self, entry: StoredEntry, limit: usize) -> Result<Item, String> {
        let key = (entry.node, entry.shard, entry.lsn);
        let (received_ns, stored_bytes) = (entry.meta.received_ns, entry.payload.len() as u64);
        let ready = self.ready(entry, limit)?;
        Ok(Item {
            entry: key,
            records: ready.records,
            received_ns,
            stored_bytes,
            payload: ready.payload,
            more_follows: false,
        })
    }

    /// Decodes a payload of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// The reason for which a deferred entry can never be sent: it proves malformed, or too large.
    pub(crate) fn ready(&mut self, entry: StoredEntry, limit: usize) -> Result<ReadyPayload, String> {
        let meta = entry.meta;
        if !meta.state.contains(EntryState::DEFERRED) {
            return Ok(ReadyPayload {
                payload: entry.payload.into(),
                records: meta.record_count,
            });
        }
        let compression = match meta.encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Compression::Gzip),
            Encoding::Zstd => Some(Compression::Zstd),
            Encoding::Deflate => return Err("it is behind deflate, which no request may be".to_owned()),
        };
        let payload = match compression {
            None => entry.payload,
            Some(compression) => {
                let mut plain = Vec::new();
                self.inflater
                    .get_or_insert_default()
                    .inflate(compression, &entry.payload, &mut plain, limit)
                    .map_err(|e| match e {
                        InflateError::Corrupt | InflateError::Truncated | InflateError::TooLarge { .. } => {
                            e.to_string()
                        }
                    })?;
                plain
            }
        };
        let skim = must_skim(&payload, meta.received_ns).map_err(|e| e.to_string())?;
        Ok(ReadyPayload {
            payload: payload.into(),
            records: skim.records,
        })
    }
}

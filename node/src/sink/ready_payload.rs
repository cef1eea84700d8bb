//! A stored payload made ready to be sent on: one that was kept as received is inflated and validated here, in passing.
//!
//! **Invariant.** I1: what is sent on is a well-formed request, bit for bit what was acknowledged.

use bytes::Bytes;
use gophership_proto::otlp::inflate::{Compression, InflateError, Inflater};
use gophership_proto::otlp::skim::must_skim;
use gophership_vault::StoredEntry;
use gophership_vault::entry::{Encoding, EntryState};

/// What a payload is worth sending as.
#[derive(Debug)]
pub(crate) struct ReadyPayload {
    pub(crate) payload: Bytes,
    /// Records in it, counted now where the entry was deferred.
    pub(crate) records: u32,
}

/// Decoders for deferred entries, made at the first one.
#[derive(Default)]
pub(crate) struct Readier {
    inflater: Option<Box<Inflater>>,
}

impl Readier {
    /// Makes a payload of at most `limit` bytes ready.
    ///
    /// # Errors
    /// Why a deferred entry can never be sent: it proves malformed, or too large.
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

//! A batch on its way: whole payloads in Lsn order, taken apart where a sink finds them too large or refuses one among
//! them.
//!
//! **Invariants**:
//! - I1: the pieces of a batch that was taken apart together hold every record once, in order.

use bytes::{Bytes, BytesMut};
use gophership_catalogue::exporter::EntryId;
use gophership_proto::otlp::split::split;

use super::outgoing::Outgoing;

/// An entry, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) entry: EntryId,
    pub(crate) records: u32,
    pub(crate) received_ns: u64,
    /// Bytes of the entry as it is stored.
    pub(crate) stored_bytes: u64,
    pub(crate) payload: Bytes,
    /// True where another part of the same entry follows.
    pub(crate) more_follows: bool,
}

/// The content of one request.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) items: Vec<Item>,
}

impl Piece {
    /// All payloads concatenated: one request.
    pub(crate) fn payload(&self) -> Bytes {
        match self.items.as_slice() {
            [one] => one.payload.clone(),
            several => {
                let mut all = BytesMut::with_capacity(self.bytes());
                several.iter().for_each(|item| all.extend_from_slice(&item.payload));
                all.freeze()
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.payload.len()).sum()
    }

    /// Bytes of its entries as they are stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.stored_bytes).sum()
    }

    pub(crate) fn records(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.records)).sum()
    }

    /// Number of entries that are complete with it.
    pub(crate) fn entries(&self) -> u64 {
        self.items.iter().filter(|item| !item.more_follows).count() as u64
    }

    /// The last entry that is complete with it.
    pub(crate) fn done(&self) -> Option<EntryId> {
        self.items
            .iter()
            .rev()
            .find(|item| !item.more_follows)
            .map(|item| item.entry)
    }

    /// The one entry of which it holds all or a part; `None` where there are several.
    pub(crate) fn only(&self) -> Option<EntryId> {
        match self.items.as_slice() {
            [one] => Some(one.entry),
            _ => None,
        }
    }

    /// The request for this piece.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let first = self.items.first().map(|item| item.entry);
        let first = first.map(|(node, shard, lsn)| format!("{node}/{shard}/{lsn}"));
        Outgoing {
            payload: self.payload(),
            entry: format!("{},{}", first.unwrap_or_default(), self.items.len()),
        }
    }

    /// Received time of its newest entry.
    pub(crate) fn newest_ns(&self) -> u64 {
        self.items.iter().map(|item| item.received_ns).max().unwrap_or(0)
    }

    /// Received time of its oldest entry.
    pub(crate) fn oldest_ns(&self) -> u64 {
        self.items.iter().map(|item| item.received_ns).min().unwrap_or(0)
    }

    /// Two pieces of about half the size; returns itself where there is only one record.
    pub(crate) fn halves(mut self) -> Result<(Self, Self), Self> {
        if self.items.len() > 1 {
            let second = self.items.split_off(self.items.len() / 2);
            return Ok((self, Self { items: second }));
        }
        let Some(item) = self.items.first() else {
            return Err(self);
        };
        // An acknowledged payload is well-formed.
        let Ok(Some(halves)) = split(&item.payload) else {
            return Err(self);
        };
        let part = |payload: Vec<u8>, records, more_follows| Self {
            items: vec![Item {
                payload: payload.into(),
                records,
                more_follows,
                ..item.clone()
            }],
        };
        Ok((
            part(halves.first, halves.first_records, true),
            part(halves.second, halves.second_records, item.more_follows),
        ))
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentIndex, ShardId};

    use super::*;

    fn item(number: u32, payload: &'static [u8]) -> Item {
        Item {
            entry: (
                NodeId::FIRST,
                ShardId::new(0),
                Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap()),
            ),
            stored_bytes: payload.len() as u64,
            records: 1,
            received_ns: u64::from(number),
            payload: Bytes::from_static(payload),
            more_follows: false,
        }
    }

    #[test]
    fn i1_halves_of_a_batch_are_its_entries_in_order() {
        let piece = Piece {
            items: vec![item(1, b"a"), item(2, b"b"), item(3, b"c")],
        };
        assert_eq!(piece.payload(), "abc");
        let (first, second) = piece.halves().unwrap();
        assert_eq!((first.payload(), second.payload()), ("a".into(), "bc".into()));
        assert_eq!(first.done(), Some(item(1, b"").entry));
        assert_eq!((second.oldest_ns(), second.newest_ns()), (2, 3));
    }

    #[test]
    fn i1_an_entry_is_done_with_its_last_part_only() {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
        use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
        use prost::Message;
        let record = |n| LogRecord {
            time_unix_nano: n,
            ..LogRecord::default()
        };
        let request = |records: std::ops::Range<u64>| ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                scope_logs: vec![ScopeLogs {
                    log_records: records.map(record).collect(),
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        let whole = Item {
            payload: request(1..4).encode_to_vec().into(),
            records: 3,
            ..item(7, b"")
        };
        let (first, second) = Piece { items: vec![whole] }.halves().unwrap();
        assert_eq!((first.done(), first.entries()), (None, 0));
        assert_eq!((second.done(), second.entries()), (Some(item(7, b"").entry), 1));
        assert_eq!(first.records() + second.records(), 3);
        let one = Item {
            payload: request(1..2).encode_to_vec().into(),
            ..item(7, b"")
        };
        assert!(Piece { items: vec![one] }.halves().is_err());
    }
}

//! Payloads that a sink accepted, in the order of their arrival, 16 bytes for each.
//!
//! **Owns**: [`Ledger`], [`Origin`], [`Arrival`].
//!
//! **Invariants**:
//! - I1: a payload is recorded only when the request that carried it was accepted.
//! - I2: a payload that cannot be identified (no `ResourceLogs`, no mark of the harness) is counted as foreign, never
//!   skipped.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::Replayed;
use crate::fingerprint::Fingerprint;
use crate::payload::{PayloadHash, PayloadId};

/// Stands for the id of a payload without a mark.
const FOREIGN: u64 = u64::MAX;

/// The node and shard that sent a request, from the start of its header `x-gophership-entry`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Origin {
    /// The node.
    pub node: u32,
    /// Its shard.
    pub shard: u32,
}

/// One payload. Sixteen bytes, for there may be many millions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    id: u64,
    fingerprint: Fingerprint,
}

impl Arrival {
    /// The id, where the payload is one of the harness.
    pub fn id(self) -> Option<PayloadId> {
        (self.id != FOREIGN).then(|| PayloadId::unpacked(self.id))
    }
}

#[derive(Clone, Default, Debug)]
struct Lane {
    arrivals: Vec<Arrival>,
    /// The first entry of the last accepted request.
    last: Option<(u64, u64)>,
}

/// Everything that a sink accepted.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    lanes: BTreeMap<Origin, Lane>,
    went_back: usize,
    miscounted: usize,
}

/// The header of a request: its origin, first entry and number of entries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct EntryHeader {
    origin: Origin,
    first: (u64, u64),
    count: usize,
}

impl EntryHeader {
    /// Reads `node/shard/segment:number,count`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, count) = text.split_once(',')?;
        let mut parts = id.split('/');
        let (node, shard, lsn) = (parts.next()?, parts.next()?, parts.next()?);
        let (segment, number) = lsn.split_once(':')?;
        Some(Self {
            origin: Origin {
                node: node.parse().ok()?,
                shard: shard.parse().ok()?,
            },
            first: (segment.parse().ok()?, number.parse().ok()?),
            count: count.parse().ok()?,
        })
    }
}

/// Counts over a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct LedgerSummary {
    /// Payloads.
    pub payloads: usize,
    /// Distinct payloads of the harness.
    pub distinct: usize,
    /// Copies beyond the first.
    pub duplicates: usize,
    /// Payloads without a mark.
    pub foreign: usize,
    /// Requests that began at an earlier entry than the request before them in their shard: they were sent again.
    pub went_back: usize,
    /// Requests whose header is missing, or gives another number of entries than they carry.
    pub miscounted: usize,
}

impl Ledger {
    /// Adds an accepted request.
    pub(super) fn take(&mut self, header: Option<EntryHeader>, arrivals: &[Arrival]) {
        if header.is_none_or(|header| header.count != arrivals.len()) {
            self.miscounted += 1;
        }
        let origin = header.map(|header| header.origin).unwrap_or_default();
        let lane = self.lanes.entry(origin).or_default();
        if let Some(header) = header {
            self.went_back += usize::from(lane.last.is_some_and(|last| header.first <= last));
            lane.last = Some(header.first);
        }
        lane.arrivals.extend_from_slice(arrivals);
    }

    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.lanes.values().map(|lane| lane.arrivals.len()).sum()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Computes the counts.
    pub fn summary(&self) -> LedgerSummary {
        let mut ids: Vec<_> = self.arrivals().map(|arrival| arrival.id).collect();
        let payloads = ids.len();
        ids.retain(|id| *id != FOREIGN);
        let ours = ids.len();
        ids.sort_unstable();
        ids.dedup();
        LedgerSummary {
            payloads,
            distinct: ids.len(),
            duplicates: ours - ids.len(),
            foreign: payloads - ours,
            went_back: self.went_back,
            miscounted: self.miscounted,
        }
    }

    /// The payloads for the checker: shard by shard, each in the order of arrival.
    pub fn replayed(&self) -> Vec<Replayed> {
        let entries = self.arrivals().map(|arrival| match arrival.id() {
            Some(id) => Replayed {
                hash: PayloadHash::named(id, arrival.fingerprint),
                label: format!("{id}, {:?}", arrival.fingerprint),
            },
            None => Replayed {
                hash: PayloadHash::of(b"foreign"),
                label: format!("a payload without a mark, {:?}", arrival.fingerprint),
            },
        });
        entries.collect()
    }

    /// Plants a second copy of the first payload.
    #[cfg(test)]
    pub(crate) fn repeat_first(&mut self) {
        let lane = self.lanes.values_mut().next().expect("something arrived");
        lane.arrivals.extend_from_within(..1);
    }

    fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        self.lanes.values().flat_map(|lane| lane.arrivals.iter().copied())
    }
}

/// The payloads of a request. Each payload of the harness has one `ResourceLogs`, and concatenated they are one
/// message. `None` where the bytes are not such a message.
pub(super) fn split(request: &[u8]) -> Option<Vec<Arrival>> {
    const RESOURCE_LOGS: u8 = 1 << 3 | 2;
    let (mut arrivals, mut rest) = (Vec::new(), request);
    while let Some((&tag, mut after)) = rest.split_first() {
        let length = prost::encoding::decode_varint(&mut after).ok()?;
        let length = usize::try_from(length).ok()?;
        if tag != RESOURCE_LOGS || length > after.len() {
            return None;
        }
        let (payload, next) = rest.split_at(rest.len() - after.len() + length);
        arrivals.push(Arrival {
            id: PayloadId::in_payload(payload).map_or(FOREIGN, PayloadId::packed),
            fingerprint: Fingerprint::of(payload),
        });
        rest = next;
    }
    Some(arrivals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::Templates;

    fn header(text: &str) -> Option<EntryHeader> {
        EntryHeader::parse(text)
    }

    fn id(connection: u32, sequence: u64) -> PayloadId {
        PayloadId { connection, sequence }
    }

    #[test]
    fn concatenated_payloads_are_told_apart_with_their_fingerprints() {
        let templates = Templates::new("r", 20, 200, 1_000, 1);
        let sent = [id(1, 7), id(2, 8), id(0, 9)].map(|id| templates.stamped(id, false));
        let request: Vec<u8> = sent.iter().flat_map(|one| one.pieces.concat()[5..].to_vec()).collect();
        let found = split(&request).unwrap();
        assert_eq!(found.len(), 3);
        for (arrival, sent) in found.iter().zip(&sent) {
            assert_eq!((arrival.id(), arrival.fingerprint), (Some(sent.id), sent.fingerprint));
        }
        assert!(split(&request[..request.len() - 1]).is_none());
        assert!(split(b"\x12\x00").is_none());
        assert_eq!(split(b"").unwrap(), []);
    }

    #[test]
    fn duplicates_foreign_payloads_steps_back_and_wrong_counts_are_counted() {
        let arrival = |id| Arrival {
            id,
            fingerprint: Fingerprint::of(b"x"),
        };
        let mut ledger = Ledger::default();
        ledger.take(header("1/0/3:1,2"), &[arrival(1), arrival(2)]);
        ledger.take(header("1/1/3:1,1"), &[arrival(3)]);
        ledger.take(header("1/0/3:3,1"), &[arrival(4)]);
        assert_eq!((ledger.summary().went_back, ledger.summary().miscounted), (0, 0));
        ledger.take(header("1/0/3:1,2"), &[arrival(1), arrival(FOREIGN)]);
        ledger.take(header("1/0/4:1,2"), &[arrival(5)]);
        ledger.take(header("nonsense"), &[]);
        let wanted = LedgerSummary {
            payloads: 7,
            distinct: 5,
            duplicates: 1,
            foreign: 1,
            went_back: 1,
            miscounted: 2,
        };
        assert_eq!(ledger.summary(), wanted);
        assert_eq!(ledger.replayed().len(), 7);
    }
}

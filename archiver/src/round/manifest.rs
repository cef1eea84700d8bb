//! The content of a manifest: JSON, in `docs/formats.md`. The same manifest has the same bytes.

use gophership_vault::ids::{ClusterId, SegmentId};
use gophership_vault::time::TimeRange;
use serde::Serialize;
use uuid::Uuid;

/// A manifest: the objects that it lists first, and the manifest before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The id of the store that it is in.
    pub store: Uuid,
    /// Its number, from 1.
    pub seq: u64,
    /// BLAKE3 over the bytes of the manifest before it; zeros in the first.
    pub prev: [u8; 32],
    /// The number of tries before, with other bytes: bytes that were damaged in the store make another name necessary.
    pub attempt: u32,
    /// The objects.
    pub objects: Vec<Listed>,
}

/// An object in a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name in the store.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// BLAKE3 over them.
    pub digest: [u8; 32],
    /// The number of entries in it.
    pub entries: u64,
    /// The number of records in it; deferred entries count none.
    pub records: u64,
    /// The times at which the entries were received.
    pub received: TimeRange,
    /// The times of their events.
    pub event: TimeRange,
    /// The segments in it, in its order.
    pub segments: Vec<SegmentId>,
}

#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    cluster_id: String,
    store_id: String,
    seq: u64,
    prev: String,
    attempt: u32,
    objects: Vec<ObjectJson<'a>>,
}

#[derive(Serialize)]
struct ObjectJson<'a> {
    key: &'a str,
    bytes: u64,
    blake3: String,
    entries: u64,
    records: u64,
    received_unix_nano: [String; 2],
    event_unix_nano: [String; 2],
    segments: Vec<String>,
}

impl Manifest {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let range = |range: TimeRange| [range.min.to_string(), range.max.to_string()];
        let objects = self.objects.iter().map(|object| ObjectJson {
            key: &object.key,
            bytes: object.bytes,
            blake3: hex(&object.digest),
            entries: object.entries,
            records: object.records,
            received_unix_nano: range(object.received),
            event_unix_nano: range(object.event),
            segments: object.segments.iter().map(SegmentId::to_string).collect(),
        });
        let json = Json {
            format: 1,
            cluster_id: self.cluster.0.to_string(),
            store_id: self.store.to_string(),
            seq: self.seq,
            prev: hex(&self.prev),
            attempt: self.attempt,
            objects: objects.collect(),
        };
        serde_json::to_vec(&json).expect("numbers and text")
    }
}

fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{NodeId, SegmentIndex, ShardId};

    use super::*;

    #[test]
    fn a_manifest_has_the_documented_bytes() {
        let segment = |index| SegmentId {
            node: NodeId::new(3).unwrap(),
            shard: ShardId::new(1),
            index: SegmentIndex::new(index).unwrap(),
        };
        let manifest = Manifest {
            cluster: ClusterId(Uuid::from_u128(0x5678)),
            store: Uuid::from_u128(0x9abc),
            seq: 2,
            prev: [0xAB; 32],
            attempt: 1,
            objects: vec![Listed {
                key: "v1/logs/x.binpb.zst".to_owned(),
                bytes: 1000,
                digest: [1; 32],
                entries: 20,
                records: 30,
                received: TimeRange {
                    min: 1_795_402_799_999_999_999,
                    max: u64::MAX,
                },
                event: TimeRange { min: 0, max: 1 },
                segments: vec![segment(7), segment(9)],
            }],
        };
        let golden = include_bytes!("../../testdata/v1/manifest.json");
        assert_eq!(
            String::from_utf8(manifest.encode()).unwrap(),
            String::from_utf8_lossy(golden).trim_end()
        );
    }
}

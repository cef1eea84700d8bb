//! The content of a manifest: JSON, in `docs/formats.md`. The same manifest has the same bytes.

use gophership_vault::ids::{ClusterId, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::time::TimeRange;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::MEMBERS_MAX;
use crate::store::Format;

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
    /// The id of the store that the one before is in; nil in the first.
    pub prev_store: Uuid,
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: Format,
    cluster_id: Uuid,
    store_id: Uuid,
    seq: u64,
    prev: String,
    prev_store_id: Uuid,
    attempt: u32,
    objects: Vec<ObjectJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectJson {
    key: String,
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
            key: object.key.clone(),
            bytes: object.bytes,
            blake3: hex(&object.digest),
            entries: object.entries,
            records: object.records,
            received_unix_nano: range(object.received),
            event_unix_nano: range(object.event),
            segments: object.segments.iter().map(SegmentId::to_string).collect(),
        });
        let json = Json {
            format: Format,
            cluster_id: self.cluster.0,
            store_id: self.store,
            seq: self.seq,
            prev: hex(&self.prev),
            prev_store_id: self.prev_store,
            attempt: self.attempt,
            objects: objects.collect(),
        };
        serde_json::to_vec(&json).expect("numbers and text")
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// The bytes are no manifest, or one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let json: Json = serde_json::from_slice(bytes)?;
        let wrong = |what: &str| serde_json::Error::custom(what);
        let digest = |text: &str| blake3::Hash::from_hex(text).map(|hash| *hash.as_bytes());
        let time = |[min, max]: &[String; 2]| match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) => Ok(TimeRange { min, max }),
            _ => Err(wrong("a time is no number")),
        };
        let object = |object: ObjectJson| {
            if object.segments.len() > MEMBERS_MAX {
                return Err(wrong("an object has more segments than one can have"));
            }
            let segments = object.segments.iter().map(|text| segment(text));
            Ok(Listed {
                bytes: object.bytes,
                digest: digest(&object.blake3).map_err(|_| wrong("an object's digest is none"))?,
                entries: object.entries,
                records: object.records,
                received: time(&object.received_unix_nano)?,
                event: time(&object.event_unix_nano)?,
                segments: segments
                    .collect::<Option<_>>()
                    .ok_or(wrong("a segment is not node/shard/index"))?,
                key: object.key,
            })
        };
        Ok(Self {
            cluster: ClusterId(json.cluster_id),
            store: json.store_id,
            seq: json.seq,
            prev: digest(&json.prev).map_err(|_| wrong("prev is no digest"))?,
            prev_store: json.prev_store_id,
            attempt: json.attempt,
            objects: json.objects.into_iter().map(object).collect::<Result<_, _>>()?,
        })
    }
}

/// The segment of this name, node/shard/index.
fn segment(text: &str) -> Option<SegmentId> {
    let (node, rest) = text.split_once('/')?;
    let (shard, index) = rest.split_once('/')?;
    Some(SegmentId {
        node: NodeId::new(node.parse().ok()?)?,
        shard: ShardId::new(shard.parse().ok()?),
        index: SegmentIndex::new(index.parse().ok()?)?,
    })
}

fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{GOLDEN_MANIFEST, manifest};

    fn golden() -> Manifest {
        Manifest {
            cluster: ClusterId(Uuid::from_u128(0x5678)),
            store: Uuid::from_u128(0x9abc),
            seq: 2,
            prev: [0xAB; 32],
            prev_store: Uuid::from_u128(0xdef0),
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
                segments: vec![segment("3/1/7").unwrap(), segment("3/1/9").unwrap()],
            }],
        }
    }

    #[test]
    fn a_manifest_has_the_documented_bytes_and_is_read_from_them() {
        let text = String::from_utf8(golden().encode()).unwrap();
        assert_eq!(text, String::from_utf8_lossy(GOLDEN_MANIFEST).trim_end());
        assert_eq!(Manifest::decode(GOLDEN_MANIFEST).unwrap(), golden());
        manifest(GOLDEN_MANIFEST);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let text = String::from_utf8_lossy(GOLDEN_MANIFEST);
        for (what, with, says) in [
            ("\"format\":1", "\"format\":2", "format 2"),
            ("\"seq\":2", "\"seq\":-2", "invalid value"),
            ("\"attempt\"", "\"attempts\"", "unknown field"),
            ("abab", "xbab", "prev is no digest"),
            ("01", "0x", "digest is none"),
            ("3/1/7", "3/1/0", "not node/shard/index"),
            ("1795402799999999999", "1e9", "a time is no number"),
        ] {
            let changed = text.replacen(what, with, 1);
            assert_ne!(changed, text, "{what}");
            let error = Manifest::decode(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{what}: {error}");
        }
    }
}

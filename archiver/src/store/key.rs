//! The names of objects, below the prefix of a store. A name depends on what was leased and on nothing else, so that
//! whoever goes on with a lease writes the same one.

use gophership_vault::ids::{ClusterId, NodeId, SegmentIndex};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The object that shows whether a store keeps what is there.
pub(super) const PROBE: &str = "v1/probe";
/// The object that shows whether a store notices bytes that were damaged on the way.
pub(super) const DAMAGED_PROBE: &str = "v1/probe-damaged";
/// The object with the id of the store.
pub(super) const STORE: &str = "v1/store.json";

/// The folder of all archive objects.
pub(crate) const LOGS: &str = "v1/logs";
/// The folder of all manifests, in folders of their clusters.
pub(crate) const MANIFESTS: &str = "v1/manifests";

/// The name of an archive object: of the `attempt` of a `lease` of segments that `node` wrote, from the index `first`
/// on. `received_ns` is when its earliest entry was received, nanoseconds since the Unix epoch; it chooses the folder.
pub fn object_key(
    cluster: ClusterId,
    node: NodeId,
    first: SegmentIndex,
    lease: u64,
    attempt: u32,
    received_ns: u64,
) -> String {
    let second = i64::try_from(received_ns / 1_000_000_000).expect("64 bits of nanoseconds are 35 bits of seconds");
    let time = Timestamp::from_second(second)
        .expect("the year is below 2600")
        .to_zoned(TimeZone::UTC);
    let folder = time.strftime("year=%Y/month=%m/day=%d/hour=%H");
    let cluster = &cluster.0.simple().to_string()[..8];
    format!("v1/logs/{folder}/{cluster}-{node}-{first}-{lease}-{attempt}.binpb.zst")
}

/// The name of the manifest number `seq` of a cluster, whose bytes have the BLAKE3 digest `hash`.
pub fn manifest_key(cluster: ClusterId, seq: u64, hash: &[u8; 32]) -> String {
    let [a, b, c, d, ..] = *hash;
    manifest_key_of(cluster, seq, [a, b, c, d])
}

/// The name of the manifest number `seq` of a cluster, whose hash begins with these bytes.
pub(crate) fn manifest_key_of(cluster: ClusterId, seq: u64, [a, b, c, d]: [u8; 4]) -> String {
    format!("{MANIFESTS}/{}/{seq}-{a:02x}{b:02x}{c:02x}{d:02x}.json", cluster.0)
}

/// Number, and the first four bytes of the hash, in the name of a manifest; `None` for another name.
pub(crate) fn parse_manifest_key(key: &str) -> Option<(u64, [u8; 4])> {
    let (_, name) = key.rsplit_once('/')?;
    let (seq, hash) = name.strip_suffix(".json")?.split_once('-')?;
    let hash = u32::from_str_radix(hash, 16).ok()?.to_be_bytes();
    let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
    // A number has one spelling.
    let [a, b, c, d] = hash;
    (name == format!("{seq}-{a:02x}{b:02x}{c:02x}{d:02x}.json")).then_some((seq, hash))
}

/// The numbers in the name of an archive object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectName {
    /// The first digits of the cluster's id.
    cluster: u32,
    /// The node that wrote its segments.
    pub node: NodeId,
    /// The index of its first segment.
    pub first: SegmentIndex,
    /// Its lease.
    pub lease: u64,
    /// Its attempt.
    pub attempt: u32,
}

impl ObjectName {
    /// Reads a name, with or without folders; `None` for the name of something else.
    pub fn parse(key: &str) -> Option<Self> {
        let name = key.rsplit('/').next()?.strip_suffix(".binpb.zst")?;
        let mut parts = name.split('-');
        let cluster = parts.next().filter(|digits| digits.len() == 8)?;
        let read = Self {
            cluster: u32::from_str_radix(cluster, 16).ok()?,
            node: NodeId::new(parts.next()?.parse().ok()?)?,
            first: SegmentIndex::new(parts.next()?.parse().ok()?)?,
            lease: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(read)
    }

    /// True where it may be that of an object of this cluster: the name has a part of the id.
    pub fn is_of(&self, cluster: ClusterId) -> bool {
        cluster.0.as_fields().0 == self.cluster
    }

    /// The first digits of the cluster's id, as the name has them.
    pub fn digits(&self) -> String {
        format!("{:08x}", self.cluster)
    }
}

/// The number of a restore in the name of its marker; `None` for another name.
pub(crate) fn parse_marker_key(key: &str) -> Option<u32> {
    let (_, name) = key.rsplit_once('/')?;
    let number = name.strip_prefix("superseded-by-")?.strip_suffix(".json")?;
    number.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn names_are_those_of_the_documentation() {
        let cluster = ClusterId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
        let first = SegmentIndex::new(7).unwrap();
        // 2026-11-23T02:59:59.999999999Z
        let received = 1_795_402_799_999_999_999;
        assert_eq!(
            object_key(cluster, NodeId::new(3).unwrap(), first, 12, 2, received),
            "v1/logs/year=2026/month=11/day=23/hour=02/01234567-3-7-12-2.binpb.zst"
        );
        let most = object_key(cluster, NodeId::new(3).unwrap(), first, u64::MAX, u32::MAX, u64::MAX);
        let read = ObjectName::parse(&most).unwrap();
        assert_eq!((read.node.get(), read.first), (3, first));
        assert_eq!((read.lease, read.attempt), (u64::MAX, u32::MAX));
        assert!(read.is_of(cluster) && !read.is_of(ClusterId(Uuid::from_u128(7))));
        assert_eq!(read.digits(), "01234567");
        for other in [
            "01234567-3-7-12.binpb.zst",
            "01234567-0-7-12-2.binpb.zst",
            "1-3-7-12-2.binpb.zst",
            "x",
        ] {
            assert_eq!(ObjectName::parse(other), None, "{other}");
        }
        assert_eq!(parse_marker_key("v1/manifests/a/superseded-by-2.json"), Some(2));
        assert_eq!(parse_marker_key("v1/manifests/a/2-0001abcd.json"), None);
        let mut hash = [0xFF; 32];
        hash[..4].copy_from_slice(&[0, 1, 0xAB, 0xCD]);
        assert_eq!(
            manifest_key(cluster, 1000, &hash),
            "v1/manifests/01234567-89ab-cdef-0123-456789abcdef/1000-0001abcd.json"
        );
        let parsed = parse_manifest_key(&manifest_key(cluster, 1000, &hash));
        assert_eq!(parsed, Some((1000, [0, 1, 0xAB, 0xCD])));
        for other in [
            "a/superseded-by",
            "a/0-0001abcd.json",
            "a/01-0001abcd.json",
            "a/1-0001ABCD.json",
            "a/1-1abcd.json",
        ] {
            assert_eq!(parse_manifest_key(other), None, "{other}");
        }
    }
}

//! The header page of a WAL file, kept twice: at its first and at its last page. Layout in `docs/formats.md`.

use uuid::Uuid;

use crate::entry::{u16_at, u32_at, u64_at};
use crate::ids::{ClusterId, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use crate::limits::{PAGE, TENANT_NAME_MAX, TENANTS_MAX};

pub(crate) const MAGIC: &[u8; 8] = b"GSWAL\x00\x01\n";
const FORMAT: u32 = 1;
const TENANT_BYTES: usize = 96;

/// A tenant: a name, and the number that stands for it in entry headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant {
    /// The number.
    pub id: TenantId,
    /// Its name, at most 91 bytes.
    pub name: String,
}

impl Tenant {
    /// The tenant of entries that name none.
    pub fn default_tenant() -> Self {
        Self {
            id: TenantId::DEFAULT,
            name: "default".to_owned(),
        }
    }
}

/// The header of a WAL file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WalHeader {
    pub(crate) id: SegmentId,
    pub(crate) epoch: Epoch,
    pub(crate) uuid: FileUuid,
    pub(crate) cluster_id: ClusterId,
    pub(crate) size: u64,
    pub(crate) created_ns: u64,
    pub(crate) tenants: Vec<Tenant>,
}

/// The fault of a page that is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    /// The page is not of a WAL file, or its CRC is wrong.
    Damaged,
    /// The page has a format that this version does not know.
    Format(u32),
}

impl WalHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = vec![0u8; PAGE as usize];
        b[..8].copy_from_slice(MAGIC);
        b[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        b[12..16].copy_from_slice(&self.id.node.get().to_le_bytes());
        b[16..18].copy_from_slice(&self.id.shard.get().to_le_bytes());
        b[18..20].copy_from_slice(&tenant_count(&self.tenants).to_le_bytes());
        b[20..24].copy_from_slice(&self.id.index.get().to_le_bytes());
        b[24..32].copy_from_slice(&self.epoch.get().to_le_bytes());
        b[32..48].copy_from_slice(self.uuid.0.as_bytes());
        b[48..64].copy_from_slice(self.cluster_id.0.as_bytes());
        b[64..72].copy_from_slice(&self.size.to_le_bytes());
        b[72..80].copy_from_slice(&self.created_ns.to_le_bytes());
        let tenants = encode_tenants(&self.tenants);
        b[80..80 + tenants.len()].copy_from_slice(&tenants);
        let crc = crc32fast::hash(&b[..4092]);
        b[4092..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, HeaderFault> {
        if b.len() != PAGE as usize || &b[..8] != MAGIC || u32_at(b, 4092) != crc32fast::hash(&b[..4092]) {
            return Err(HeaderFault::Damaged);
        }
        let format = u32_at(b, 8);
        if format != FORMAT {
            return Err(HeaderFault::Format(format));
        }
        Self::decode_fields(b).ok_or(HeaderFault::Damaged)
    }

    fn decode_fields(b: &[u8]) -> Option<Self> {
        Some(Self {
            id: SegmentId {
                node: NodeId::new(u32_at(b, 12))?,
                shard: ShardId::new(u16_at(b, 16)),
                index: SegmentIndex::new(u32_at(b, 20))?,
            },
            epoch: Epoch::new(u64_at(b, 24))?,
            uuid: FileUuid(uuid_at(b, 32)),
            cluster_id: ClusterId(uuid_at(b, 48)),
            size: u64_at(b, 64),
            created_ns: u64_at(b, 72),
            tenants: decode_tenants(&b[80..4092], u16_at(b, 18))?,
        })
    }
}

/// The 16 bytes at `at` as a uuid; the caller has checked that they are there.
pub(crate) fn uuid_at(b: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes(b[at..at + 16].try_into().expect("sixteen bytes"))
}

/// The tenant count as the headers store it.
pub(crate) fn tenant_count(tenants: &[Tenant]) -> u16 {
    assert!(
        (1..=TENANTS_MAX).contains(&tenants.len()),
        "a file names 1 to {TENANTS_MAX} tenants"
    );
    tenants.len() as u16
}

/// The tenant table, 96 bytes each.
pub(crate) fn encode_tenants(tenants: &[Tenant]) -> Vec<u8> {
    let mut out = vec![0u8; tenants.len() * TENANT_BYTES];
    for (row, tenant) in out.chunks_exact_mut(TENANT_BYTES).zip(tenants) {
        let name = tenant.name.as_bytes();
        assert!(
            name.len() <= TENANT_NAME_MAX,
            "a tenant's name has at most {TENANT_NAME_MAX} bytes"
        );
        row[..4].copy_from_slice(&tenant.id.get().to_le_bytes());
        row[4] = name.len() as u8;
        row[5..5 + name.len()].copy_from_slice(name);
    }
    out
}

/// Reads `count` tenants from the start of `b`.
pub(crate) fn decode_tenants(b: &[u8], count: u16) -> Option<Vec<Tenant>> {
    let count = usize::from(count);
    if count == 0 || count > TENANTS_MAX || b.len() < count * TENANT_BYTES {
        return None;
    }
    b.chunks_exact(TENANT_BYTES)
        .take(count)
        .map(|row| {
            let name = row.get(5..5 + usize::from(row[4]))?;
            Some(Tenant {
                id: TenantId::new(u32_at(row, 0)),
                name: std::str::from_utf8(name).ok()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> WalHeader {
        WalHeader {
            id: SegmentId {
                node: NodeId::FIRST,
                shard: ShardId::new(3),
                index: SegmentIndex::new(42).unwrap(),
            },
            epoch: Epoch::new(7).unwrap(),
            uuid: FileUuid(Uuid::from_u128(1)),
            cluster_id: ClusterId(Uuid::from_u128(2)),
            size: 65536,
            created_ns: 99,
            tenants: vec![
                Tenant::default_tenant(),
                Tenant {
                    id: TenantId::new(5),
                    name: "zoë".to_owned(),
                },
            ],
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        assert_eq!(WalHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let page = header().encode();
        for byte in 0..page.len() {
            let mut bad = page.clone();
            bad[byte] ^= 1 << (byte % 8);
            assert!(WalHeader::decode(&bad).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let mut page = header().encode();
        page[8] = 2;
        let crc = crc32fast::hash(&page[..4092]);
        page[4092..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(WalHeader::decode(&page), Err(HeaderFault::Format(2)));
    }

    #[test]
    #[should_panic(expected = "a file names 1 to")]
    fn a_file_without_a_tenant_is_a_bug() {
        tenant_count(&[]);
    }

    #[test]
    #[should_panic(expected = "a tenant's name has at most")]
    fn a_tenant_whose_name_has_no_room_is_a_bug() {
        let name = "x".repeat(TENANT_NAME_MAX + 1);
        let _ = encode_tenants(&[Tenant {
            id: TenantId::new(5),
            name,
        }]);
    }
}

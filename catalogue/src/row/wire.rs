//! Numbers, texts and uuids as bytes and back.
//!
//! **Invariant** I1: a reader never reads past its end and takes no length on trust.

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentIndex, ShardId};
use uuid::Uuid;

use super::{RowError, VERSION};

/// Bytes under construction.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u16_be(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32_be(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64_be(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn uuid(self, value: Uuid) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn count(self, value: usize) -> Self {
        self.u32(u32::try_from(value).expect("limits.rs bounds every text and list far below this"))
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.count(value.len()).bytes(value.as_bytes())
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes being read; it knows the row's key, for the error.
pub(super) struct Reader<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(key: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { key, rest: bytes }
    }

    pub(super) fn damaged(&self, what: &'static str) -> RowError {
        RowError::Damaged {
            key: self.hex_key(),
            what,
        }
    }

    pub(super) fn unknown(&self, what: &'static str, found: u8) -> RowError {
        RowError::Unknown {
            key: self.hex_key(),
            what,
            found,
        }
    }

    fn hex_key(&self) -> String {
        self.key.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The version, which is `newest` or an older one.
    pub(super) fn version(&mut self, newest: u8) -> Result<u8, RowError> {
        match self.u8()? {
            known if (VERSION..=newest).contains(&known) => Ok(known),
            found => Err(self.unknown("version", found)),
        }
    }

    pub(super) fn end(&self) -> Result<(), RowError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("it is too long"))
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], RowError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.damaged("it is too short"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RowError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, RowError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, RowError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, RowError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u64_be(&mut self) -> Result<u64, RowError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, RowError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<String, RowError> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        self.utf8(bytes)
    }

    pub(super) fn rest_str(&mut self) -> Result<String, RowError> {
        let bytes = std::mem::take(&mut self.rest);
        self.utf8(bytes)
    }

    /// A name that a zero byte ends.
    pub(super) fn name(&mut self) -> Result<String, RowError> {
        let len = self.rest.iter().position(|b| *b == 0);
        let name = self.take(len.ok_or_else(|| self.damaged("a name has no end"))?)?;
        let _zero = self.u8()?;
        self.utf8(name)
    }

    fn utf8(&self, bytes: &[u8]) -> Result<String, RowError> {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| self.damaged("a text is not UTF-8"))
    }

    pub(super) fn node(&mut self) -> Result<NodeId, RowError> {
        NodeId::new(self.u32()?).ok_or_else(|| self.damaged("node 0"))
    }

    pub(super) fn node_be(&mut self) -> Result<NodeId, RowError> {
        NodeId::new(u32::from_be_bytes(self.array()?)).ok_or_else(|| self.damaged("node 0"))
    }

    pub(super) fn shard(&mut self) -> Result<ShardId, RowError> {
        Ok(ShardId::new(self.u16()?))
    }

    pub(super) fn shard_be(&mut self) -> Result<ShardId, RowError> {
        Ok(ShardId::new(u16::from_be_bytes(self.array()?)))
    }

    pub(super) fn index_be(&mut self) -> Result<SegmentIndex, RowError> {
        SegmentIndex::new(u32::from_be_bytes(self.array()?)).ok_or_else(|| self.damaged("index 0"))
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch, RowError> {
        Epoch::new(self.u64()?).ok_or_else(|| self.damaged("epoch 0"))
    }

    pub(super) fn lsn_or_none(&mut self) -> Result<Option<Lsn>, RowError> {
        match self.u64()? {
            0 => Ok(None),
            value => Lsn::from_u64(value)
                .map(Some)
                .ok_or_else(|| self.damaged("half an Lsn")),
        }
    }
}

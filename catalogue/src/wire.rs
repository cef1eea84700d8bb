//! Numbers, texts and uuids as bytes and back: the encoding of rows and of commands.
//!
//! **Invariants**:
//! - I1: a reader never reads past its end, and checks each length before it uses it.

use std::fmt;

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use thiserror::Error;
use uuid::Uuid;

/// The error of bytes that are not of the form that is read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// The bytes do not follow the format.
    #[error("{of} is damaged: {what}")]
    Damaged {
        /// The row or command that they are read as.
        of: String,
        /// The fault, in words.
        what: &'static str,
    },
    /// The bytes have a kind, state or version that this program does not know.
    #[error("{of} has {what} {found}, which is not known here")]
    Unknown {
        /// The row or command that they are read as.
        of: String,
        /// The unknown part.
        what: &'static str,
        /// Its number.
        found: u8,
    },
}

/// The kind of row or command that bytes are read as, for the error.
#[derive(Clone, Copy)]
enum Of<'a> {
    Row(&'a [u8]),
    Command(&'static str),
}

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(key) => {
                f.write_str("the row of key ")?;
                key.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
            Self::Command(name) => write!(f, "the command {name}"),
        }
    }
}

/// Bytes under construction.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u16_be(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32_be(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64_be(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn uuid(self, value: Uuid) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn count(self, value: usize) -> Self {
        self.u32(u32::try_from(value).expect("limits.rs bounds every text and list far below this"))
    }

    pub(crate) fn segment(self, id: SegmentId) -> Self {
        self.u32(id.node.get()).u16(id.shard.get()).u32(id.index.get())
    }

    /// Writes a 1 and the value, or a 0.
    pub(crate) fn option<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self.u8(1), value),
            None => self.u8(0),
        }
    }

    /// Writes a count, and that many values.
    pub(crate) fn list<T>(self, values: &[T], write: impl FnMut(Self, &T) -> Self) -> Self {
        values.iter().fold(self.count(values.len()), write)
    }

    pub(crate) fn text(self, value: &str) -> Self {
        self.count(value.len()).bytes(value.as_bytes())
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes being read, with the kind of row or command, for the error.
pub(crate) struct Reader<'a> {
    of: Of<'a>,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn of_row(key: &'a [u8], bytes: &'a [u8]) -> Self {
        let of = Of::Row(key);
        Self { of, rest: bytes }
    }

    pub(crate) fn of_command(bytes: &'a [u8]) -> Self {
        let of = Of::Command("of a kind yet to be read");
        Self { of, rest: bytes }
    }

    /// Sets the name of the command, once that is known.
    pub(crate) fn name_command(&mut self, name: &'static str) {
        self.of = Of::Command(name);
    }

    pub(crate) fn damaged(&self, what: &'static str) -> WireError {
        let of = self.of.to_string();
        WireError::Damaged { of, what }
    }

    pub(crate) fn unknown(&self, what: &'static str, found: u8) -> WireError {
        let of = self.of.to_string();
        WireError::Unknown { of, what, found }
    }

    /// Reads the version, which is `newest` or an older one.
    pub(crate) fn version(&mut self, newest: u8) -> Result<u8, WireError> {
        match self.u8()? {
            known if (1..=newest).contains(&known) => Ok(known),
            found => Err(self.unknown("version", found)),
        }
    }

    pub(crate) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("it is too long"))
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.damaged("it is too short"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(crate) fn text(&mut self) -> Result<String, WireError> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        self.utf8(bytes)
    }

    pub(crate) fn rest_str(&mut self) -> Result<String, WireError> {
        let bytes = std::mem::take(&mut self.rest);
        self.utf8(bytes)
    }

    /// Reads a name that a zero byte ends.
    pub(crate) fn name(&mut self) -> Result<String, WireError> {
        let len = self.rest.iter().position(|b| *b == 0);
        let name = self.take(len.ok_or_else(|| self.damaged("a name has no end"))?)?;
        let _zero = self.u8()?;
        self.utf8(name)
    }

    fn utf8(&self, bytes: &[u8]) -> Result<String, WireError> {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| self.damaged("a text is not UTF-8"))
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, WireError> {
        NodeId::new(self.u32()?).ok_or_else(|| self.damaged("node 0"))
    }

    pub(crate) fn node_be(&mut self) -> Result<NodeId, WireError> {
        NodeId::new(u32::from_be_bytes(self.array()?)).ok_or_else(|| self.damaged("node 0"))
    }

    pub(crate) fn shard(&mut self) -> Result<ShardId, WireError> {
        Ok(ShardId::new(self.u16()?))
    }

    pub(crate) fn shard_be(&mut self) -> Result<ShardId, WireError> {
        Ok(ShardId::new(u16::from_be_bytes(self.array()?)))
    }

    pub(crate) fn index_be(&mut self) -> Result<SegmentIndex, WireError> {
        SegmentIndex::new(u32::from_be_bytes(self.array()?)).ok_or_else(|| self.damaged("index 0"))
    }

    pub(crate) fn index(&mut self) -> Result<SegmentIndex, WireError> {
        SegmentIndex::new(self.u32()?).ok_or_else(|| self.damaged("index 0"))
    }

    pub(crate) fn segment(&mut self) -> Result<SegmentId, WireError> {
        Ok(SegmentId {
            node: self.node()?,
            shard: self.shard()?,
            index: self.index()?,
        })
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(self.unknown(what, found)),
        }
    }

    /// Reads the value that a 1 precedes; a 0 stands for none.
    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.bool("mark of what may be absent")? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads a list behind its count.
    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.u32()?;
        // This does not allocate by the count, which may be wrong.
        (0..count).map(|_| read(self)).collect::<Result<_, _>>()
    }

    pub(crate) fn lsn(&mut self) -> Result<Lsn, WireError> {
        self.lsn_or_none()?.ok_or_else(|| self.damaged("no position"))
    }

    pub(crate) fn epoch(&mut self) -> Result<Epoch, WireError> {
        Epoch::new(self.u64()?).ok_or_else(|| self.damaged("epoch 0"))
    }

    pub(crate) fn lsn_or_none(&mut self) -> Result<Option<Lsn>, WireError> {
        match self.u64()? {
            0 => Ok(None),
            value => Lsn::from_u64(value)
                .map(Some)
                .ok_or_else(|| self.damaged("half an Lsn")),
        }
    }
}

//! The bytes that consensus stores and sends, as in `docs/formats.md`.
//!
//! **Invariants**:
//! - I1: reading back written bytes yields the same value.
//! - I2: any other bytes are an error, never a panic and never a guess; every length is checked before it is used.
//! - I3: an entry is read only under the index that it was written under.

use std::collections::{BTreeMap, BTreeSet};

use gophership_catalogue::WireError;
use openraft::{CommittedLeaderId, EntryPayload};
use uuid::Uuid;

use super::limits::MEMBER_TEXT_BYTES_MAX;
use super::promise::Promise;
use super::raft_types::{Entry, Member, Membership, Proposal, RaftLogId, StoredMembership, Vote};

/// The version of each stored form.
const VERSION: u8 = 1;

const BLANK: u8 = 0;
const PROPOSAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

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

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn count(self, value: usize) -> Self {
        self.u32(u32::try_from(value).expect("limits.rs bounds every text and list far below this"))
    }

    /// A length and so many bytes.
    pub(crate) fn blob(self, value: &[u8]) -> Self {
        self.count(value.len()).bytes(value)
    }

    /// A 1 and what is there, or a 0.
    pub(crate) fn option<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self.u8(1), value),
            None => self.u8(0),
        }
    }

    pub(crate) fn vote(self, vote: &Vote) -> Self {
        self.u64(vote.leader_id.term)
            .u64(vote.leader_id.node_id)
            .u8(u8::from(vote.committed))
    }

    pub(crate) fn log_id(self, id: RaftLogId) -> Self {
        self.u64(id.leader_id.term).u64(id.leader_id.node_id).u64(id.index)
    }

    pub(crate) fn promise(self, promise: Promise) -> Self {
        self.vote(&promise.vote).option(promise.last, Self::log_id)
    }

    pub(crate) fn membership(self, membership: &Membership) -> Self {
        let configs = membership.get_joint_config();
        let w = configs.iter().fold(self.count(configs.len()), |w, config| {
            config.iter().fold(w.count(config.len()), |w, node| w.u64(*node))
        });
        let w = w.count(membership.nodes().count());
        membership.nodes().fold(w, |w, (id, member)| {
            w.u64(*id).blob(member.name.as_bytes()).blob(member.address.as_bytes())
        })
    }

    pub(crate) fn stored_membership(self, stored: &StoredMembership) -> Self {
        self.option(*stored.log_id(), Self::log_id)
            .membership(stored.membership())
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes that are read.
pub(crate) struct Reader<'a> {
    of: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(of: &'static str, bytes: &'a [u8]) -> Self {
        Self { of, rest: bytes }
    }

    pub(crate) fn damaged(&self, what: &'static str) -> WireError {
        WireError::Damaged {
            of: self.of.to_owned(),
            what,
        }
    }

    pub(crate) fn unknown(&self, what: &'static str, found: u8) -> WireError {
        WireError::Unknown {
            of: self.of.to_owned(),
            what,
            found,
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.damaged("it is too short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self.bytes(N)?.try_into().expect("so many bytes were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(self.unknown("a flag", found)),
        }
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(crate) fn version(&mut self) -> Result<(), WireError> {
        match self.u8()? {
            VERSION => Ok(()),
            found => Err(self.unknown("version", found)),
        }
    }

    pub(crate) fn blob(&mut self) -> Result<&'a [u8], WireError> {
        let count = self.u32()?;
        self.bytes(count as usize)
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        self.bool()?.then(|| read(self)).transpose()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("it is too long"))
        }
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, WireError> {
        let (term, node) = (self.u64()?, self.u64()?);
        Ok(if self.bool()? {
            Vote::new_committed(term, node)
        } else {
            Vote::new(term, node)
        })
    }

    pub(crate) fn log_id(&mut self) -> Result<RaftLogId, WireError> {
        let leader = CommittedLeaderId::new(self.u64()?, self.u64()?);
        Ok(RaftLogId::new(leader, self.u64()?))
    }

    pub(crate) fn promise(&mut self) -> Result<Promise, WireError> {
        let (vote, last) = (self.vote()?, self.option(Self::log_id)?);
        Ok(Promise { vote, last })
    }

    pub(crate) fn membership(&mut self) -> Result<Membership, WireError> {
        let mut configs = Vec::new();
        for _ in 0..self.u32()? {
            let mut config = BTreeSet::new();
            for _ in 0..self.u32()? {
                config.insert(self.u64()?);
            }
            configs.push(config);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.u32()? {
            let id = self.u64()?;
            let (name, address) = (self.member_text()?, self.member_text()?);
            nodes.insert(id, Member { name, address });
        }
        if configs.iter().flatten().any(|voter| !nodes.contains_key(voter)) {
            return Err(self.damaged("a voter is no member"));
        }
        Ok(Membership::new(configs, nodes))
    }

    fn member_text(&mut self) -> Result<String, WireError> {
        let bytes = self.blob()?;
        if bytes.len() > MEMBER_TEXT_BYTES_MAX {
            return Err(self.damaged("the name or address of a member is too long"));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| self.damaged("the name or address of a member is no UTF-8"))?;
        Ok(text.to_owned())
    }

    pub(crate) fn stored_membership(&mut self) -> Result<StoredMembership, WireError> {
        Ok(StoredMembership::new(self.option(Self::log_id)?, self.membership()?))
    }
}

/// A versioned value, as the table `consensus` keeps it.
pub(crate) fn versioned(write: impl FnOnce(Writer) -> Writer) -> Vec<u8> {
    write(Writer::default().u8(VERSION)).done()
}

/// Reads what [`versioned`] wrote.
pub(crate) fn read_versioned<'a, T>(
    of: &'static str,
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut v = Reader::new(of, bytes);
    v.version()?;
    let value = read(&mut v)?;
    v.end()?;
    Ok(value)
}

/// The stored form of an entry: a checksum, then what [`write_entry`] gives. Its index is its key, and is in the
/// checksum.
pub(crate) fn stored_entry(entry: &Entry) -> Vec<u8> {
    let body = write_entry(Writer::default(), entry).done();
    versioned(|w| w.u32(crc32fast::hash(&body)).bytes(&body[8..]))
}

/// Reads what [`stored_entry`] wrote.
pub(crate) fn read_stored_entry(index: u64, bytes: &[u8]) -> Result<Entry, WireError> {
    let mut v = Reader::new("an entry of the log", bytes);
    v.version()?;
    let crc = v.u32()?;
    let body = Writer::default().u64(index).bytes(v.rest()).done();
    if crc != crc32fast::hash(&body) {
        return Err(v.damaged("its checksum does not match"));
    }
    let mut v = Reader::new("an entry of the log", &body);
    let entry = read_entry(&mut v)?;
    v.end()?;
    Ok(entry)
}

/// An entry with its index, term and leader.
pub(crate) fn write_entry(w: Writer, entry: &Entry) -> Writer {
    let RaftLogId { leader_id, index } = entry.log_id;
    let w = w.u64(index).u64(leader_id.term).u64(leader_id.node_id);
    match &entry.payload {
        EntryPayload::Blank => w.u8(BLANK),
        EntryPayload::Normal(Proposal { ticket, request }) => w.u8(PROPOSAL).bytes(ticket.as_bytes()).blob(request),
        EntryPayload::Membership(membership) => w.u8(MEMBERSHIP).membership(membership),
    }
}

/// Reads what [`write_entry`] wrote.
pub(crate) fn read_entry(v: &mut Reader<'_>) -> Result<Entry, WireError> {
    let index = v.u64()?;
    let leader = CommittedLeaderId::new(v.u64()?, v.u64()?);
    let payload = match v.u8()? {
        BLANK => EntryPayload::Blank,
        PROPOSAL => EntryPayload::Normal(Proposal {
            ticket: v.uuid()?,
            request: v.blob()?.to_vec(),
        }),
        MEMBERSHIP => EntryPayload::Membership(v.membership()?),
        found => return Err(v.unknown("kind", found)),
    };
    Ok(Entry {
        log_id: RaftLogId::new(leader, index),
        payload,
    })
}

#[cfg(test)]
pub(crate) mod tests;

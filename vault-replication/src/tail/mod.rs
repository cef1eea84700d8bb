//! Copying a segment to its replicas while its owner still writes it.
//!
//! - `sender`: the owner's end of one shard's stream to one replica.
//! - `live`: what the owner's cutter has just cut, for the senders of a shard.
//! - `receiver`: the replica's end.
//! - `streams`: all streams of an owner; `stream`: one of them, which does what its sender says; `backoff`: its pauses;
//!   `shared`: what they share.
//! - `sealed`: a ledger through which the streams learn of seals. `lag`: how far replicas are behind.
//!
//! Terms: a *frame* is a range of entries in order, compressed, with a CRC and the digest over all entries up to its
//! end. A *stream* is one connection from an owner to a replica; a new one takes the place of the one before. A segment
//! is *ended* when its owner writes nothing more to it, and *complete* on a replica that has all of it, synced and with
//! the owner's digest.

mod backoff;
pub mod lag;
pub mod live;
pub mod receiver;
pub mod sealed;
pub mod sender;
mod shared;
mod stream;
pub mod streams;

use gophership_vault::ids::{EntryNumber, Epoch};

/// The id of a stream from an owner to a replica. A later one has a higher id: numbers begin anew when the owner is
/// started, and its epoch is a later one then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId {
    /// Compared first.
    epoch: Epoch,
    number: u64,
}

impl StreamId {
    /// The stream of this number that the owner began in this epoch.
    pub fn new(epoch: Epoch, number: u64) -> Self {
        Self { epoch, number }
    }

    /// The epoch of the owner when it began the stream.
    pub fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The number among the streams that this process of the owner began.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// The part of a segment that a replica has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The last entry.
    pub last: EntryNumber,
    /// The number of frames, which is the next one's number.
    pub frames: u32,
}

/// The answer of a replica about a segment, to its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TailAnswer {
    /// The synced part of the segment, sent once at the beginning of the segment on a stream.
    Has(Option<Held>),
    /// Everything up to this entry is synced.
    Synced(EntryNumber),
    /// All of it is here, synced and verified, with this digest.
    Completed([u8; 32]),
    /// The replica takes nothing of it.
    Refused(TailRefusal),
}

/// The reason for which a replica takes nothing of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TailRefusal {
    /// A recovery has fenced it and determines its end.
    Fenced,
    /// Another boot's copy is there, or another frame under the same number. It was reported there.
    Differs,
    /// The copy cannot be written now. A new stream may go on with it.
    Failed,
}

//! What a sender is told, and what it says to do.

use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex};

use crate::tail::{StreamId, TailAnswer};

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SenderEvent {
    /// A segment of which the replica gets every entry is about to take some.
    Opened(SegmentIndex),
    /// The entries up to here can be read.
    Written(Lsn),
    /// A segment takes no more entries.
    Ended {
        /// The segment.
        index: SegmentIndex,
        /// Its last entry; `None` where it has none.
        last: Option<EntryNumber>,
        /// BLAKE3 over its entries.
        digest: [u8; 32],
    },
    /// A segment is on record as sealed. `counted` says that the replica is on record as a holder.
    Sealed {
        /// The segment.
        index: SegmentIndex,
        /// True where the replica is one of its holders.
        counted: bool,
    },
    /// A segment is wanted no more: it is trimmed, or the replica is to have none of it.
    Dropped(SegmentIndex),
    /// A stream to the replica is there; it takes the place of every older one.
    Connected(StreamId),
    /// A stream is gone, with all that was on its way.
    Disconnected(StreamId),
    /// The frame that [`SenderAction::Read`] asked for was read, and was sent over this stream.
    Sent {
        /// The stream.
        stream: StreamId,
        /// The segment.
        index: SegmentIndex,
        /// The last entry of the frame.
        last: EntryNumber,
    },
    /// The frame that was asked for cannot be read now.
    NotRead(StreamId),
    /// It is time to try again what [`SenderAction::Failed`] told of.
    Retry,
    /// The replica answered about a segment.
    Answered {
        /// The stream.
        stream: StreamId,
        /// The segment.
        index: SegmentIndex,
        /// The answer.
        answer: TailAnswer,
    },
}

/// An action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SenderAction {
    /// Tell the replica that a segment's frames follow, and ask what it has.
    Begin(SegmentIndex),
    /// Read the frame that follows an entry, and send it. One at a time.
    Read {
        /// The segment.
        index: SegmentIndex,
        /// The entry before the frame; `None` for the segment's first.
        after: Option<EntryNumber>,
        /// The frame's number on that replica, from 0.
        frame_no: u32,
    },
    /// Tell the replica that nothing follows in a segment, and its digest.
    Complete {
        /// The segment.
        index: SegmentIndex,
        /// BLAKE3 over its entries.
        digest: [u8; 32],
    },
    /// Count the replica as having synced everything of the segment of this entry up to it.
    Mark(Lsn),
    /// Count the replica as having this much of a segment and no more, though it answered for more before.
    Restarted {
        /// The segment.
        index: SegmentIndex,
        /// The last entry there.
        has: Option<EntryNumber>,
    },
    /// Count the replica as a holder of all of a segment that is not sealed yet.
    Holder {
        /// The segment.
        index: SegmentIndex,
        /// BLAKE3 over its entries there.
        digest: [u8; 32],
    },
    /// Put on record that the replica is a holder of a sealed segment.
    AddHolder {
        /// The segment.
        index: SegmentIndex,
        /// BLAKE3 over its entries there.
        digest: [u8; 32],
    },
    /// A recovery has taken a segment over: the owner must go on under a new epoch.
    Fenced(SegmentIndex),
    /// The replica's copy differs from the frames that were sent, by its own answer or by its digest: an operator must
    /// look.
    Differs(SegmentIndex),
    /// Tell the replica that nothing more of a segment is sent, although it is not complete there.
    Leave(SegmentIndex),
    /// A frame of a segment could not be read, or the replica cannot write its copy: nothing more of it is sent before
    /// [`SenderEvent::Retry`], which is to come after a time that grows with the failures in a row.
    Failed {
        /// The segment.
        index: SegmentIndex,
        /// The failures of the segment since the replica last synced something of it.
        failures: u32,
    },
    /// End the stream, and begin a new one: an answer on it makes no sense, or a copy that could not be written is to
    /// be tried again.
    Reconnect,
}

//! The messages of the tail stream.

use std::sync::Arc;

use bytes::Bytes;
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::tail_request::Request;
use gophership_proto::peer::v1::tail_response::Answer;
use gophership_vault::ids::{Epoch, Lsn, SegmentId};
use gophership_vault::{OwnedFrame, SegmentHeader, TailFrame};

use super::{
    Wire, WireError, digest, digest_bytes, epoch, header, header_to_wire, number, number_or_zero, required, segment,
    segment_to_wire, value,
};
use crate::tail::{Held, StreamId, TailAnswer, TailRefusal};

/// A message of a segment's owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailMessage {
    /// A segment's frames follow on this stream.
    Begin(StreamId, SegmentHeader),
    /// The next frame.
    Frame(SentFrame),
    /// Nothing follows in a segment; this is the digest over all of it.
    Complete(SegmentId, [u8; 32]),
    /// The owner sends nothing more of a segment, complete or not.
    Leave(SegmentId),
}

/// A frame on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentFrame {
    /// The segment.
    pub id: SegmentId,
    /// The only boot that may write that segment.
    pub epoch: Epoch,
    /// The frame's place in the segment, from 0.
    pub frame_no: u32,
    /// The last entry.
    pub last_lsn: Lsn,
    /// CRC32 of `bytes`.
    pub crc: u32,
    /// The block whole, as it stands in the file.
    pub bytes: Bytes,
}

impl SentFrame {
    /// The frame, for one who takes it.
    pub fn borrow(&self) -> TailFrame<'_> {
        TailFrame {
            id: self.id,
            epoch: self.epoch,
            frame_no: self.frame_no,
            bytes: &self.bytes,
            crc: self.crc,
            last_lsn: self.last_lsn,
        }
    }
}

/// The bytes of a frame that several streams send.
struct Block(Arc<OwnedFrame>);

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Arc<OwnedFrame>> for SentFrame {
    fn from(frame: Arc<OwnedFrame>) -> Self {
        Self {
            id: frame.id,
            epoch: frame.epoch,
            frame_no: frame.frame_no,
            last_lsn: frame.last_lsn,
            crc: frame.crc,
            bytes: Bytes::from_owner(Block(frame)),
        }
    }
}

impl TailMessage {
    /// The segment that it is about.
    pub fn segment(&self) -> SegmentId {
        match self {
            Self::Begin(_, header) => header.id,
            Self::Frame(frame) => frame.id,
            Self::Complete(id, _) | Self::Leave(id) => *id,
        }
    }

    pub(crate) fn to_wire(&self) -> v1::TailRequest {
        let request = match self {
            Self::Begin(stream, header) => Request::Begin(v1::TailBegin {
                stream: stream.number(),
                header: Some(header_to_wire(header)),
                stream_epoch: stream.epoch().get(),
            }),
            Self::Frame(frame) => Request::Frame(v1::TailFrame {
                segment: Some(segment_to_wire(frame.id)),
                epoch: frame.epoch.get(),
                frame_no: frame.frame_no,
                last: frame.last_lsn.number().get(),
                crc: frame.crc,
                bytes: frame.bytes.clone(),
            }),
            Self::Complete(id, digest) => Request::Complete(v1::TailComplete {
                segment: Some(segment_to_wire(*id)),
                digest: digest_bytes(*digest),
            }),
            Self::Leave(id) => Request::Leave(v1::TailLeave {
                segment: Some(segment_to_wire(*id)),
            }),
        };
        v1::TailRequest { request: Some(request) }
    }

    pub(crate) fn from_wire(of: v1::TailRequest) -> Wire<Self> {
        Ok(match required("a message of the tail stream", of.request)? {
            Request::Begin(begin) => {
                let stream = StreamId::new(epoch(begin.stream_epoch)?, begin.stream);
                Self::Begin(stream, header(begin.header)?)
            }
            Request::Frame(frame) => {
                let id = segment(frame.segment)?;
                // No frame has the last number there is, so that the next one's number is one.
                if frame.frame_no == u32::MAX {
                    return Err(value("a frame's number", frame.frame_no));
                }
                Self::Frame(SentFrame {
                    id,
                    epoch: epoch(frame.epoch)?,
                    frame_no: frame.frame_no,
                    last_lsn: Lsn::at(id.index, number("a frame's last entry", frame.last)?),
                    crc: frame.crc,
                    bytes: frame.bytes,
                })
            }
            Request::Complete(complete) => Self::Complete(segment(complete.segment)?, digest(&complete.digest)?),
            Request::Leave(leave) => Self::Leave(segment(leave.segment)?),
        })
    }
}

pub(crate) fn answer_to_wire(id: SegmentId, answer: TailAnswer) -> v1::TailResponse {
    let answer = match answer {
        TailAnswer::Has(held) => Answer::Has(v1::TailHeld {
            last: number_or_zero(held.map(|held| held.last)),
            frames: held.map_or(0, |held| held.frames),
        }),
        TailAnswer::Synced(last) => Answer::Synced(last.get()),
        TailAnswer::Completed(digest) => Answer::Completed(digest_bytes(digest)),
        TailAnswer::Refused(refusal) => Answer::Refused(refusal_to_wire(refusal) as i32),
    };
    v1::TailResponse {
        segment: Some(segment_to_wire(id)),
        answer: Some(answer),
    }
}

pub(crate) fn answer_from_wire(of: v1::TailResponse) -> Wire<(SegmentId, TailAnswer)> {
    let id = segment(of.segment)?;
    let answer = match required("an answer", of.answer)? {
        Answer::Has(v1::TailHeld { last: 0, frames: 0 }) => TailAnswer::Has(None),
        Answer::Has(v1::TailHeld { frames: 0, .. }) => return Err(WireError::Missing("the frames of what is held")),
        Answer::Has(held) => TailAnswer::Has(Some(Held {
            last: number("the last entry that is held", held.last)?,
            frames: held.frames,
        })),
        Answer::Synced(last) => TailAnswer::Synced(number("the last entry that is synced", last)?),
        Answer::Completed(of) => TailAnswer::Completed(digest(&of)?),
        Answer::Refused(of) => TailAnswer::Refused(refusal(of)?),
    };
    Ok((id, answer))
}

fn refusal_to_wire(refusal: TailRefusal) -> v1::TailRefusal {
    match refusal {
        TailRefusal::Fenced => v1::TailRefusal::Fenced,
        TailRefusal::Differs => v1::TailRefusal::Differs,
        TailRefusal::Failed => v1::TailRefusal::Failed,
    }
}

fn refusal(of: i32) -> Wire<TailRefusal> {
    match v1::TailRefusal::try_from(of) {
        Ok(v1::TailRefusal::Fenced) => Ok(TailRefusal::Fenced),
        Ok(v1::TailRefusal::Differs) => Ok(TailRefusal::Differs),
        Ok(v1::TailRefusal::Failed) => Ok(TailRefusal::Failed),
        Ok(v1::TailRefusal::Unspecified) | Err(_) => Err(value("a refusal", of.unsigned_abs())),
    }
}

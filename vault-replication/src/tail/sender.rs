//! The owner's end of a tail stream: one shard's segments, sent to one replica in the order in which they were written.
//!
//! A state machine without a socket, a file or a clock: [`TailSender::step`] takes an event and returns actions. Frames
//! are read at the time of sending, from the block that was just cut or from the owner's disk, so that a replica that
//! is far behind costs no memory.
//!
//! **Owns**: the replica's position in each segment, and the frames on their way.
//!
//! **Invariants**:
//! - I1: frames of a segment are sent in order, each following the entries that the replica has confirmed or was sent.
//! - I2: an answer moves a mark only as far as entries were sent on this stream, or were confirmed by the replica at
//!   the stream's beginning.
//! - I3: the number of unanswered frames is bounded.
//! - I4: after a refusal nothing more of that segment is sent on that stream.
//! - I5: the list of segments is bounded; a segment that falls off it is sealed, and is repaired by other means. The
//!   replica is told, and closes its copy.
//! - I6: a segment that cannot be read or written holds up none behind it, and is tried again only when the driver, who
//!   knows the time, says so.
//! - I7: a replica whose stream begins anew is asked again for every segment that is not sealed, complete ones too.
//!
//! **Not here**: marks and acknowledgements (the vault's `Watermark`); reading and sending; what it is told and says
//! (`sender/events.rs`), and what it knows of one segment (`sender/segment.rs`).

use std::collections::VecDeque;

use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex};

pub use self::events::{SenderAction, SenderEvent};
use self::segment::{Segment, Stage};
use super::{Held, StreamId, TailAnswer, TailRefusal};
use crate::limits::{TAIL_FRAMES_AHEAD, TAIL_FRAMES_MAX, TAIL_SEALED_MAX};

mod events;
mod segment;

/// The progress of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The position up to which it has synced everything that it is sent; `None` before the first.
    pub synced: Option<Lsn>,
    /// The last entry that can be sent.
    pub readable: Option<Lsn>,
    /// The newest segment that it is sent.
    pub newest: SegmentIndex,
}

/// The owner's end of one shard's stream to one replica.
#[derive(Debug, Default)]
pub struct TailSender {
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The present stream.
    stream: Option<StreamId>,
    /// The last entries of frames that are not answered, oldest first.
    unanswered: VecDeque<Lsn>,
    /// The segment of which a frame is being read.
    reading: Option<SegmentIndex>,
}

impl TailSender {
    /// A sender of a shard that has no segment yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The present stream.
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// The number of frames that are not answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// True where the replica is sent everything that there is, and waits for more: a frame is to be cut then, however
    /// small. With two on their way it has work, and what is appended meanwhile makes a larger frame.
    pub fn wants_frame(&self) -> bool {
        let is_up_to_date = |segment: &Segment| match segment.stage {
            Stage::Sending { sent, .. } => sent >= segment.readable(),
            Stage::Complete | Stage::Finishing { .. } | Stage::Refused => true,
            Stage::Waiting | Stage::Asked | Stage::Unread { .. } | Stage::Failed => false,
        };
        self.stream.is_some()
            && self.reading.is_none()
            && self.unanswered.len() < TAIL_FRAMES_AHEAD
            && self.segments.back().is_none_or(is_up_to_date)
    }

    /// The last entry that the replica has, as far as is known on this stream, of the newest segment of which it has
    /// any.
    pub fn sent(&self) -> Option<Lsn> {
        self.segments.iter().rev().find_map(|segment| {
            let sent = segment.sent()?;
            Some(Lsn::at(segment.index, sent))
        })
    }

    /// The progress of the replica, as far as is known; `None` where it is sent nothing. What a recovery took over and
    /// sealed is not lacking, also where it is the newest that is left in the list.
    pub fn progress(&self) -> Option<Progress> {
        let newest = self.segments.back()?;
        let lacks = |segment: &&Segment| segment.synced < segment.readable() && !segment.is_over();
        let (at, synced) = match self.segments.iter().find(lacks) {
            Some(lacking) => (lacking, lacking.synced),
            None => (newest, newest.readable()),
        };
        let position = |segment: &Segment, number: Option<EntryNumber>| match number {
            Some(number) => Some(Lsn::at(segment.index, number)),
            None => Lsn::at(segment.index, EntryNumber::FIRST).before(),
        };
        Some(Progress {
            synced: position(at, synced),
            readable: position(newest, newest.readable()),
            newest: newest.index,
        })
    }

    /// Takes an event, and returns the actions, in this order.
    pub fn step(&mut self, event: SenderEvent) -> Vec<SenderAction> {
        let mut actions = Vec::new();
        self.take(event, &mut actions);
        self.advance(&mut actions);
        actions
    }

    fn take(&mut self, event: SenderEvent, actions: &mut Vec<SenderAction>) {
        match event {
            SenderEvent::Opened(index) => {
                let newest = self.segments.back().map(|segment| segment.index);
                assert!(
                    newest.is_none_or(|newest| newest < index),
                    "segments are opened in order"
                );
                self.segments.push_back(Segment::new(index));
            }
            SenderEvent::Written(lsn) => {
                if let Some(segment) = self.find(lsn.index()) {
                    assert!(segment.written <= Some(lsn.number()), "what is written goes back");
                    segment.written = Some(lsn.number());
                }
            }
            SenderEvent::Ended { index, last, digest } => {
                if let Some(segment) = self.find(index) {
                    segment.end = Some((last, digest));
                }
            }
            SenderEvent::Sealed { index, counted } => self.sealed(index, counted, actions),
            SenderEvent::Dropped(index) => {
                if let Some(at) = self.segments.iter().position(|segment| segment.index == index) {
                    self.remove(at, actions);
                }
            }
            SenderEvent::Connected(stream) => {
                assert!(self.stream < Some(stream), "a new stream has a higher number");
                self.reset(Some(stream));
            }
            SenderEvent::Disconnected(stream) => {
                if self.stream == Some(stream) {
                    self.reset(None);
                }
            }
            // A late answer of an older stream is outdated by the replica's answer on this one.
            SenderEvent::NotRead(stream) | SenderEvent::Sent { stream, .. } | SenderEvent::Answered { stream, .. }
                if self.stream != Some(stream) => {}
            SenderEvent::NotRead(_) => self.not_read(actions),
            SenderEvent::Retry => self.retry(actions),
            SenderEvent::Sent { index, last, .. } => self.sent_frame(index, last),
            SenderEvent::Answered { index, answer, .. } => match answer {
                TailAnswer::Has(held) => self.has(index, held, actions),
                TailAnswer::Synced(last) => self.synced(index, last, actions),
                TailAnswer::Completed(digest) => self.completed(index, digest, actions),
                TailAnswer::Refused(why) => self.refused(index, why, actions),
            },
        }
    }

    fn find(&mut self, index: SegmentIndex) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.index == index)
    }

    fn reset(&mut self, stream: Option<StreamId>) {
        self.stream = stream;
        self.reading = None;
        self.unanswered.clear();
        for segment in &mut self.segments {
            // A copy that could not be written may be whole again, and one that was complete may be damaged; what was
            // refused is refused again.
            segment.stage = Stage::Waiting;
            segment.completed = None;
        }
    }

    fn not_read(&mut self, actions: &mut Vec<SenderAction>) {
        let Some(segment) = self.reading.take().and_then(|index| self.find(index)) else {
            return;
        };
        // It was refused meanwhile.
        let Stage::Sending { sent, frames } = segment.stage else {
            return;
        };
        segment.stage = Stage::Unread { sent, frames };
        actions.push(segment.failed());
    }

    fn retry(&mut self, actions: &mut Vec<SenderAction>) {
        let mut refused = false;
        for segment in &mut self.segments {
            match segment.stage {
                Stage::Unread { sent, frames } => segment.stage = Stage::Sending { sent, frames },
                // What was on its way to that copy is still being refused on this stream.
                Stage::Failed => refused = true,
                Stage::Waiting
                | Stage::Asked
                | Stage::Sending { .. }
                | Stage::Finishing { .. }
                | Stage::Complete
                | Stage::Refused => {}
            }
        }
        if refused {
            actions.push(SenderAction::Reconnect);
        }
    }

    /// Takes a segment from the list, and has the replica close its copy where that is open.
    fn remove(&mut self, at: usize, actions: &mut Vec<SenderAction>) {
        let Some(segment) = self.segments.remove(at) else {
            return;
        };
        self.unanswered.retain(|lsn| lsn.index() != segment.index);
        match segment.stage {
            Stage::Asked | Stage::Sending { .. } | Stage::Unread { .. } => {
                actions.push(SenderAction::Leave(segment.index));
            }
            Stage::Waiting | Stage::Finishing { .. } | Stage::Complete | Stage::Failed | Stage::Refused => {}
        }
    }

    fn sent_frame(&mut self, index: SegmentIndex, last: EntryNumber) {
        self.reading = None;
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.index == index) else {
            return;
        };
        // It was refused meanwhile.
        let Stage::Sending { sent, frames } = segment.stage else {
            return;
        };
        assert!(sent < Some(last), "a frame follows what was sent before it");
        segment.stage = Stage::Sending {
            sent: Some(last),
            frames: frames + 1,
        };
        self.unanswered.push_back(Lsn::at(index, last));
    }

    fn has(&mut self, index: SegmentIndex, held: Option<Held>, actions: &mut Vec<SenderAction>) {
        let last = held.map(|held| held.last);
        let Some(segment) = self.find(index) else { return };
        if segment.stage != Stage::Asked || last > segment.readable() {
            // It has what was never written: it is not a copy of this segment.
            if segment.stage == Stage::Asked {
                segment.stage = Stage::Refused;
                actions.push(SenderAction::Differs(index));
            } else {
                actions.push(SenderAction::Reconnect);
            }
            return;
        }
        let frames = held.map_or(0, |held| held.frames);
        segment.stage = Stage::Sending { sent: last, frames };
        segment.synced = last;
        actions.push(SenderAction::Restarted { index, has: last });
    }

    fn synced(&mut self, index: SegmentIndex, last: EntryNumber, actions: &mut Vec<SenderAction>) {
        let lsn = Lsn::at(index, last);
        let Some(segment) = self.find(index) else { return };
        if segment.sent() < Some(last) {
            actions.push(SenderAction::Reconnect);
            return;
        }
        segment.failures = 0;
        segment.synced = segment.synced.max(Some(last));
        self.unanswered
            .retain(|unanswered| unanswered.index() != index || *unanswered > lsn);
        actions.push(SenderAction::Mark(lsn));
    }

    fn completed(&mut self, index: SegmentIndex, digest: [u8; 32], actions: &mut Vec<SenderAction>) {
        let Some(segment) = self.find(index) else { return };
        let Stage::Finishing { sent } = segment.stage else {
            actions.push(SenderAction::Reconnect);
            return;
        };
        let Some((last, ours)) = segment.end else {
            unreachable!("a segment is finished only once its end is known");
        };
        assert_eq!(sent, last, "a segment is finished only once all of it was sent");
        if digest != ours {
            segment.stage = Stage::Refused;
            actions.push(SenderAction::Differs(index));
            return;
        }
        segment.stage = Stage::Complete;
        segment.completed = Some(digest);
        segment.synced = last;
        segment.failures = 0;
        let sealed = segment.sealed;
        self.unanswered.retain(|unanswered| unanswered.index() != index);
        if let Some(last) = last {
            actions.push(SenderAction::Mark(Lsn::at(index, last)));
        }
        actions.push(if sealed {
            SenderAction::AddHolder { index, digest }
        } else {
            SenderAction::Holder { index, digest }
        });
        self.forget_done();
    }

    fn refused(&mut self, index: SegmentIndex, why: TailRefusal, actions: &mut Vec<SenderAction>) {
        self.unanswered.retain(|unanswered| unanswered.index() != index);
        let Some(segment) = self.find(index) else {
            // A recovery may fence what the replica has not seen yet.
            if why == TailRefusal::Fenced {
                actions.push(SenderAction::Fenced(index));
            }
            return;
        };
        // What was on its way behind the first refusal is refused, too.
        if matches!(segment.stage, Stage::Refused | Stage::Failed) {
            return;
        }
        segment.stage = Stage::Refused;
        actions.push(match why {
            TailRefusal::Fenced => SenderAction::Fenced(index),
            TailRefusal::Differs => SenderAction::Differs(index),
            TailRefusal::Failed => {
                segment.stage = Stage::Failed;
                segment.failed()
            }
        });
    }

    fn sealed(&mut self, index: SegmentIndex, counted: bool, actions: &mut Vec<SenderAction>) {
        let Some(segment) = self.find(index) else { return };
        segment.sealed = true;
        segment.counted = counted;
        match segment.completed {
            // It said so while the seal was on its way.
            Some(digest) if !counted => actions.push(SenderAction::AddHolder { index, digest }),
            Some(_) | None => {}
        }
        self.forget_done();
        let behind = self.segments.iter().filter(|segment| segment.sealed).count();
        if behind > TAIL_SEALED_MAX
            && let Some(at) = self.segments.iter().position(|segment| segment.sealed)
        {
            self.remove(at, actions);
        }
    }

    /// Forgets the segments that are sealed and complete on the replica.
    fn forget_done(&mut self) {
        self.segments
            .retain(|segment| !(segment.sealed && segment.completed.is_some()));
    }

    /// Goes on with the oldest segment that something is still to be sent of.
    fn advance(&mut self, actions: &mut Vec<SenderAction>) {
        if self.stream.is_none() || self.reading.is_some() || actions.contains(&SenderAction::Reconnect) {
            return;
        }
        for segment in &mut self.segments {
            match segment.stage {
                Stage::Complete | Stage::Finishing { .. } | Stage::Unread { .. } | Stage::Failed | Stage::Refused => {}
                Stage::Waiting => {
                    segment.stage = Stage::Asked;
                    actions.push(SenderAction::Begin(segment.index));
                    return;
                }
                Stage::Asked => return,
                Stage::Sending { sent, frames } if sent < segment.readable() => {
                    if self.unanswered.len() < TAIL_FRAMES_MAX {
                        let index = segment.index;
                        self.reading = Some(index);
                        actions.push(SenderAction::Read {
                            index,
                            after: sent,
                            frame_no: frames,
                        });
                    }
                    return;
                }
                Stage::Sending { sent, .. } => match segment.end {
                    Some((last, digest)) => {
                        assert_eq!(sent, last, "all that can be read of an ended segment is up to its end");
                        segment.stage = Stage::Finishing { sent };
                        let index = segment.index;
                        actions.push(SenderAction::Complete { index, digest });
                    }
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The replica's end of the tail streams: it takes frames, syncs all that came meanwhile at once, and answers.
//!
//! **Owns**: the copies that are open, each with the stream that writes it.
//!
//! **Invariants**:
//! - I1: only the newest stream of a segment's owner writes its copy.
//! - I2: what is answered is synced.
//! - I3: a copy that a recovery asked for is closed, and stays closed to its owner.
//! - I4: a copy whose write or sync failed is closed; a new stream opens it again and finds out what is there.
//! - I5: the copies that are open are bounded, and one that its owner leaves is closed.
//! - I6: a copy that is being completed is written by nobody else. It is completed without the receiver, since that
//!   reads and writes all of it.
//! - I7: every stream of a log learns at once that a recovery has fenced a segment of the log.
//!
//! **Not here**: the stream itself; what a frame must be (the vault's `ReplicaSegment`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gophership_vault::ids::{EntryNumber, LogId, Lsn, SegmentId};
use gophership_vault::{
    CompleteCopy, CopyStore, FetchEntries, FrameFault, HeldReport, RecoveryNumber, ReplicaAck, ReplicaSegment,
    SegmentEnd, SegmentHeader, TailFrame, VaultError,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Held, StreamId, TailAnswer, TailRefusal};
use crate::limits::TAIL_COPIES_MAX;

/// A copy that a stream writes.
struct OpenCopy {
    stream: StreamId,
    copy: ReplicaSegment,
    /// The last entry that was answered on this stream.
    answered: Option<EntryNumber>,
    /// Its place among the copies that may be open.
    _place: OwnedSemaphorePermit,
}

/// A copy that has all of its segment, and is to be completed. Until [`TailReceiver::completed`] is told, its segment
/// is begun on no stream.
pub struct Completion {
    stream: StreamId,
    id: SegmentId,
    copy: ReplicaSegment,
    _place: OwnedSemaphorePermit,
}

impl Completion {
    /// The segment.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The stream that ended it.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Completes the copy, and gives the answer for its stream.
    pub fn run(self) -> (StreamId, SegmentId, TailAnswer) {
        let answer = match self.copy.complete() {
            Ok(digest) => TailAnswer::Completed(digest),
            Err(error) => TailAnswer::Refused(refusal(self.id, &error)),
        };
        (self.stream, self.id, answer)
    }
}

/// The copies of a node that streams write, of one log or of several. The calls are made one after the other.
pub struct TailReceiver {
    store: CopyStore,
    open: BTreeMap<SegmentId, OpenCopy>,
    /// The copies that are being completed.
    completing: BTreeSet<SegmentId>,
    /// The streams that have begun and are not gone.
    streams: BTreeSet<(LogId, StreamId)>,
    /// Answers that no message asked for.
    unasked: Vec<(StreamId, SegmentId, TailAnswer)>,
    places: Arc<Semaphore>,
}

impl TailReceiver {
    /// A receiver of the copies in this store.
    pub fn new(store: CopyStore) -> Self {
        Self::with_places(store, Arc::new(Semaphore::new(TAIL_COPIES_MAX)))
    }

    /// A receiver that shares the places for open copies with other receivers of the same store.
    pub fn with_places(store: CopyStore, places: Arc<Semaphore>) -> Self {
        Self {
            store,
            open: BTreeMap::new(),
            completing: BTreeSet::new(),
            streams: BTreeSet::new(),
            unasked: Vec::new(),
            places,
        }
    }

    /// Begins a segment on a stream, and answers with the part of it that is here.
    pub fn begin(&mut self, stream: StreamId, header: &SegmentHeader) -> TailAnswer {
        let id = header.id;
        self.streams.insert((id.log(), stream));
        if self.completing.contains(&id) || self.open.get(&id).is_some_and(|open| open.stream > stream) {
            // In the second case its owner does not listen to this stream any more.
            return TailAnswer::Refused(TailRefusal::Failed);
        }
        // It is opened anew: frames that the older stream wrote and did not sync may be there or not.
        self.open.remove(&id);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(segment = %id, "tail.copy.no_place");
            return TailAnswer::Refused(TailRefusal::Failed);
        };
        let opened = match self.store.promised(id) {
            Ok(0) => self.store.open(header.clone()),
            Ok(_) => return TailAnswer::Refused(TailRefusal::Fenced),
            Err(error) => Err(error),
        };
        match opened {
            Ok(copy) => {
                let held = copy.last_ack().map(|ack| Held {
                    last: last_of(ack),
                    frames: ack.frame_no + 1,
                });
                let answered = held.map(|held| held.last);
                let open = OpenCopy {
                    stream,
                    copy,
                    answered,
                    _place: place,
                };
                self.open.insert(id, open);
                TailAnswer::Has(held)
            }
            Err(error) => TailAnswer::Refused(refusal(id, &error)),
        }
    }

    /// Takes a frame. It is answered by [`Self::sync`]; an answer that comes at once is a refusal.
    pub fn frame(&mut self, stream: StreamId, frame: TailFrame<'_>) -> Option<TailAnswer> {
        let Some(open) = self.open.get_mut(&frame.id).filter(|open| open.stream == stream) else {
            return Some(self.closed(frame.id));
        };
        let error = open.copy.append(frame).err()?;
        self.open.remove(&frame.id);
        Some(TailAnswer::Refused(refusal(frame.id, &error)))
    }

    /// Syncs every frame that was taken, and gives the answers: the segments with their streams.
    pub fn sync(&mut self) -> Vec<(StreamId, SegmentId, TailAnswer)> {
        let mut answers = Vec::new();
        self.open.retain(|id, open| match open.copy.sync() {
            Ok(ack) => {
                let last = ack.map(last_of);
                if let Some(last) = last.filter(|_| last > open.answered) {
                    open.answered = Some(last);
                    answers.push((open.stream, *id, TailAnswer::Synced(last)));
                }
                true
            }
            Err(error) => {
                answers.push((open.stream, *id, TailAnswer::Refused(refusal(*id, &error))));
                false
            }
        });
        answers
    }

    /// Completes a segment, whose owner says that nothing follows and that this is the digest over all of it.
    pub fn complete(&mut self, stream: StreamId, id: SegmentId, digest: [u8; 32]) -> TailAnswer {
        match self.ends(stream, id, digest) {
            Ok(completion) => {
                let (_, _, answer) = completion.run();
                self.completing.remove(&id);
                answer
            }
            Err(answer) => answer,
        }
    }

    /// Ends a segment, whose owner says that nothing follows and that this is the digest over all of it: it is synced,
    /// and can be completed.
    ///
    /// # Errors
    /// The answer, where the copy cannot be completed.
    pub fn ends(&mut self, stream: StreamId, id: SegmentId, digest: [u8; 32]) -> Result<Completion, TailAnswer> {
        if self.open.get(&id).is_none_or(|open| open.stream != stream) {
            return Err(self.closed(id));
        }
        let Some(OpenCopy { mut copy, _place, .. }) = self.open.remove(&id) else {
            return Err(self.closed(id));
        };
        let synced = copy.sync().map_err(|e| TailAnswer::Refused(refusal(id, &e)))?;
        if synced.map_or_else(empty_digest, |ack| ack.digest) != digest {
            tracing::error!(segment = %id, "tail.copy.differs");
            return Err(TailAnswer::Refused(TailRefusal::Differs));
        }
        self.completing.insert(id);
        Ok(Completion {
            stream,
            id,
            copy,
            _place,
        })
    }

    /// Notes that a copy is complete, or could not be completed; [`Self::unasked`] has the answer for its stream.
    pub fn completed(&mut self, (stream, id, answer): (StreamId, SegmentId, TailAnswer)) {
        self.completing.remove(&id);
        if self.streams.contains(&(id.log(), stream)) {
            self.unasked.push((stream, id, answer));
        }
    }

    /// True while a copy is being completed.
    pub fn is_completing(&self, id: SegmentId) -> bool {
        self.completing.contains(&id)
    }

    /// Closes the copy of a segment of which its owner sends nothing more. What is here of it stays.
    pub fn leave(&mut self, stream: StreamId, id: SegmentId) {
        if self.open.get(&id).is_some_and(|open| open.stream == stream) {
            self.open.remove(&id);
        }
    }

    /// Gives the answers for a stream that no message asked for, once.
    pub fn unasked(&mut self, log: LogId, stream: StreamId) -> Vec<(SegmentId, TailAnswer)> {
        let is_its = |(of, id, _): &mut (StreamId, SegmentId, TailAnswer)| *of == stream && id.log() == log;
        let its = self.unasked.extract_if(.., is_its);
        its.map(|(_, id, answer)| (id, answer)).collect()
    }

    /// The answer to a stream that does not write a segment's copy, so that its owner does not wait for one: a recovery
    /// took the copy over, or a newer stream did.
    fn closed(&self, id: SegmentId) -> TailAnswer {
        let is_fenced = self.store.promised(id).is_ok_and(|number| number > 0);
        TailAnswer::Refused(if is_fenced {
            TailRefusal::Fenced
        } else {
            TailRefusal::Failed
        })
    }

    /// Closes the copies that a log's stream wrote: it is gone. Streams of other logs may have the same number.
    pub fn disconnected(&mut self, log: LogId, stream: StreamId) {
        self.open.retain(|id, open| id.log() != log || open.stream != stream);
        self.unasked.retain(|(of, id, _)| id.log() != log || *of != stream);
        self.streams.remove(&(log, stream));
    }

    /// Closes every copy, each of which a new stream opens again. After a panic in the midst of one, what is on the
    /// disk counts.
    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Promises to take nothing more of a segment from its owner and to obey no recovery below `number`. The copy is
    /// closed when this returns.
    ///
    /// # Errors
    /// [`VaultError::StaleRecovery`] when a higher number was promised; the promise cannot be written.
    pub fn promise(&mut self, id: SegmentId, number: RecoveryNumber) -> Result<(), VaultError> {
        self.store.fence(id, number)?;
        if cfg!(feature = "mutant-ignore-fence") {
            return Ok(());
        }
        self.open.remove(&id);
        for (_, stream) in self.streams.iter().filter(|(log, _)| *log == id.log()) {
            let fenced = (*stream, id, TailAnswer::Refused(TailRefusal::Fenced));
            if !self.unasked.contains(&fenced) {
                self.unasked.push(fenced);
            }
        }
        Ok(())
    }

    /// Promises as [`Self::promise`] does, and reports what is here, synced.
    ///
    /// # Errors
    /// As [`Self::promise`]; a file cannot be read or synced.
    pub fn fence(&mut self, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError> {
        self.promise(id, number)?;
        self.store.report(id)
    }

    /// Makes the copy of a segment anew, as a recovery decided.
    ///
    /// # Errors
    /// As [`CopyStore::rebuild`].
    pub fn rebuild(
        &mut self,
        header: &SegmentHeader,
        number: RecoveryNumber,
        end: &SegmentEnd,
        fetch: FetchEntries<'_>,
    ) -> Result<CompleteCopy, VaultError> {
        self.open.remove(&header.id);
        self.store.rebuild(header, number, end, fetch)
    }
}

fn last_of(ack: ReplicaAck) -> EntryNumber {
    Lsn::number(ack.last_lsn)
}

fn empty_digest() -> [u8; 32] {
    *blake3::Hasher::new().finalize().as_bytes()
}

/// The refusal that tells a segment's owner the consequence of an error for its stream.
fn refusal(id: SegmentId, error: &VaultError) -> TailRefusal {
    let refusal = match error {
        VaultError::FrameRefused { why, .. } => match why {
            FrameFault::Fenced => TailRefusal::Fenced,
            FrameFault::OtherCopy | FrameFault::Digest | FrameFault::Differs | FrameFault::Complete => {
                TailRefusal::Differs
            }
            FrameFault::Broken
            | FrameFault::Trimmed
            | FrameFault::DiskFull
            | FrameFault::OtherSegment
            | FrameFault::Crc
            | FrameFault::Damaged
            | FrameFault::NotNext => TailRefusal::Failed,
        },
        VaultError::StaleRecovery { .. } => TailRefusal::Fenced,
        _ => TailRefusal::Failed,
    };
    tracing::warn!(segment = %id, %error, "tail.copy.refused");
    refusal
}

#[cfg(test)]
mod tests {
    use gophership_vault::Tenant;
    use gophership_vault::ids::{ClusterId, Epoch, FileUuid, NodeId, SegmentIndex, ShardId};
    use uuid::Uuid;

    use super::*;

    fn header(node: u32) -> SegmentHeader {
        let id = SegmentId {
            node: NodeId::new(node).unwrap(),
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        SegmentHeader {
            id,
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(Uuid::from_u128(u128::from(node))),
            cluster_id: ClusterId(Uuid::nil()),
            created_ns: 1,
            tenants: vec![Tenant::default_tenant()],
        }
    }

    #[test]
    fn the_end_of_a_stream_leaves_copies_of_other_owners_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = CopyStore::in_folder(folder.path(), NodeId::new(9).unwrap()).unwrap();
        let mut receiver = TailReceiver::new(store);
        let (stream, [first, second]) = (StreamId::new(Epoch::FIRST, 1), [header(1), header(2)]);
        for header in [&first, &second] {
            assert_eq!(receiver.begin(stream, header), TailAnswer::Has(None));
        }
        receiver.disconnected(first.id.log(), stream);
        let empty = empty_digest();
        let failed = TailAnswer::Refused(TailRefusal::Failed);
        assert_eq!(receiver.complete(stream, first.id, empty), failed);
        assert_eq!(
            receiver.complete(stream, second.id, empty),
            TailAnswer::Completed(empty)
        );
    }

    #[test]
    fn the_late_end_of_a_stream_of_an_earlier_boot_leaves_those_of_the_next_one_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = CopyStore::in_folder(folder.path(), NodeId::new(9).unwrap()).unwrap();
        let mut receiver = TailReceiver::new(store);
        // A boot numbers its streams from the same number on as the one before it.
        let [before, now] = [1, 2].map(|epoch| StreamId::new(Epoch::new(epoch).unwrap(), 1));
        let header = header(1);
        assert_eq!(receiver.begin(before, &header), TailAnswer::Has(None));
        assert_eq!(receiver.begin(now, &header), TailAnswer::Has(None));
        let failed = TailAnswer::Refused(TailRefusal::Failed);
        assert_eq!(
            receiver.begin(before, &header),
            failed,
            "an earlier boot takes nothing over"
        );
        receiver.disconnected(header.id.log(), before);
        let empty = empty_digest();
        assert_eq!(receiver.complete(now, header.id, empty), TailAnswer::Completed(empty));
    }

    #[test]
    fn what_comes_for_a_fenced_copy_is_refused_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let store = CopyStore::in_folder(folder.path(), NodeId::new(9).unwrap()).unwrap();
        let mut receiver = TailReceiver::new(store);
        let (stream, header) = (StreamId::new(Epoch::FIRST, 1), header(1));
        receiver.begin(stream, &header);
        assert!(!receiver.fence(header.id, 1).unwrap().is_damaged);
        let fenced = TailAnswer::Refused(TailRefusal::Fenced);
        assert_eq!(receiver.complete(stream, header.id, empty_digest()), fenced);
        assert_eq!(receiver.begin(StreamId::new(Epoch::FIRST, 2), &header), fenced);
    }
}

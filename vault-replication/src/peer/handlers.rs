//! Those to whom the server gives what peers ask for.

use std::sync::Arc;

use gophership_proto::control::v1::{ListSegmentsReply, NodeReport, SegmentDetail, VerifyProgress};
use gophership_vault::ids::{EntryNumber, LogId, Lsn, NodeId, SegmentId};
use gophership_vault::time::TimeRange;
use gophership_vault::{CompleteCopy, HeldReport, RecoveryNumber, SegmentEnd, SegmentHeader, StoredEntry, VaultError};
use tokio::sync::watch;
use tonic::Status;

use super::wire::tail::TailMessage;
use crate::consensus::network::PeerReceiver;
use crate::tail::{StreamId, TailAnswer};

/// Takes the tail streams of peers. Its calls may block, and come from threads for such calls.
pub trait TailHandler: Send + Sync + 'static {
    /// Takes all that came on a stream of a log since the last call, in order, and gives the answers for it. The calls
    /// of one stream come one after the other; every message is about a segment of that log, of which the caller is the
    /// owner, and each segment began on that stream.
    fn take(&self, log: LogId, stream: StreamId, messages: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)>;

    /// Changes when a stream of a log may have an answer that no message asked for: [`Self::take`] is called then, with
    /// no message. `None` where that never happens. It is asked for before the stream's first messages are taken.
    fn unasked(&self, _log: LogId) -> Option<watch::Receiver<()>> {
        None
    }

    /// Notes that a stream is gone. No call for it follows.
    fn disconnected(&self, log: LogId, stream: StreamId);
}

/// Takes part in recoveries that peers lead. Its calls may block, come from threads for such calls, and may come
/// together.
pub trait RecoveryHandler: Send + Sync + 'static {
    /// Fences a segment for a recovery, and reports what is held of it.
    ///
    /// # Errors
    /// [`VaultError::StaleRecovery`] when a later recovery is obeyed; a file cannot be read, written or synced.
    fn fence(&self, from: NodeId, id: SegmentId, number: RecoveryNumber) -> Result<HeldReport, VaultError>;

    /// Makes the copy of a segment anew, as a recovery decided.
    ///
    /// # Errors
    /// As [`RecoveryHandler::fence`]; an entry cannot be had.
    fn rebuild(
        &self,
        from: NodeId,
        header: SegmentHeader,
        number: RecoveryNumber,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError>;

    /// Gives the entries `first..=last` of a segment to `take`, in order, until that is false.
    ///
    /// # Errors
    /// One of them is not here, or cannot be read.
    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError>;
}

/// Something that was found while a log was read for a replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplayFound {
    /// An entry.
    Entry(StoredEntry),
    /// What is missing, in the words of whoever reads logs.
    Missing(Vec<u8>),
}

/// The reading of one log for a peer.
pub struct ReplayReading<'a> {
    /// A part of a plan.
    pub part: &'a [u8],
    /// The time range.
    pub time: TimeRange,
    /// The last entry that the peer has.
    pub done: Option<Lsn>,
    /// False once the peer is gone.
    pub wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Reads logs for replays that peers run. Its calls may block, come from threads for such calls, and may come together.
pub trait ReplayHandler: Send + Sync + 'static {
    /// The logs that this node writes, each with its present end, in the words of whoever reads logs.
    ///
    /// # Errors
    /// The reason for which none can be read now.
    fn plan(&self, time: TimeRange) -> Result<Vec<Vec<u8>>, String>;

    /// Reads a part of a plan behind its `done`, in order, and gives what it finds to `take`, until that is false.
    /// Where it must wait, it ends when nobody wants more.
    ///
    /// # Errors
    /// The reason for which it cannot be read now.
    fn read(&self, reading: ReplayReading<'_>, take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String>;
}

/// The messages of a verification.
pub type Verification = futures_util::stream::BoxStream<'static, Result<VerifyProgress, Status>>;

/// Answers what an operator asked of a peer. Its calls may block but for `verify`, and may come together.
pub trait OperateHandler: Send + Sync + 'static {
    /// What this node says of itself.
    ///
    /// # Errors
    /// It cannot say now.
    fn report(&self) -> Result<NodeReport, Status>;

    /// Those of these segments that are held here.
    ///
    /// # Errors
    /// It cannot say now.
    fn holdings(&self, ids: &[SegmentId]) -> Result<ListSegmentsReply, Status>;

    /// One segment, read from its file.
    ///
    /// # Errors
    /// It is not held here, or cannot be read.
    fn describe(&self, id: SegmentId) -> Result<SegmentDetail, Status>;

    /// Verifies the copy that is held here. It is called on a runtime, and does not wait.
    ///
    /// # Errors
    /// Too many are under way.
    fn verify(&self, id: SegmentId) -> Result<Verification, Status>;
}

/// All that a node needs whatever it is.
#[derive(Clone)]
pub struct Handlers {
    /// Messages of consensus.
    pub consensus: Arc<dyn PeerReceiver>,
    /// Tail streams.
    pub tail: Arc<dyn TailHandler>,
    /// Recoveries.
    pub recovery: Arc<dyn RecoveryHandler>,
    /// Replays.
    pub replay: Arc<dyn ReplayHandler>,
}

//! Segments, as lists show them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{segment_name, some_text, some_time};
use crate::control::v1::{
    AcceptedLoss, HolderState, ListSegmentsReply, SegmentHolder, SegmentState, SegmentSummary, TimeRange,
};

/// Segments, in the order of node, shard and index.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SegmentList {
    /// The segments.
    pub segments: Vec<SegmentView>,
    /// The last segment of a page, where others follow: what to ask for those behind. Null on the last page.
    pub next: Option<String>,
}

/// A segment, as lists show it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SegmentView {
    /// Its name: the node that owns it, the shard, the index.
    pub segment: String,
    /// `open`, `recovering`, `sealed`, `lost` or `unreadable`.
    pub state: &'static str,
    /// The boot that wrote it.
    pub epoch: Option<u64>,
    /// Entries in it.
    pub entries: Option<u64>,
    /// Records in them, those of deferred entries not counted.
    pub records: Option<u64>,
    /// Entries kept as received.
    pub deferred_entries: Option<u64>,
    /// Payload bytes.
    pub plain_bytes: Option<u64>,
    /// Bytes of its file.
    pub stored_bytes: Option<u64>,
    /// Received times of its entries.
    pub received: Option<RangeView>,
    /// Event times of its records.
    pub event: Option<RangeView>,
    /// Time at which it was sealed.
    pub sealed_unix_nano: Option<u64>,
    /// BLAKE3 over its entries.
    pub digest: Option<String>,
    /// The nodes on record as holding it.
    pub replicas: Vec<u32>,
    /// The same nodes, and whether each has it; empty where that was not asked for.
    pub holders: Vec<HolderView>,
    /// Damaged ranges in all copies, as far as their nodes answered.
    pub bad_ranges: u32,
    /// Set where an operator had its recovery end with a loss.
    pub accepted_loss: Option<AcceptedLossView>,
    /// Set where an operator accepted the loss of what no holder of the sealed segment can read: readers pass it.
    pub copies_given_up: Option<AcceptedLossView>,
    /// The losses of its recovery that were accepted before `accepted_loss`, oldest first.
    pub earlier_accepted_losses: Vec<AcceptedLossView>,
    /// The losses that were accepted before `copies_given_up`, oldest first.
    pub earlier_copies_given_up: Vec<AcceptedLossView>,
}

/// An operator accepted that entries of a segment are lost.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct AcceptedLossView {
    /// The operator.
    pub by: String,
    /// Time at which the loss was accepted.
    pub at_unix_nano: u64,
    /// What the recovery waited for; of a sealed segment what is wrong with each copy.
    pub passed_over: String,
}

/// A node on record as holding a segment.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct HolderView {
    /// Its number.
    pub node: u32,
    /// `has`, `missing`, `unreadable` where its disk does not give all of it, `damaged` where it is not what was
    /// sealed, or `unknown` where the node did not answer.
    pub state: &'static str,
    /// Ranges of its copy, or of the log that it was made of, that were found damaged.
    pub bad_ranges: u32,
    /// What is wrong with the copy of a sealed segment.
    pub why: Option<String>,
    /// Time at which that was found first.
    pub since_unix_nano: Option<u64>,
}

/// A span of time.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct RangeView {
    /// Least time.
    pub first_unix_nano: u64,
    /// Greatest time.
    pub last_unix_nano: u64,
}

impl From<TimeRange> for RangeView {
    fn from(range: TimeRange) -> Self {
        Self {
            first_unix_nano: range.first_unix_nano,
            last_unix_nano: range.last_unix_nano,
        }
    }
}

impl From<SegmentHolder> for HolderView {
    fn from(holder: SegmentHolder) -> Self {
        let state = match holder.state() {
            HolderState::Unspecified => "unknown",
            HolderState::Has => "has",
            HolderState::Missing => "missing",
            HolderState::Unreadable => "unreadable",
            HolderState::Damaged => "damaged",
        };
        Self {
            node: holder.node,
            state,
            bad_ranges: holder.bad_ranges,
            why: some_text(holder.why),
            since_unix_nano: some_time(holder.since_unix_nano),
        }
    }
}

impl From<SegmentSummary> for SegmentView {
    fn from(summary: SegmentSummary) -> Self {
        let sealed = summary.sealed_unix_nano > 0;
        let known = |n: u64| sealed.then_some(n);
        let digest: String = summary.digest.iter().map(|b| format!("{b:02x}")).collect();
        Self {
            segment: segment_name(summary.segment.unwrap_or_default()),
            state: state_name(summary.state()),
            epoch: Some(summary.epoch).filter(|epoch| *epoch > 0),
            // An open segment reports its entries once it has some.
            entries: (sealed || summary.entries > 0).then_some(summary.entries),
            records: known(summary.records),
            deferred_entries: known(summary.deferred_entries),
            plain_bytes: known(summary.plain_bytes),
            stored_bytes: known(summary.stored_bytes),
            received: summary.received.map(RangeView::from),
            event: summary.event.map(RangeView::from),
            sealed_unix_nano: known(summary.sealed_unix_nano),
            digest: Some(digest).filter(|digest| !digest.is_empty()),
            replicas: summary.replicas,
            holders: summary.holders.into_iter().map(HolderView::from).collect(),
            bad_ranges: summary.bad_ranges,
            accepted_loss: summary.accepted_loss.map(AcceptedLossView::from),
            copies_given_up: summary.copies_given_up.map(AcceptedLossView::from),
            earlier_accepted_losses: views(summary.earlier_accepted_losses),
            earlier_copies_given_up: views(summary.earlier_copies_given_up),
        }
    }
}

fn views(losses: Vec<AcceptedLoss>) -> Vec<AcceptedLossView> {
    losses.into_iter().map(AcceptedLossView::from).collect()
}

impl From<AcceptedLoss> for AcceptedLossView {
    fn from(loss: AcceptedLoss) -> Self {
        Self {
            by: loss.by,
            at_unix_nano: loss.at_unix_nano,
            passed_over: loss.passed_over,
        }
    }
}

impl From<ListSegmentsReply> for SegmentList {
    fn from(page: ListSegmentsReply) -> Self {
        Self {
            segments: page.segments.into_iter().map(SegmentView::from).collect(),
            next: page.next.map(segment_name),
        }
    }
}

fn state_name(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Unspecified => "unknown",
        SegmentState::Open => "open",
        SegmentState::Recovering => "recovering",
        SegmentState::Sealed => "sealed",
        SegmentState::Archived => "archived",
        SegmentState::Trimmed => "trimmed",
        SegmentState::Lost => "lost",
        SegmentState::Unreadable => "unreadable",
    }
}

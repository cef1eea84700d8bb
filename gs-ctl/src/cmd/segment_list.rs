//! `gs-ctl segment list`, and the commands that answer with such a list too: `segment forget` with one segment,
//! `segment seal` with those that it sealed.

use gophership_proto::control::v1::{
    ForgetSegmentRequest, ListSegmentsRequest, SealSegmentsRequest, SegmentRef, SegmentState, SegmentSummary, TimeRange,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::format::Format;
use crate::arg::segment_name::SegmentName;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, or_dash};

/// A segment, as lists show it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SegmentView {
    pub(crate) segment: String,
    pub(crate) state: &'static str,
    pub(crate) epoch: Option<u64>,
    pub(crate) entries: Option<u64>,
    pub(crate) records: Option<u64>,
    deferred_entries: Option<u64>,
    pub(crate) plain_bytes: Option<u64>,
    pub(crate) stored_bytes: Option<u64>,
    received: Option<RangeView>,
    pub(crate) event: Option<RangeView>,
    pub(crate) sealed_unix_nano: Option<u64>,
    pub(crate) digest: Option<String>,
    replicas: Vec<u32>,
    pub(crate) bad_ranges: u32,
}

/// A span of time.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct RangeView {
    pub(crate) first_unix_nano: u64,
    pub(crate) last_unix_nano: u64,
}

impl From<TimeRange> for RangeView {
    fn from(range: TimeRange) -> Self {
        Self {
            first_unix_nano: range.first_unix_nano,
            last_unix_nano: range.last_unix_nano,
        }
    }
}

impl From<SegmentSummary> for SegmentView {
    fn from(summary: SegmentSummary) -> Self {
        let name = summary.segment.unwrap_or_default();
        let sealed = summary.sealed_unix_nano > 0;
        let known = |n: u64| sealed.then_some(n);
        Self {
            segment: format!("{}/{}/{}", name.node, name.shard, name.index),
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
            digest: (!summary.digest.is_empty()).then(|| human::hex(&summary.digest)),
            replicas: summary.replicas,
            bad_ranges: summary.bad_ranges,
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

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SegmentList {
    segments: Vec<SegmentView>,
}

impl Answer for SegmentList {
    fn table(&self) -> String {
        let mut table = Table::new(&[
            "SEGMENT",
            "STATE",
            ">EPOCH",
            ">RECORDS",
            ">ENTRIES",
            ">PLAIN",
            ">STORED",
            "FIRST EVENT",
            "LAST EVENT",
            ">BAD",
        ]);
        for s in &self.segments {
            table.row(vec![
                s.segment.clone(),
                s.state.to_owned(),
                or_dash(s.epoch),
                or_dash(s.records.map(human::count)),
                or_dash(s.entries.map(human::count)),
                or_dash(s.plain_bytes.map(human::bytes)),
                or_dash(s.stored_bytes.map(human::bytes)),
                human::time(s.event.map(|e| e.first_unix_nano)),
                human::time(s.event.map(|e| e.last_unix_nano)),
                s.bad_ranges.to_string(),
            ]);
        }
        table.text()
    }
}

/// Lists all pages.
pub(crate) async fn list(node: &mut Client, shard: Option<u32>, format: Format) -> anyhow::Result<Outcome> {
    let mut segments = Vec::new();
    let mut after = None;
    loop {
        let page = node
            .list_segments(ListSegmentsRequest { shard, limit: 0, after })
            .await
            .map_err(|e| refused(&e))?
            .into_inner();
        segments.extend(page.segments.into_iter().map(SegmentView::from));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    print(&SegmentList { segments }, format)?;
    Ok(Outcome::Done)
}

/// Makes the node give up a segment that cannot be read.
pub(crate) async fn forget(
    node: &mut Client,
    name: SegmentName,
    accept_loss: bool,
    format: Format,
) -> anyhow::Result<Outcome> {
    let segment = SegmentRef {
        node: name.node,
        shard: name.shard,
        index: name.index,
    };
    let asked = ForgetSegmentRequest {
        segment: Some(segment),
        accept_loss,
    };
    let summary = node.forget_segment(asked).await.map_err(|e| refused(&e))?.into_inner();
    let segments = vec![SegmentView::from(summary)];
    print(&SegmentList { segments }, format)?;
    Ok(Outcome::Done)
}

/// Makes the node seal the segments that take entries now.
pub(crate) async fn seal(node: &mut Client, shard: Option<u32>, format: Format) -> anyhow::Result<Outcome> {
    let answer = node.seal_segments(SealSegmentsRequest { shard }).await;
    let sealed = answer.map_err(|e| refused(&e))?.into_inner().segments;
    let segments: Vec<SegmentView> = sealed.into_iter().map(SegmentView::from).collect();
    if segments.is_empty() {
        eprintln!("gs-ctl: there was nothing to seal: every entry is in a sealed segment");
    }
    print(&SegmentList { segments }, format)?;
    Ok(Outcome::Done)
}

//! `gs-ctl segment list`, and the commands that answer with such a list too: `segment forget` with one segment,
//! `segment seal` with those that it sealed.

use std::time::Duration;

use gophership_proto::control::v1::{ForgetSegmentRequest, ListSegmentsRequest, SealSegmentsRequest, SegmentRef};
use gophership_proto::view::segment::{HolderView, RangeView, SegmentList, SegmentView};

use crate::arg::format::Format;
use crate::arg::segment_name::SegmentName;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, or_dash};

impl Answer for SegmentList {
    fn table(&self) -> String {
        let mut table = Table::new(&[
            "SEGMENT",
            "STATE",
            "HOLDERS",
            ">RECORDS",
            ">STORED",
            "FIRST EVENT",
            ">SPAN",
        ]);
        for s in &self.segments {
            let span = |e: RangeView| e.last_unix_nano.saturating_sub(e.first_unix_nano);
            table.row(vec![
                s.segment.clone(),
                state(s).to_owned(),
                holders(&s.holders),
                or_dash(s.records.map(human::count)),
                or_dash(s.stored_bytes.map(human::bytes)),
                human::time(s.event.map(|e| e.first_unix_nano)),
                or_dash(s.event.map(|e| human::span(Duration::from_nanos(span(e))))),
            ]);
        }
        table.text()
    }

    fn wide(&self) -> String {
        let mut table = Table::new(&[
            "SEGMENT",
            "STATE",
            "HOLDERS",
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
                state(s).to_owned(),
                holders(&s.holders),
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

/// The state of a segment; a sealed one that no holder can read is shown as given up once that loss is accepted.
fn state(segment: &SegmentView) -> &str {
    match segment.copies_given_up {
        Some(_) if segment.state == "sealed" => "given up",
        Some(_) | None => segment.state,
    }
}

/// The numbers of the holders, each with what is wrong with its copy.
pub(super) fn holders(holders: &[HolderView]) -> String {
    let holder = |holder: &HolderView| match holder.state {
        "has" => holder.node.to_string(),
        "unknown" => format!("{} ?", holder.node),
        state => format!("{} {}", holder.node, state.to_uppercase()),
    };
    let holders: Vec<String> = holders.iter().map(holder).collect();
    or_dash(Some(holders.join(", ")).filter(|all| !all.is_empty()))
}

/// Lists all pages.
pub(crate) async fn list(
    node: &mut Client,
    shard: Option<u32>,
    lacking: bool,
    format: Format,
) -> anyhow::Result<Outcome> {
    let mut segments = Vec::new();
    let mut after = None;
    loop {
        let page = node
            .list_segments(ListSegmentsRequest {
                shard,
                limit: 0,
                after,
                lacking,
            })
            .await
            .map_err(|e| refused(&e))?
            .into_inner();
        segments.extend(page.segments.into_iter().map(SegmentView::from));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    print(&SegmentList { segments, next: None }, format)?;
    Ok(Outcome::Done)
}

/// Has the node accept the loss of a segment that cannot be read.
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
    print(&SegmentList { segments, next: None }, format)?;
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
    print(&SegmentList { segments, next: None }, format)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use gophership_proto::control::v1::{
        AcceptedLoss, HolderState, SegmentHolder, SegmentState, SegmentSummary, TimeRange,
    };

    use super::*;

    #[test]
    fn each_holder_is_named_with_what_is_wrong_with_its_copy() {
        let holder = |node, state, bad_ranges| HolderView {
            node,
            state,
            bad_ranges,
            why: None,
            since_unix_nano: None,
        };
        let all = [
            holder(1, "has", 0),
            holder(2, "damaged", 3),
            holder(3, "missing", 0),
            holder(4, "unknown", 0),
            holder(5, "unreadable", 1),
        ];
        assert_eq!(holders(&all), "1, 2 DAMAGED, 3 MISSING, 4 ?, 5 UNREADABLE");
        assert_eq!(holders(&[]), "-");
    }

    #[test]
    fn a_list_fits_100_columns_where_copies_are_missing() {
        let holder = |node, state: HolderState| SegmentHolder {
            node,
            state: state.into(),
            ..SegmentHolder::default()
        };
        let summary = SegmentSummary {
            segment: Some(SegmentRef {
                node: 12,
                shard: 3,
                index: 12_345,
            }),
            state: SegmentState::Sealed.into(),
            records: 1_234_567,
            stored_bytes: 63 << 20,
            event: Some(TimeRange {
                first_unix_nano: 1_700_000_000_000_000_000,
                last_unix_nano: 1_700_008_700_000_000_000,
            }),
            holders: vec![
                holder(12, HolderState::Has),
                holder(13, HolderState::Missing),
                holder(14, HolderState::Unspecified),
            ],
            ..SegmentSummary::default()
        };
        let segments = vec![SegmentView::from(summary.clone())];
        let list = SegmentList { segments, next: None };
        let table = list.table();
        assert!(
            table.contains("12, 13 MISSING, 14 ?") && table.contains("2 h 25 min"),
            "{table}"
        );
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert!(list.wide().contains("LAST EVENT"));
        assert!(!table.contains("given up"), "{table}");

        let given_up = SegmentSummary {
            copies_given_up: Some(AcceptedLoss::default()),
            ..summary
        };
        let segments = vec![SegmentView::from(given_up)];
        let table = SegmentList { segments, next: None }.table();
        assert!(table.contains("given up") && !table.contains("sealed"), "{table}");
    }
}

//! `gs-ctl segment describe`.

use gophership_proto::control::v1::{BlockDetail, SegmentDetail, SegmentRef, VoidRange, VoidReason};
use gophership_proto::view::segment::{RangeView, SegmentView};
use gophership_proto::view::some_time;
use schemars::JsonSchema;
use serde::Serialize;

use super::segment_list::holders;
use crate::arg::format::Format;
use crate::arg::segment_name::SegmentName;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, or_dash, pairs};

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DetailView {
    #[serde(flatten)]
    summary: SegmentView,
    format: u32,
    /// Its file; null while it is not sealed.
    path: Option<String>,
    /// The node that holds this file, or the WAL file of a segment that is not sealed.
    node: u32,
    file_uuid: Option<String>,
    cluster_id: Option<String>,
    created_unix_nano: Option<u64>,
    tenants: Vec<TenantView>,
    set_apart_entries: u64,
    blocks: Vec<BlockView>,
    voids: Vec<VoidView>,
    bad: Vec<BadView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TenantView {
    number: u32,
    name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BlockView {
    block: u32,
    offset: u64,
    stored_bytes: u64,
    plain_bytes: u64,
    entries: u32,
    records: u64,
    first_number: u32,
    event: Option<RangeView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct VoidView {
    first_number: u32,
    last_number: u32,
    reason: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BadView {
    offset: u64,
    length_bytes: u64,
    reason: String,
    found_unix_nano: Option<u64>,
}

impl From<SegmentDetail> for DetailView {
    fn from(detail: SegmentDetail) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            summary: SegmentView::from(detail.summary.unwrap_or_default()),
            format: detail.format,
            path: some(detail.path),
            node: detail.node,
            file_uuid: some(detail.file_uuid),
            cluster_id: some(detail.cluster_id),
            created_unix_nano: some_time(detail.created_unix_nano),
            tenants: detail
                .tenants
                .into_iter()
                .map(|t| TenantView {
                    number: t.number,
                    name: t.name,
                })
                .collect(),
            set_apart_entries: detail.set_apart_entries,
            blocks: detail.blocks.into_iter().map(block).collect(),
            voids: detail.voids.into_iter().map(void).collect(),
            bad: detail
                .bad
                .into_iter()
                .map(|b| BadView {
                    offset: b.offset,
                    length_bytes: b.length_bytes,
                    reason: b.reason,
                    found_unix_nano: some_time(b.found_unix_nano),
                })
                .collect(),
        }
    }
}

fn block(block: BlockDetail) -> BlockView {
    BlockView {
        block: block.block_no,
        offset: block.offset,
        stored_bytes: block.stored_bytes,
        plain_bytes: block.plain_bytes,
        entries: block.entries,
        records: block.records,
        first_number: block.first_number,
        event: block.event.map(RangeView::from),
    }
}

fn void(void: VoidRange) -> VoidView {
    let reason = match void.reason() {
        VoidReason::Unspecified => "unknown",
        VoidReason::UnsyncedTail => "unsynced_tail",
        VoidReason::Quarantined => "quarantined",
    };
    VoidView {
        first_number: void.first_number,
        last_number: void.last_number,
        reason,
    }
}

impl DetailView {
    fn head(&self) -> String {
        let mut rows = self.on_record();
        match &self.path {
            Some(path) => rows.extend(self.in_file(path)),
            None => {
                let entries = human::count(self.summary.entries.unwrap_or(0));
                let holds = format!("{entries} entries, in a WAL file of node {}", self.node);
                rows.push(("Holds", holds));
            }
        }
        pairs(&rows)
    }

    /// Rows of what the cluster has on record.
    fn on_record(&self) -> Vec<(&'static str, String)> {
        let s = &self.summary;
        let mut rows = vec![
            ("Segment", s.segment.clone()),
            ("State", s.state.to_owned()),
            ("Epoch", or_dash(s.epoch)),
            ("Holders", holders(&s.holders)),
        ];
        for holder in &s.holders {
            if let Some(why) = &holder.why {
                let since = human::time(holder.since_unix_nano);
                rows.push((
                    "Bad copy",
                    format!("{} on node {}, found {since}: {why}", holder.state, holder.node),
                ));
            }
        }
        for loss in s.earlier_accepted_losses.iter().chain(&s.accepted_loss) {
            let (at, over) = (human::time(Some(loss.at_unix_nano)), &loss.passed_over);
            rows.push(("Loss accepted", format!("by {}, {at}: it waited for {over}", loss.by)));
        }
        for loss in s.earlier_copies_given_up.iter().chain(&s.copies_given_up) {
            let (at, over) = (human::time(Some(loss.at_unix_nano)), &loss.passed_over);
            let what = format!("by {}, {at}, where no holder can read it: {over}", loss.by);
            rows.push(("Given up", what));
        }
        rows
    }

    /// Rows of what the file at `path` says.
    fn in_file(&self, path: &str) -> Vec<(&'static str, String)> {
        let s = &self.summary;
        let (plain, stored) = (s.plain_bytes.unwrap_or(0), s.stored_bytes.unwrap_or(0));
        let records = human::count(s.records.unwrap_or(0));
        let entries = human::count(s.entries.unwrap_or(0));
        let apart = human::count(self.set_apart_entries);
        let event = s.event.map_or_else(
            || "-".to_owned(),
            |e| {
                let first = human::time(e.first_unix_nano);
                format!("{first} to {}", human::time(e.last_unix_nano))
            },
        );
        let tenants: Vec<String> = self
            .tenants
            .iter()
            .map(|t| format!("{} {}", t.number, t.name))
            .collect();
        vec![
            ("File", format!("{path} on node {}", self.node)),
            ("Format", self.format.to_string()),
            ("Holds", format!("{records} records in {entries} entries")),
            ("Set apart", format!("{apart} entries, not in what `lz4 -dc` prints")),
            ("Plain", human::bytes(plain)),
            (
                "Stored",
                format!("{} ({})", human::bytes(stored), human::percent(stored, plain)),
            ),
            ("Events", event),
            ("Created", human::time(self.created_unix_nano)),
            ("Sealed", human::time(s.sealed_unix_nano)),
            ("BLAKE3", or_dash(s.digest.as_ref())),
            ("WAL file", or_dash(self.file_uuid.as_ref())),
            ("Cluster", or_dash(self.cluster_id.as_ref())),
            ("Tenants", tenants.join(", ")),
        ]
    }
}

impl Answer for DetailView {
    fn table(&self) -> String {
        let mut text = self.head();
        if self.path.is_none() {
            return text;
        }
        for void in &self.voids {
            text += &format!(
                "Missing  entries {} to {}: {}\n",
                void.first_number, void.last_number, void.reason
            );
        }
        for bad in &self.bad {
            text += &format!(
                "Bad      {} bytes at offset {}: {}\n",
                bad.length_bytes, bad.offset, bad.reason
            );
        }
        let mut table = Table::new(&[
            ">BLOCK",
            ">OFFSET",
            ">STORED",
            ">PLAIN",
            ">ENTRIES",
            ">RECORDS",
            ">FIRST",
            "FIRST EVENT",
            "LAST EVENT",
        ]);
        for b in &self.blocks {
            table.row(vec![
                b.block.to_string(),
                b.offset.to_string(),
                human::bytes(b.stored_bytes),
                human::bytes(b.plain_bytes),
                human::count(b.entries.into()),
                human::count(b.records),
                b.first_number.to_string(),
                b.event
                    .map_or_else(|| "-".to_owned(), |e| human::time(e.first_unix_nano)),
                b.event
                    .map_or_else(|| "-".to_owned(), |e| human::time(e.last_unix_nano)),
            ]);
        }
        format!("{text}\n{}", table.text())
    }
}

/// Shows one segment.
pub(crate) async fn describe(node: &mut Client, name: SegmentName, format: Format) -> anyhow::Result<Outcome> {
    let asked = SegmentRef {
        node: name.node,
        shard: name.shard,
        index: name.index,
    };
    let detail = node
        .describe_segment(asked)
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    print(&DetailView::from(detail), format)?;
    Ok(Outcome::Done)
}

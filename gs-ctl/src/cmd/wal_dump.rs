//! `gs-ctl wal dump`: the content of a WAL file, read without a node.

use std::path::Path;

use gophership_vault::dump::{self, WalDump};
use gophership_vault::entry::{Encoding, EntryState};
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::format::Format;
use crate::out::human;
use crate::out::outcome::Outcome;
use crate::out::output::{Answer, print};
use crate::out::table::{Table, pairs};

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DumpView {
    segment: String,
    epoch: u64,
    file_uuid: String,
    cluster_id: String,
    created_unix_nano: u64,
    file_bytes: u64,
    /// Where the last valid entry or idle mark ends.
    end_offset: u64,
    /// The highest entry number of this segment that a mark in it calls durable.
    durable_number: Option<u32>,
    entries: Vec<EntryView>,
    missing: Vec<MissingView>,
    /// Whether something is missing that was durable.
    damaged: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EntryView {
    lsn: String,
    bytes: u32,
    records: u32,
    received_unix_nano: u64,
    first_event_unix_nano: u64,
    last_event_unix_nano: u64,
    durable_lsn: Option<String>,
    tenant: u32,
    encoding: &'static str,
    deferred: bool,
    not_utf8: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MissingView {
    offset: u64,
    length_bytes: u64,
    first_number: Option<u32>,
    last_number: Option<u32>,
}

impl From<WalDump> for DumpView {
    fn from(dump: WalDump) -> Self {
        let durable = dump.durable.map_or(0, |n| n.get());
        Self {
            segment: dump.id.to_string(),
            epoch: dump.epoch.get(),
            file_uuid: dump.file_uuid.0.to_string(),
            cluster_id: dump.cluster_id.0.to_string(),
            created_unix_nano: dump.created_ns,
            file_bytes: dump.file_bytes,
            end_offset: dump.end,
            durable_number: dump.durable.map(|n| n.get()),
            damaged: dump
                .missing
                .iter()
                .any(|m| m.numbers.is_some_and(|(first, _)| first.get() <= durable)),
            entries: dump.entries.iter().map(entry).collect(),
            missing: dump
                .missing
                .iter()
                .map(|m| MissingView {
                    offset: m.offset,
                    length_bytes: m.len,
                    first_number: m.numbers.map(|(first, _)| first.get()),
                    last_number: m.numbers.map(|(_, last)| last.get()),
                })
                .collect(),
        }
    }
}

fn entry(entry: &dump::WalEntry) -> EntryView {
    let meta = &entry.meta;
    EntryView {
        lsn: entry.lsn.to_string(),
        bytes: entry.payload_len,
        records: meta.record_count,
        received_unix_nano: meta.received_ns,
        first_event_unix_nano: meta.min_event_ns,
        last_event_unix_nano: meta.max_event_ns,
        durable_lsn: entry.durable.map(|lsn| lsn.to_string()),
        tenant: meta.tenant.get(),
        encoding: match meta.encoding {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
            Encoding::Deflate => "deflate",
        },
        deferred: meta.state.contains(EntryState::DEFERRED),
        not_utf8: meta.state.contains(EntryState::NOT_UTF8),
    }
}

impl Answer for DumpView {
    fn table(&self) -> String {
        let durable = self
            .durable_number
            .map_or_else(|| "nothing".to_owned(), |n| format!("up to entry {n}"));
        let mut text = pairs(&[
            ("Segment", self.segment.clone()),
            ("Epoch", self.epoch.to_string()),
            (
                "File",
                format!(
                    "{}, used up to offset {}",
                    human::bytes(self.file_bytes),
                    self.end_offset
                ),
            ),
            ("File uuid", self.file_uuid.clone()),
            ("Cluster", self.cluster_id.clone()),
            ("Created", human::time(self.created_unix_nano)),
            ("Durable", format!("{durable}, by the marks in this file")),
            ("Entries", human::count(self.entries.len() as u64)),
        ]);
        for m in &self.missing {
            let numbers = m.first_number.zip(m.last_number).map_or_else(
                || "no entry".to_owned(),
                |(first, last)| format!("entries {first} to {last}"),
            );
            text += &format!(
                "Missing    {numbers}: {} bytes at offset {} are no entry\n",
                m.length_bytes, m.offset
            );
        }
        let mut table = Table::new(&[
            ">LSN",
            ">BYTES",
            ">RECORDS",
            "RECEIVED",
            "FIRST EVENT",
            "LAST EVENT",
            ">DURABLE",
            "STATE",
        ]);
        for e in &self.entries {
            let marks = [
                (e.deferred, "deferred"),
                (e.not_utf8, "not UTF-8"),
                (e.encoding != "identity", e.encoding),
            ];
            let state: Vec<&str> = marks
                .into_iter()
                .filter_map(|(set, name)| set.then_some(name))
                .collect();
            table.row(vec![
                e.lsn.clone(),
                e.bytes.to_string(),
                e.records.to_string(),
                human::time(e.received_unix_nano),
                human::time(e.first_event_unix_nano),
                human::time(e.last_event_unix_nano),
                e.durable_lsn.clone().unwrap_or_else(|| "-".to_owned()),
                state.join(", "),
            ]);
        }
        format!("{text}\n{}", table.text())
    }
}

/// Shows a file.
pub(crate) fn dump(path: &Path, format: Format) -> anyhow::Result<Outcome> {
    let view = DumpView::from(dump::dump_wal(path)?);
    print(&view, format)?;
    Ok(if view.damaged { Outcome::Damage } else { Outcome::Done })
}

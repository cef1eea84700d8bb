//! `gs-ctl archive ls`: the objects of a store.

use futures_util::StreamExt;
use gophership_archiver::contents::Found;
use schemars::JsonSchema;
use serde::Serialize;

use super::{objects, open, story, times, worse};
use crate::arg::archive::{StoreArgs, TimesArgs};
use crate::arg::format::Format;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome};
use crate::out::output::{Answer, print};
use crate::out::table::Table;

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cmd) struct ObjectList {
    objects: Vec<ObjectRow>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ObjectRow {
    /// Its name in the store.
    key: String,
    bytes: u64,
    /// What a manifest says of it; null where it was found by --scan.
    listed: Option<ListedView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedView {
    entries: u64,
    /// Records in the entries; an entry that was not looked into counts none.
    records: u64,
    first_event_unix_nano: u64,
    last_event_unix_nano: u64,
    /// BLAKE3 over its bytes.
    digest: String,
    /// node/shard/index of each.
    segments: Vec<String>,
}

/// Lists the objects of a store.
pub(in crate::cmd) async fn ls(
    url: &str,
    range: &TimesArgs,
    asked: &StoreArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    if asked.scan && (range.from.is_some() || range.to.is_some()) {
        let text = "the list of names has no times: leave out --scan, or --from and --to".to_owned();
        return Err(Failure::Usage(text).into());
    }
    let range = times(range)?;
    let store = open(url, asked).await?;
    let (_, mut found) = objects(&store, asked).await?;
    let (mut rows, mut outcome) = (Vec::new(), Outcome::Done);
    while let Some(found) = found.next().await {
        match found {
            Ok(object) if object.listed.as_ref().is_none_or(|listed| listed.event.overlaps(range)) => {
                rows.push(ObjectRow::of(object));
            }
            Ok(_) => {}
            Err(fault) => {
                outcome = worse(outcome, fault.is_damage());
                eprintln!("gs-ctl: {}", story(fault));
            }
        }
    }
    rows.sort_by(|a: &ObjectRow, b| a.key.cmp(&b.key));
    rows.dedup_by(|a, b| a.key == b.key);
    print(&ObjectList { objects: rows }, format)?;
    Ok(outcome)
}

impl ObjectRow {
    fn of(object: Found) -> Self {
        Self {
            key: object.key,
            bytes: object.bytes,
            listed: object.listed.map(|listed| ListedView {
                entries: listed.entries,
                records: listed.records,
                first_event_unix_nano: listed.event.min,
                last_event_unix_nano: listed.event.max,
                digest: human::hex(&listed.digest),
                segments: listed.segments.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

impl Answer for ObjectList {
    fn table(&self) -> String {
        let mut table = Table::new(&["FIRST EVENT", "LAST EVENT", ">RECORDS", ">SEGMENTS", ">BYTES", "KEY"]);
        for object in &self.objects {
            let of = |text: fn(&ListedView) -> String| object.listed.as_ref().map_or("-".to_owned(), text);
            table.row(vec![
                of(|listed| human::time(listed.first_event_unix_nano)),
                of(|listed| human::time(listed.last_event_unix_nano)),
                of(|listed| human::count(listed.records)),
                of(|listed| human::count(listed.segments.len() as u64)),
                human::bytes(object.bytes),
                object.key.clone(),
            ]);
        }
        table.text()
    }
}

//! `gs-ctl archive status`, `pause`, `resume` and `list`: the archive, as a node sees it.

use gophership_proto::control::v1::{
    ArchiveStatus, ListArchiveRequest, PauseArchiveRequest, ResumeArchiveRequest, ShowArchiveRequest,
};
use gophership_proto::view::archive::{ArchiveList, ArchiveObjectView, ArchiveStatusView};
use serde::Serialize;

use crate::arg::format::Format;
use crate::arg::when::{Patience, now_unix_nano};
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, pairs};
use crate::view::archive::archive_debt;

/// A status, and the time of the query.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown {
    archive: ArchiveStatusView,
    #[serde(skip)]
    now_unix_nano: u64,
}

/// Shows how archiving fares.
pub(super) async fn status(node: &mut Client, format: Format) -> anyhow::Result<Outcome> {
    let reply = node.show_archive(ShowArchiveRequest {}).await;
    show(reply.map_err(|e| refused(&e))?.into_inner(), format)
}

/// Pauses archiving on all nodes.
pub(super) async fn pause(node: &mut Client, length: Patience, format: Format) -> anyhow::Result<Outcome> {
    let for_seconds = length.0.as_secs();
    let reply = node.pause_archive(PauseArchiveRequest { for_seconds }).await;
    show(reply.map_err(|e| refused(&e))?.into_inner(), format)
}

/// Ends a pause of archiving.
pub(super) async fn resume(node: &mut Client, format: Format) -> anyhow::Result<Outcome> {
    let reply = node.resume_archive(ResumeArchiveRequest {}).await;
    show(reply.map_err(|e| refused(&e))?.into_inner(), format)
}

fn show(archive: ArchiveStatus, format: Format) -> anyhow::Result<Outcome> {
    let shown = Shown {
        archive: archive.into(),
        now_unix_nano: now_unix_nano(),
    };
    print(&shown, format)?;
    Ok(Outcome::Done)
}

/// Lists the objects on record.
pub(super) async fn list(node: &mut Client, format: Format) -> anyhow::Result<Outcome> {
    let mut objects: Vec<ArchiveObjectView> = Vec::new();
    loop {
        let after = objects.last().map_or(0, |object| object.lease);
        let asked = ListArchiveRequest { after, limit: 0 };
        let page = node.list_archive(asked).await.map_err(|e| refused(&e))?.into_inner();
        objects.extend(page.objects.into_iter().map(ArchiveObjectView::from));
        if !page.more {
            break;
        }
    }
    print(&ArchiveList { objects }, format)?;
    Ok(Outcome::Done)
}

impl Answer for Shown {
    fn table(&self) -> String {
        let a = &self.archive;
        let Some(url) = &a.url else {
            let none = "none: archive.url is none".to_owned();
            return pairs(&[("Archive", none), ("Archived", archived(a))]);
        };
        let store = a.store_id.as_deref().map_or("not open", |id| id);
        let mut rows = vec![("Archive", format!("{} (store {store})", human::one_line(url)))];
        match (&a.fault, &a.waits_for) {
            (Some(fault), _) => {
                let since = human::age(a.fault_since_unix_nano, self.now_unix_nano);
                rows.push(("FAILS", format!("for {since}: {}", human::one_line(fault))));
            }
            (None, Some(waits_for)) if a.paused_until_unix_nano.is_none() => rows.push(("Waits", waits_for.clone())),
            (None, _) => {}
        }
        if let Some(until) = a.paused_until_unix_nano {
            let by = a.waits_for.as_deref().map(human::one_line).unwrap_or_default();
            rows.push(("PAUSED", format!("until {}; {by}", human::time(until))));
        }
        if a.unreadable_segments > 0 {
            let why = a.unreadable_why.as_deref().map(human::one_line).unwrap_or_default();
            let segments = human::count(a.unreadable_segments);
            rows.push(("UNREADABLE", format!("{segments} segments; the last: {why}")));
        }
        rows.push(("Owed", archive_debt(a, self.now_unix_nano)));
        rows.push(("Archived", archived(a)));
        rows.push((
            "Under way",
            format!(
                "{} objects are being made, {} wait for a manifest",
                human::count(a.leased_objects),
                human::count(a.committed_objects)
            ),
        ));
        if let Some(store) = &a.waiting_store_id {
            rows.push((
                "WAITS",
                format!("objects in store {store}, for that store or to be archived anew in the store of archive.url"),
            ));
        }
        rows.push((
            "This node",
            format!(
                "since its start {} objects, {}; {} calls failed",
                human::count(a.put_objects),
                human::bytes(a.put_bytes),
                human::count(a.failures)
            ),
        ));
        pairs(&rows)
    }
}

fn archived(a: &ArchiveStatusView) -> String {
    let manifest = match (a.manifest, &a.manifest_blake3) {
        (Some(seq), Some(hash)) => format!("; manifest {seq}, {hash}"),
        (_, _) => String::new(),
    };
    format!(
        "{} objects, {}{manifest}",
        human::count(a.listed_objects),
        human::bytes(a.listed_bytes)
    )
}

impl Answer for ArchiveList {
    fn table(&self) -> String {
        // Most have one store for ever.
        let mut stores = self.objects.iter().map(|object| &object.store_id);
        let first = stores.next();
        let has_several = stores.any(|store| Some(store) != first);
        let mut head = vec![">LEASE", "STATE", ">BYTES", ">RECORDS", ">SEGMENTS", "RECEIVED FROM"];
        head.extend(has_several.then_some("STORE"));
        head.push("KEY");
        let mut table = Table::new(&head);
        for object in &self.objects {
            let mut row = vec![
                object.lease.to_string(),
                object.state.clone(),
                object.bytes.map_or_else(|| "-".to_owned(), human::bytes),
                human::count(object.records),
                human::count(object.segments.len() as u64),
                human::time(object.received_min_unix_nano),
            ];
            row.extend(has_several.then(|| object.store_id.clone()));
            row.push(object.key.clone());
            table.row(row);
        }
        table.text()
    }
}

#[cfg(test)]
mod tests {
    use gophership_proto::control::v1::ArchiveObject;

    use super::*;

    #[test]
    fn a_status_says_what_fails_and_what_is_owed() {
        let reply = ArchiveStatus {
            url: "s3://logs/a".to_owned(),
            fault: "access is denied".to_owned(),
            fault_since_unix_nano: 1_000_000_000,
            debt_segments: 3,
            debt_entries: 40,
            debt_bytes: 5 << 20,
            debt_oldest_unix_nano: 1_000_000_000,
            manifest: 7,
            manifest_blake3: "ab".to_owned(),
            listed_objects: 2,
            waiting_store_id: "0b1c".to_owned(),
            ..ArchiveStatus::default()
        };
        let shown = |archive: ArchiveStatus| {
            let shown = Shown {
                archive: archive.into(),
                now_unix_nano: 61_000_000_000,
            };
            shown.table()
        };
        let text = shown(reply);
        for words in [
            "s3://logs/a (store not open)",
            "FAILS",
            "access is denied",
            "3 segments",
            "manifest 7, ab",
            "objects in store 0b1c",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(shown(ArchiveStatus::default()).contains("none: archive.url is none"));
    }

    #[test]
    fn the_list_names_stores_where_there_are_several() {
        let of = |stores: &[&str]| {
            let object = |store: &&str| {
                ArchiveObjectView::from(ArchiveObject {
                    store_id: (*store).to_owned(),
                    key: "v1/logs/x".to_owned(),
                    ..ArchiveObject::default()
                })
            };
            let objects = stores.iter().map(object).collect();
            ArchiveList { objects }.table()
        };
        assert!(!of(&[]).contains("STORE") && !of(&["a", "a"]).contains("STORE"));
        let several = of(&["a", "a", "b"]);
        assert!(several.contains("STORE"), "{several}");
        assert_eq!(
            several.lines().filter(|line| line.contains(" b ")).count(),
            1,
            "{several}"
        );
    }
}

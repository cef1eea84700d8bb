//! `gs-ctl archive verify` of a store.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use gophership_archiver::contents::{Condition, ContentsFault, check_bytes, check_length, scan};
use gophership_archiver::limits::LOOKS_AT_ONCE;
use gophership_archiver::store::StoreReader;
use gophership_vault::ids::ClusterId;
use schemars::JsonSchema;
use serde::Serialize;

use super::{is_of, objects, open, story, worse};
use crate::arg::archive::StoreArgs;
use crate::arg::format::Format;
use crate::out::human;
use crate::out::outcome::Outcome;
use crate::out::output::{Answer, print};
use crate::out::progress::Bar;
use crate::out::table::{Table, pairs};

/// Objects that are read whole at once: some 10 MiB of memory each.
pub(super) const READS_AT_ONCE: usize = 4;
/// Names of objects that no manifest lists which are shown.
const UNLISTED_SHOWN: usize = 100;

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cmd) struct StoreVerdict {
    /// True where nothing is damaged or missing, and everything could be read.
    ok: bool,
    url: String,
    store_id: String,
    /// The cluster of the objects; null where --scan took those of all clusters.
    cluster_id: Option<String>,
    /// True where every byte of the objects was read.
    full: bool,
    /// Objects that were looked for.
    objects: u64,
    /// Bytes of those.
    bytes: u64,
    /// Objects and manifests that are not as they should be.
    faults: Vec<StoreFault>,
    /// Objects of the cluster that no manifest lists, which is no fault: a node puts an object first. Null with --scan.
    unlisted: Option<Unlisted>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cmd) struct StoreFault {
    /// Name of the object; null where the fault is one of manifests, or of the list of objects.
    key: Option<String>,
    state: State,
    /// What is wrong, in words.
    what: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Damaged,
    Missing,
    /// The store did not give it: nothing is known of it.
    Unread,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Unlisted {
    objects: u64,
    bytes: u64,
    /// The names of 100 of them at most.
    keys: Vec<String>,
}

/// Verifies what a store holds.
pub(in crate::cmd) async fn verify(
    url: &str,
    full: bool,
    asked: &StoreArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    let verdict = verdict(&open(url, asked).await?, full, asked).await?;
    print(&verdict, format)?;
    Ok(verdict.outcome())
}

async fn verdict(store: &StoreReader, full: bool, asked: &StoreArgs) -> anyhow::Result<StoreVerdict> {
    let (cluster, found) = objects(store, asked).await?;
    let bar = Bar::new();
    // Sixteen bytes for each name, so that those of millions of objects take some tens of megabytes.
    let seen = RefCell::new(HashSet::new());
    let (count, total, done) = (Cell::new(0u64), Cell::new(0u64), Cell::new(0u64));
    let show = |bytes: u64| {
        done.set(done.get() + bytes);
        bar.show(
            done.get(),
            total.get(),
            &format!("{} objects", human::count(count.get())),
        );
    };
    let checks = found.filter_map(async |found| {
        if let Ok(object) = &found {
            if !seen.borrow_mut().insert(short(&object.key)) {
                return None;
            }
            count.set(count.get() + 1);
            total.set(total.get().saturating_add(object.bytes));
        }
        Some(found)
    });
    let checks = checks.map(async |found| {
        let object = found.map_err(StoreFault::of_contents)?;
        let condition = match full {
            true => check_bytes(store, &object, show).await,
            false => check_length(store, &object).await,
        };
        if !full {
            show(object.bytes);
        }
        StoreFault::of_object(object.key, condition).map_or(Ok(()), Err)
    });
    let checks = checks.buffer_unordered(if full { READS_AT_ONCE } else { LOOKS_AT_ONCE });
    let mut faults: Vec<StoreFault> = checks.filter_map(async |checked| checked.err()).collect().await;
    if faults.iter().any(|fault| fault.state == State::Missing) {
        still_the_same(store).await?;
    }
    let seen = seen.into_inner();
    let unlisted = match cluster.filter(|_| !asked.scan) {
        Some(cluster) => match unlisted(store, cluster, &seen).await {
            Ok(unlisted) => Some(unlisted),
            Err(fault) => {
                faults.push(StoreFault::of_contents(fault));
                None
            }
        },
        None => None,
    };
    faults.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(StoreVerdict {
        ok: faults.is_empty(),
        url: store.url().to_owned(),
        store_id: store.id().0.to_string(),
        cluster_id: cluster.map(|cluster| cluster.0.to_string()),
        full,
        objects: count.get(),
        bytes: total.get(),
        faults,
        unlisted,
    })
}

/// What is missing in a store that another one has replaced proves nothing.
pub(super) async fn still_the_same(store: &StoreReader) -> anyhow::Result<()> {
    let is_same = store.is_the_same().await;
    if !is_same.context("the store went away while it was read")? {
        bail!(
            "archive {}: another store took its place while it was read: try again",
            store.url()
        );
    }
    Ok(())
}

pub(super) fn short(key: &str) -> [u8; 16] {
    let hash = blake3::hash(key.as_bytes());
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// The objects of a cluster that are not among those seen.
async fn unlisted(
    store: &StoreReader,
    cluster: ClusterId,
    seen: &HashSet<[u8; 16]>,
) -> Result<Unlisted, ContentsFault> {
    let mut found = std::pin::pin!(scan(store));
    let mut unlisted = Unlisted::default();
    while let Some(object) = found.next().await.transpose()? {
        if is_of(&object.key, cluster) && !seen.contains(&short(&object.key)) {
            unlisted.objects += 1;
            unlisted.bytes = unlisted.bytes.saturating_add(object.bytes);
            if unlisted.keys.len() < UNLISTED_SHOWN {
                unlisted.keys.push(object.key);
            }
        }
    }
    Ok(unlisted)
}

impl StoreFault {
    pub(super) fn of_contents(fault: ContentsFault) -> Self {
        let state = match &fault {
            ContentsFault::Missing { .. } => State::Missing,
            ContentsFault::Changed { .. } | ContentsFault::Forked { .. } => State::Damaged,
            ContentsFault::Unread { .. } | ContentsFault::Listing(_) => State::Unread,
        };
        Self {
            key: None,
            state,
            what: vec![story(fault)],
        }
    }

    /// The fault of an object in this condition, if it has one.
    pub(super) fn of_object(key: String, condition: Condition) -> Option<Self> {
        let (state, what) = match condition {
            Condition::Whole => return None,
            Condition::Damaged(faults) => (State::Damaged, faults.into_iter().map(story).collect()),
            Condition::Missing => (State::Missing, Vec::new()),
            Condition::Unread(error) => (State::Unread, vec![story(error)]),
        };
        Some(Self {
            key: Some(key),
            state,
            what,
        })
    }

    /// An object that is there, and does not fit.
    pub(super) fn damaged(key: String, what: String) -> Self {
        Self {
            key: Some(key),
            state: State::Damaged,
            what: vec![what],
        }
    }

    /// Manifests that are not in this store.
    pub(super) fn unread(what: String) -> Self {
        Self {
            key: None,
            state: State::Unread,
            what: vec![what],
        }
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn is_missing(&self) -> bool {
        self.state == State::Missing
    }

    /// True where nothing is known of it.
    pub(in crate::cmd) fn is_unread(&self) -> bool {
        self.state == State::Unread
    }

    /// What it is about, and what is wrong with it, in one line.
    pub(in crate::cmd) fn in_words(&self) -> String {
        let what = human::one_line(&self.what.join("; "));
        match (&self.key, what.is_empty()) {
            (Some(key), true) => format!("{key}: {}", self.state.name()),
            (Some(key), false) => format!("{key}: {}: {what}", self.state.name()),
            (None, _) => what,
        }
    }

    /// Its row in a table.
    pub(in crate::cmd) fn row(&self) -> Vec<String> {
        let key = self.key.clone().unwrap_or_else(|| "(manifests)".to_owned());
        vec![
            self.state.name().to_owned(),
            key,
            human::one_line(&self.what.join("; ")),
        ]
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Unread => "unread",
        }
    }
}

impl StoreVerdict {
    fn outcome(&self) -> Outcome {
        let faults = self.faults.iter();
        faults.fold(Outcome::Done, |outcome, fault| {
            worse(outcome, fault.state != State::Unread)
        })
    }
}

impl Answer for StoreVerdict {
    fn table(&self) -> String {
        let verdict = match (self.outcome(), self.full) {
            (Outcome::Damage, _) => "DAMAGED",
            (Outcome::Failed | Outcome::GaveUp, _) => "NOT ALL READ; the rest is as it was written",
            (Outcome::Done, true) => "every byte is as it was written, and every segment as it was sealed",
            (Outcome::Done, false) if self.unlisted.is_none() => {
                "what is there can be opened; a scan does not show what is missing; --full reads the bytes"
            }
            (Outcome::Done, false) => "every object is there with its length; --full reads the bytes",
        };
        let mut rows = vec![
            ("Archive", self.url.clone()),
            (
                "Cluster",
                self.cluster_id.clone().unwrap_or_else(|| "all of them".to_owned()),
            ),
            ("Verdict", verdict.to_owned()),
            (
                "Objects",
                format!("{}, {}", human::count(self.objects), human::bytes(self.bytes)),
            ),
        ];
        if let Some(unlisted) = self.unlisted.as_ref().filter(|unlisted| unlisted.objects > 0) {
            let (count, bytes) = (human::count(unlisted.objects), human::bytes(unlisted.bytes));
            let more = if unlisted.objects > unlisted.keys.len() as u64 {
                ", ..."
            } else {
                ""
            };
            let keys = unlisted.keys.join(", ");
            rows.push(("Unlisted", format!("{count}, {bytes}, no fault: {keys}{more}")));
        }
        let mut text = pairs(&rows);
        let mut table = Table::new(&["STATE", "OBJECT", "WHAT"]);
        for fault in &self.faults {
            table.row(fault.row());
        }
        if !self.faults.is_empty() {
            text += &format!("\n{}", table.text());
        }
        text
    }
}

//! `gs-ctl archive` on a store, without a node: `ls`, `cat` and `verify`.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use futures_util::stream::{self, LocalBoxStream};
use futures_util::{Stream, StreamExt};
use gophership_archiver::contents::{
    Condition, ContentsFault, Found, Part, PlanFault, RangePlan, ReadError, check_bytes, check_length, clusters,
    listed, scan,
};
use gophership_archiver::limits::LOOKS_AT_ONCE;
use gophership_archiver::store::{StoreReader, StoreSettings, open_reader};
use gophership_vault::Disposition;
use gophership_vault::ids::ClusterId;
use gophership_vault::time::TimeRange;
use schemars::JsonSchema;
use serde::Serialize;

use super::archive::printed;
use crate::arg::archive::{StoreArgs, TimesArgs};
use crate::arg::format::Format;
use crate::arg::when::now_unix_nano;
use crate::out::file_sink::Payloads;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome};
use crate::out::output::{Answer, print, write_while_read};
use crate::out::progress::Bar;
use crate::out::table::{Table, pairs};

/// Objects that are read whole at once: some 10 MiB of memory each.
const READS_AT_ONCE: usize = 4;
/// Names of objects that no manifest lists which are shown.
const UNLISTED_SHOWN: usize = 100;

async fn open(url: &str, asked: &StoreArgs) -> anyhow::Result<StoreReader> {
    // Another one may have been installed by a library, and serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = StoreSettings {
        url: url.to_owned(),
        endpoint: asked.endpoint.clone(),
        region: asked.region.clone(),
        unsafe_store: false,
    };
    Ok(open_reader(&settings).await?)
}

/// The cluster whose manifests are read.
async fn cluster_of(store: &StoreReader, asked: &StoreArgs) -> anyhow::Result<ClusterId> {
    let there = clusters(store).await.context("cannot list the manifests")?;
    let names = || there.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ");
    match (asked.cluster.map(ClusterId), there.as_slice()) {
        (Some(asked), there) if there.contains(&asked) => Ok(asked),
        (None, [one]) => Ok(*one),
        (_, []) => bail!(
            "archive {} has no manifest: --scan takes the objects that are there",
            store.url()
        ),
        (None, _) => {
            let text = format!(
                "archive {} has several clusters: name one of them with --cluster: {}",
                store.url(),
                names()
            );
            Err(Failure::Usage(text).into())
        }
        (Some(asked), _) => {
            let text = format!(
                "archive {} has no manifest of cluster {}, but of: {}",
                store.url(),
                asked.0,
                names()
            );
            Err(Failure::Usage(text).into())
        }
    }
}

/// The objects that were asked for.
async fn objects<'a>(
    store: &'a StoreReader,
    asked: &StoreArgs,
) -> anyhow::Result<(Option<ClusterId>, LocalBoxStream<'a, Result<Found, ContentsFault>>)> {
    if asked.scan {
        let cluster = asked.cluster.map(ClusterId);
        let found = scan(store).filter(move |found| {
            let is_wanted = found
                .as_ref()
                .is_ok_and(|object| cluster.is_none_or(|cluster| is_of(&object.key, cluster)));
            std::future::ready(is_wanted || found.is_err())
        });
        return Ok((cluster, found.boxed_local()));
    }
    let cluster = cluster_of(store, asked).await?;
    Ok((Some(cluster), listed(store, cluster).boxed_local()))
}

/// True where an object has the name of one of the cluster's: with the first digits of its id.
fn is_of(key: &str, cluster: ClusterId) -> bool {
    let digits = &cluster.0.simple().to_string()[..8];
    let file = key.rsplit('/').next().and_then(|file| file.strip_prefix(digits));
    file.is_some_and(|rest| rest.starts_with('-'))
}

fn times(asked: &TimesArgs) -> anyhow::Result<TimeRange> {
    let now = now_unix_nano();
    let end = asked.to.map(|to| to.unix_nano(now));
    let range = TimeRange {
        min: asked.from.map_or(0, |from| from.unix_nano(now)),
        max: end.map_or(u64::MAX, |end| end.saturating_sub(1)),
    };
    if range.min > range.max || end == Some(0) {
        return Err(Failure::Usage("the range is empty: --to must be later than --from".to_owned()).into());
    }
    Ok(range)
}

/// The worse of two outcomes of something that was damaged, or could not be read.
fn worse(before: Outcome, is_damage: bool) -> Outcome {
    match (before, is_damage) {
        (Outcome::Damage, _) | (_, true) => Outcome::Damage,
        (Outcome::Done | Outcome::Failed | Outcome::GaveUp, false) => Outcome::Failed,
    }
}

fn is_damage(error: &ReadError) -> bool {
    match error {
        ReadError::Store(error) => error.disposition() == Disposition::Corrupt,
        ReadError::Object(error) => error.disposition() == Disposition::Corrupt,
        ReadError::Length { .. } => true,
    }
}

/// An error and its causes.
fn story(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

// ------------------------------------------------------------------------------------------------------------- cat

/// Prints the records of an object of a store.
pub(super) async fn cat_object(url: &str, key: &str, asked: &StoreArgs, format: Format) -> anyhow::Result<Outcome> {
    let store = open(url, asked).await?;
    let object = Found {
        bytes: store.len(key).await?,
        key: key.to_owned(),
        listed: None,
    };
    print_range(&store, None, stream::iter([Ok(object)]), TimeRange::ALL, format).await
}

/// Prints the records of a range of time.
pub(super) async fn cat_range(
    url: &str,
    range: &TimesArgs,
    asked: &StoreArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    let range = times(range)?;
    let store = open(url, asked).await?;
    let (cluster, objects) = objects(&store, asked).await?;
    print_range(&store, cluster, objects, range, format).await
}

async fn print_range(
    store: &StoreReader,
    cluster: Option<ClusterId>,
    objects: impl Stream<Item = Result<Found, ContentsFault>>,
    range: TimeRange,
    format: Format,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    let plan = RangePlan::of(store, objects, cluster, range, |fault| match fault {
        PlanFault::Contents(fault) => {
            outcome = worse(outcome, fault.is_damage());
            eprintln!("gs-ctl: {}", story(fault));
        }
        PlanFault::Object(key, error) => {
            outcome = worse(outcome, is_damage(&error));
            eprintln!("gs-ctl: {key} is not printed: {}", story(error));
        }
    })
    .await;
    if let [_, _, ..] = plan.clusters().as_slice() {
        let names = plan.clusters().iter().map(|id| id.0.to_string()).collect::<Vec<_>>();
        let text = format!(
            "the range has entries of several clusters: name one of them with --cluster: {}",
            names.join(", ")
        );
        return Err(Failure::Usage(text).into());
    }
    let (mut payloads, mut written) = (Payloads::default(), Ok(true));
    plan.read(store, |part| {
        match part {
            Part::Entries(member, entries) => {
                let (text, all) = printed(member, entries, &mut payloads, format);
                if !all {
                    outcome = Outcome::Damage;
                }
                written = write_while_read(text.as_bytes());
            }
            Part::Lost {
                key,
                segment,
                entries,
                error,
            } => {
                outcome = worse(outcome, is_damage(&error));
                let which = entries.map_or("all entries".to_owned(), |(first, last)| {
                    format!("entries {first} to {last}")
                });
                eprintln!(
                    "gs-ctl: {which} of segment {segment} are not printed: {key}: {}",
                    story(error)
                );
            }
        }
        match &written {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) | Err(_) => ControlFlow::Break(()),
        }
    })
    .await;
    Ok(if written? { outcome } else { Outcome::Done })
}

// -------------------------------------------------------------------------------------------------------------- ls

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ObjectList {
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
pub(super) async fn ls(url: &str, range: &TimesArgs, asked: &StoreArgs, format: Format) -> anyhow::Result<Outcome> {
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

// ---------------------------------------------------------------------------------------------------------- verify

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StoreVerdict {
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
struct StoreFault {
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
pub(super) async fn verify(url: &str, full: bool, asked: &StoreArgs, format: Format) -> anyhow::Result<Outcome> {
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
        let is_same = store
            .is_the_same()
            .await
            .context("the store went away while it was verified")?;
        if !is_same {
            bail!(
                "archive {}: another store took its place while it was verified: verify it again",
                store.url()
            );
        }
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

fn short(key: &str) -> [u8; 16] {
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
    fn of_contents(fault: ContentsFault) -> Self {
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
    fn of_object(key: String, condition: Condition) -> Option<Self> {
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
            let state = match fault.state {
                State::Damaged => "damaged",
                State::Missing => "missing",
                State::Unread => "unread",
            };
            let key = fault.key.clone().unwrap_or_else(|| "(manifests)".to_owned());
            table.row(vec![state.to_owned(), key, human::one_line(&fault.what.join("; "))]);
        }
        if !self.faults.is_empty() {
            text += &format!("\n{}", table.text());
        }
        text
    }
}

//! An archive that is read to be restored: first the numbers that are given in it, then object after object, checked.
//!
//! **Invariants**:
//! - I1: the memory for objects is that of a page. Some 40 bytes are kept for each segment and each name, so that none
//!   is taken in twice.
//! - I2: a segment is given once, and a lease; what else has them is named as a fault.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::pin::pin;

use anyhow::{Context, bail};
use futures_util::{Stream, StreamExt, stream};
use gophership_archiver::contents::{
    Condition, ContentsFault, Found, Restorable, Survey, index_of, manifests, restorable, scan, survey,
};
use gophership_archiver::limits::LOOKS_AT_ONCE;
use gophership_archiver::store::{ObjectName, StoreReader};
use gophership_vault::ids::{ClusterId, NodeId, SegmentId};

use super::verify::{READS_AT_ONCE, StoreFault, short, still_the_same};
use super::{cluster_of, open};
use crate::arg::archive::StoreArgs;
use crate::out::human;
use crate::out::outcome::Failure;
use crate::out::progress::Bar;

/// Numbers of nodes that are left for the cluster of each earlier restore, whose nodes need not have put anything: a
/// folder of one of them is no member of the cluster that begins now.
const NODES_OF_A_RESTORE: u32 = 4096;

/// An archive of one cluster.
pub(in crate::cmd) struct ArchiveRead {
    pub(in crate::cmd) store: StoreReader,
    pub(in crate::cmd) cluster: ClusterId,
    /// The number of the latest restore of it; 0 where there was none.
    pub(in crate::cmd) generation: u32,
    /// The numbers in the names and manifests of its objects.
    pub(in crate::cmd) survey: Survey,
    /// Number and hash of the newest manifest; `None` where there is none.
    pub(in crate::cmd) head: Option<(u64, [u8; 32])>,
    /// Objects are taken that no manifest lists.
    scan: bool,
    /// Every byte is read.
    pub(in crate::cmd) full: bool,
}

/// What is known after all objects were given.
#[derive(Default)]
pub(in crate::cmd) struct Read {
    /// Parts that are not restored.
    pub(in crate::cmd) faults: Vec<StoreFault>,
    /// Faults of manifests that a scan makes up for, as far as their objects are there.
    pub(in crate::cmd) passed_over: Vec<StoreFault>,
    pub(in crate::cmd) objects: u64,
    pub(in crate::cmd) segments: u64,
    pub(in crate::cmd) bytes: u64,
}

impl Read {
    /// True where something could not be read, so that nothing is known of it.
    pub(in crate::cmd) fn has_unread(&self) -> bool {
        self.faults.iter().any(StoreFault::is_unread)
    }
}

/// An object that can be taken in, and the number of the manifest that lists it; 0 where none does.
pub(in crate::cmd) type Given = (Restorable, u64);

impl ArchiveRead {
    /// Opens a store, and reads the names of the objects and the chain of manifests.
    pub(in crate::cmd) async fn open(url: &str, asked: &StoreArgs, full: bool) -> anyhow::Result<Self> {
        let store = open(url, asked).await?;
        let cluster = match asked.scan {
            true => cluster_by_objects(&store, asked).await?,
            false => cluster_of(&store, asked).await?,
        };
        let generation = store.generation(cluster).await.context("cannot list the manifests")?;
        let mut survey = survey(&store, cluster).await.context("cannot list the objects")?;
        let head = head_of(&store, cluster, &mut survey).await?;
        Ok(Self {
            store,
            cluster,
            generation,
            survey,
            head,
            scan: asked.scan,
            full,
        })
    }

    /// The number of the first node of a cluster that takes it in: above that of every node in it, and of every node
    /// of an earlier restore, which need not have put anything.
    pub(in crate::cmd) fn first_node(&self) -> anyhow::Result<NodeId> {
        let named = self.survey.node.map_or(0, NodeId::get);
        let restored = NODES_OF_A_RESTORE.checked_mul(self.generation);
        let first = restored.and_then(|count| count.checked_add(named)?.checked_add(1));
        first.and_then(NodeId::new).with_context(|| {
            format!(
                "the archive has node {named}, and was restored {} times: no number is left",
                self.generation
            )
        })
    }

    /// Gives every object to `each`, checked.
    pub(in crate::cmd) async fn read(
        &self,
        mut each: impl AsyncFnMut(Given) -> anyhow::Result<()>,
    ) -> anyhow::Result<Read> {
        let bar = Bar::new();
        let (done, total, count) = (Cell::new(0u64), self.survey.bytes, Cell::new(0u64));
        let show = |bytes: u64| {
            done.set(done.get().saturating_add(bytes));
            bar.show(done.get(), total, &format!("{} objects", human::count(count.get())));
        };
        let seen = RefCell::new(HashSet::new());
        let found = self.listed().chain(self.unlisted(&seen));
        let found = found.filter_map(async |found| match found {
            Ok((object, _)) if !seen.borrow_mut().insert(short(&object.key)) => None,
            other => Some(other),
        });
        let checks = found.map(async |found| {
            let (object, manifest) = found?;
            let checked = restorable(&self.store, self.cluster, &object, self.full, show).await;
            match checked {
                Ok(checked) => Ok((checked, manifest)),
                Err(condition) => Err(Fault::Object(object.key, condition)),
            }
        });
        let at_once = if self.full || self.scan {
            READS_AT_ONCE
        } else {
            LOOKS_AT_ONCE
        };
        let mut checks = pin!(checks.buffer_unordered(at_once));
        let (mut read, mut given) = (Read::default(), Once::default());
        while let Some(checked) = checks.next().await {
            match checked {
                Ok(checked) => match given.take(&checked.0) {
                    Ok(()) => {
                        count.set(count.get() + 1);
                        read.add(&checked.0);
                        each(checked).await?;
                    }
                    Err(why) => read.faults.push(StoreFault::damaged(checked.0.listed.key, why)),
                },
                Err(fault) => read.note(fault, self.scan),
            }
        }
        if read.faults.iter().any(StoreFault::is_missing) {
            still_the_same(&self.store).await?;
        }
        read.faults.sort_by(|a, b| a.key().cmp(&b.key()));
        Ok(read)
    }

    /// The objects that manifests list, each with the number of its manifest.
    fn listed(&self) -> impl Stream<Item = Result<(Found, u64), Fault>> + use<'_> {
        manifests(&self.store, self.cluster).flat_map(|read| match read {
            Ok((manifest, _)) => {
                let (seq, is_first_here) = (manifest.seq, manifest.seq > 1 && manifest.prev_store != manifest.store);
                let elsewhere = is_first_here.then_some(Err(Fault::Elsewhere {
                    before: seq,
                    store: manifest.prev_store.to_string(),
                }));
                let objects = manifest
                    .objects
                    .into_iter()
                    .map(move |listed| Ok((Found::of(listed), seq)));
                stream::iter(objects.chain(elsewhere)).left_stream()
            }
            Err(fault) => stream::iter([Err(Fault::Contents(fault))]).right_stream(),
        })
    }

    /// With --scan the objects that are there and were not seen in a manifest.
    fn unlisted<'a>(
        &'a self,
        seen: &'a RefCell<HashSet<[u8; 16]>>,
    ) -> impl Stream<Item = Result<(Found, u64), Fault>> + use<'a> {
        let all = match self.scan {
            true => scan(&self.store).left_stream(),
            false => stream::empty().right_stream(),
        };
        all.filter_map(async |found| match found {
            Ok(object) => {
                let is_of = ObjectName::parse(&object.key).is_some_and(|name| name.is_of(self.cluster));
                let is_new = is_of && !seen.borrow().contains(&short(&object.key));
                is_new.then_some(Ok((object, 0)))
            }
            Err(fault) => Some(Err(Fault::Contents(fault))),
        })
    }
}

/// The number and the hash of the newest manifest. The numbers in all of them are added to the survey.
async fn head_of(
    store: &StoreReader,
    cluster: ClusterId,
    survey: &mut Survey,
) -> anyhow::Result<Option<(u64, [u8; 32])>> {
    let mut head = None;
    let mut chain = pin!(manifests(store, cluster));
    while let Some(read) = chain.next().await {
        match read {
            Ok((manifest, hash)) => {
                head = head.or(Some((manifest.seq, hash)));
                for listed in &manifest.objects {
                    ObjectName::parse(&listed.key).iter().for_each(|name| survey.saw(name));
                    survey.node = listed
                        .segments
                        .iter()
                        .map(|id| Some(id.node))
                        .fold(survey.node, Option::max);
                }
            }
            Err(ContentsFault::Listing(error)) => return Err(error).context("cannot list the manifests"),
            // It is told when the objects are given.
            Err(_) => {}
        }
    }
    Ok(head)
}

/// A part that is not restored.
enum Fault {
    Contents(ContentsFault),
    Object(String, Condition),
    /// What the manifests before this one list is in another store.
    Elsewhere {
        before: u64,
        store: String,
    },
}

impl Read {
    fn add(&mut self, object: &Restorable) {
        self.objects += 1;
        self.segments += object.listed.segments.len() as u64;
        self.bytes = self.bytes.saturating_add(object.listed.bytes);
    }

    fn note(&mut self, fault: Fault, is_scan: bool) {
        match fault {
            Fault::Contents(fault) => {
                let list = match is_scan && fault.is_damage() {
                    true => &mut self.passed_over,
                    false => &mut self.faults,
                };
                list.push(StoreFault::of_contents(fault));
            }
            Fault::Object(key, condition) => self.faults.extend(StoreFault::of_object(key, condition)),
            Fault::Elsewhere { before, store } => self.faults.push(StoreFault::unread(format!(
                "manifests before number {before} are in another store, {store}: what they list is not restored"
            ))),
        }
    }
}

/// What was given.
#[derive(Default)]
struct Once {
    leases: HashSet<u64>,
    segments: HashSet<SegmentId>,
}

impl Once {
    /// Notes an object; the error says what of it was given before.
    fn take(&mut self, object: &Restorable) -> Result<(), String> {
        if self.leases.contains(&object.lease) {
            return Err(format!("another object has its lease, {}", object.lease));
        }
        let members = &object.listed.segments;
        if let Some(twice) = members.iter().find(|id| self.segments.contains(id)) {
            let new = members.iter().filter(|id| !self.segments.contains(id)).count();
            return Err(format!(
                "another object has its segment {twice}; {new} of its segments are in no other one"
            ));
        }
        self.leases.insert(object.lease);
        self.segments.extend(members);
        Ok(())
    }
}

/// The cluster of the objects that are there, where no manifest may tell.
async fn cluster_by_objects(store: &StoreReader, asked: &StoreArgs) -> anyhow::Result<ClusterId> {
    if let Some(cluster) = asked.cluster {
        return Ok(ClusterId(cluster));
    }
    let mut found = pin!(scan(store));
    let mut first: Vec<(String, Found)> = Vec::new();
    while let Some(object) = found.next().await {
        let object = object.context("cannot list the objects")?;
        if let Some(name) = ObjectName::parse(&object.key)
            && first.iter().all(|(digits, _)| *digits != name.digits())
        {
            first.push((name.digits(), object));
        }
    }
    let mut clusters = Vec::new();
    for (digits, object) in &first {
        let index = index_of(store, object).await;
        let cluster = index
            .ok()
            .and_then(|index| Some(index.members().first()?.header.cluster_id));
        clusters.push(cluster.map_or_else(|| format!("{digits}…"), |cluster| cluster.0.to_string()));
    }
    match clusters.as_slice() {
        [] => bail!("archive {} has no object", store.url()),
        [one] => one.parse().map(ClusterId).map_err(|_| {
            let text = format!("no index tells the id of the cluster {one}: name it with --cluster");
            Failure::Usage(text).into()
        }),
        several => {
            let text = format!(
                "archive {} has several clusters: name one of them with --cluster: {}",
                store.url(),
                several.join(", ")
            );
            Err(Failure::Usage(text).into())
        }
    }
}

//! `gs-ctl cluster provision --restore-from`: an empty cluster takes in what an archive has.
//!
//! The archive is read and checked here; the node is told page by page. Each page is a command that changes nothing
//! where it was submitted before, so the whole can be run again, whatever ended it.

use std::error::Error as _;
use std::path::Path;
use std::time::{Duration, Instant};

use gophership_proto::control::v1;
use gophership_vault::ids::SegmentId;
use schemars::JsonSchema;
use serde::Serialize;
use tonic::Code;
use uuid::Uuid;

use super::archive_store::restore::{ArchiveRead, Given, Read};
use super::archive_store::verify::StoreFault;
use super::archive_store::worse;
use crate::arg::format::Format;
use crate::arg::restore::RestoreArgs;
use crate::connect::{ClusterClient, connect_cluster};
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, pairs};

/// Objects of one page.
const PAGE_OBJECTS: usize = 200;
/// Segments of one page, but for those of its last object.
const PAGE_SEGMENTS: usize = 16_384;
/// The state of a restore that takes in nothing more.
const COMPLETE: &str = "complete";
/// The state of a restore of which something could not be taken in.
const INCOMPLETE: &str = "incomplete";
/// Names of parts that are put on record, and the bytes of each.
const NAMES_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 512;
/// Pause between two questions to a node that is starting.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which nothing may be behind the socket while the node goes from one to the other.
const SILENT_TIME: Duration = Duration::from_secs(60);

/// The result of a restore, or what it would come to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RestoreView {
    /// True where everything that the archive has is taken in.
    ok: bool,
    url: String,
    store_id: String,
    /// The cluster of the archive, which is the id of the new one.
    cluster_id: String,
    /// The restore, as the cluster has it on record; null with --dry-run.
    restore_id: Option<String>,
    /// `complete`, or `incomplete` where something could not be taken in; null with --dry-run.
    state: Option<String>,
    /// True where nothing was changed.
    dry_run: bool,
    /// True where every byte of the objects was read.
    full: bool,
    /// The number of the first node of the new cluster.
    first_node: u32,
    /// The number of this restore among those of this archive.
    generation: u32,
    /// The newest manifest, which those of the new cluster follow; 0 where there is none.
    manifest: u64,
    /// Objects that can be taken in, segments in them, and bytes.
    objects: u64,
    segments: u64,
    bytes: u64,
    /// The parts that are not taken in.
    faults: Vec<StoreFault>,
    /// With --scan: manifests that are damaged or missing. Those of their objects that are there are taken in.
    passed_over: Vec<StoreFault>,
    /// True where the loss of the parts that are not taken in is accepted.
    loss_accepted: bool,
}

/// Reads an archive, and says what a restore would come to.
pub(super) async fn dry_run(url: &str, asked: &RestoreArgs, format: Format) -> anyhow::Result<Outcome> {
    let archive = ArchiveRead::open(url, &asked.store, asked.full).await?;
    let read = archive.read(async |_| Ok(())).await?;
    let first = archive.first_node()?.get();
    let view = RestoreView {
        dry_run: true,
        ..view_of(&archive, read, asked, first, archive.generation + 1)
    };
    print(&view, format)?;
    Ok(view.outcome())
}

/// Provisions an empty cluster, and has it take in an archive.
pub(super) async fn restore(socket: &Path, url: &str, asked: &RestoreArgs, format: Format) -> anyhow::Result<Outcome> {
    let mut archive = ArchiveRead::open(url, &asked.store, asked.full).await?;
    let origin = v1::RestoreOrigin {
        cluster_id: archive.cluster.0.to_string(),
        restore_id: Uuid::new_v4().to_string(),
        store_id: archive.store.id().0.to_string(),
        url: url.to_owned(),
        first_node: archive.first_node()?.get(),
        generation: archive.generation.saturating_add(1),
    };
    let wish = v1::ProvisionClusterRequest {
        restore: Some(origin.clone()),
    };
    let mut node = connect_cluster(socket).await?;
    node.provision(wish).await.map_err(|e| refused(&e))?;
    let (mut node, known) = begun(socket, &origin).await?;
    let of = known.origin.clone().unwrap_or_default();
    if archive.generation < of.generation {
        // Until its marker was there, the cluster before may have gone on. A cluster that answers has put it, or
        // archives elsewhere.
        archive = ArchiveRead::open(url, &asked.store, asked.full).await?;
    }
    if known.state == COMPLETE {
        let read = archive.read(async |_| Ok(())).await?;
        // Nothing is put on record any more: accepted is what was missing when the restore ended, and no more than that.
        let loss_accepted = known.missing > 0 && read.faults.len() as u64 <= known.missing;
        let view = RestoreView {
            restore_id: Some(of.restore_id),
            state: Some(known.state),
            loss_accepted,
            ..view_of(&archive, read, asked, of.first_node, of.generation)
        };
        print(&view, format)?;
        return Ok(view.outcome());
    }
    // What was found damaged by a run that read every byte is not to be taken in by one that does not.
    archive.full |= known.state == INCOMPLETE;
    let restore_id = of.restore_id;
    let mut page = Page::new(restore_id.clone());
    let taken = archive
        .read(async |given| {
            // The cluster itself archives by now: what it has put and not listed yet is its own.
            if given.1 == 0 && given.0.listed.segments.iter().any(|id| id.node.get() >= of.first_node) {
                return Ok(());
            }
            page.add(given);
            match page.is_full() {
                true => page.send(&mut node).await,
                false => Ok(()),
            }
        })
        .await;
    let read = taken?;
    page.send(&mut node).await?;
    let end = v1::RestoreRequest {
        restore_id: restore_id.clone(),
        objects: Vec::new(),
        end: Some(end_of(&archive, &read, asked.accept_loss && !read.has_unread())),
    };
    let ended = node.restore(end).await.map_err(|e| refused(&e))?.into_inner();
    let of = ended.origin.unwrap_or_default();
    let view = RestoreView {
        restore_id: Some(restore_id),
        state: Some(ended.state),
        ..view_of(&archive, read, asked, of.first_node, of.generation)
    };
    print(&view, format)?;
    Ok(view.outcome())
}

/// Waits until the cluster answers, and returns its restore, which must be of this archive. The node that waits for its
/// cluster and the one that takes logs are behind two sockets of one path, so each question is a new connection.
async fn begun(socket: &Path, wanted: &v1::RestoreOrigin) -> anyhow::Result<(ClusterClient, v1::RestoreReply)> {
    let (mut told, mut heard) = (String::new(), Instant::now());
    let (node, reply) = loop {
        match ask(socket).await {
            Ok(answer) => break answer,
            Err(Asked::Waits(why)) => {
                heard = Instant::now();
                if told != why {
                    eprintln!("waiting: {}", human::one_line(&why));
                    told = why;
                }
            }
            Err(Asked::Failed(Failure::Unreachable(_))) if heard.elapsed() < SILENT_TIME => {}
            Err(Asked::Failed(failure)) => return Err(failure.into()),
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    };
    let known = reply.origin.clone().unwrap_or_default();
    if (&known.cluster_id, &known.store_id) != (&wanted.cluster_id, &wanted.store_id) {
        let text = format!(
            "this cluster takes in cluster {} from {}, and nothing of another archive",
            known.cluster_id, known.url
        );
        return Err(Failure::Refused(text).into());
    }
    Ok((node, reply))
}

/// The reason for which a question has no answer.
enum Asked {
    /// The node waits for its cluster.
    Waits(String),
    Failed(Failure),
}

/// Asks the node for the restore of its cluster.
async fn ask(socket: &Path) -> Result<(ClusterClient, v1::RestoreReply), Asked> {
    let mut node = connect_cluster(socket).await.map_err(Asked::Failed)?;
    match node.restore(v1::RestoreRequest::default()).await {
        Ok(reply) => Ok((node, reply.into_inner())),
        Err(e) if e.code() == Code::Unavailable && e.source().is_none() => Err(Asked::Waits(e.message().to_owned())),
        Err(e) => Err(Asked::Failed(refused(&e))),
    }
}

/// Objects that are told to the node at once.
struct Page {
    request: v1::RestoreRequest,
    segments: usize,
}

impl Page {
    fn new(restore_id: String) -> Self {
        Self {
            request: v1::RestoreRequest {
                restore_id,
                ..v1::RestoreRequest::default()
            },
            segments: 0,
        }
    }

    fn add(&mut self, (object, manifest): Given) {
        let listed = object.listed;
        self.segments += listed.segments.len();
        self.request.objects.push(v1::RestoredObject {
            lease: object.lease,
            attempt: object.attempt,
            segments: listed.segments.iter().map(|id| segment_ref(*id)).collect(),
            entries: listed.entries,
            records: listed.records,
            min_received_unix_nano: listed.received.min,
            max_received_unix_nano: listed.received.max,
            min_event_unix_nano: listed.event.min,
            max_event_unix_nano: listed.event.max,
            object_bytes: listed.bytes,
            digest: listed.digest.to_vec(),
            manifest,
        });
    }

    fn is_full(&self) -> bool {
        self.request.objects.len() >= PAGE_OBJECTS || self.segments >= PAGE_SEGMENTS
    }

    /// Tells the node, and empties the page.
    async fn send(&mut self, node: &mut ClusterClient) -> anyhow::Result<()> {
        if self.request.objects.is_empty() {
            return Ok(());
        }
        node.restore(self.request.clone()).await.map_err(|e| refused(&e))?;
        self.request.objects.clear();
        self.segments = 0;
        Ok(())
    }
}

fn segment_ref(id: SegmentId) -> v1::SegmentRef {
    v1::SegmentRef {
        node: id.node.get(),
        shard: id.shard.get().into(),
        index: id.index.get(),
    }
}

fn end_of(archive: &ArchiveRead, read: &Read, accept_loss: bool) -> v1::RestoreEnd {
    let name = |fault: &StoreFault| {
        let name = fault.in_words();
        name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
    };
    v1::RestoreEnd {
        manifest: archive.head.map_or(0, |(seq, _)| seq),
        manifest_hash: archive.head.map(|(_, hash)| hash.to_vec()).unwrap_or_default(),
        lease: archive.survey.lease,
        missing: read.faults.len() as u64,
        names: read.faults.iter().take(NAMES_MAX).map(name).collect(),
        accept_loss,
    }
}

fn view_of(archive: &ArchiveRead, read: Read, asked: &RestoreArgs, first_node: u32, generation: u32) -> RestoreView {
    let has_unread = read.has_unread();
    RestoreView {
        ok: read.faults.is_empty(),
        url: archive.store.url().to_owned(),
        store_id: archive.store.id().0.to_string(),
        cluster_id: archive.cluster.0.to_string(),
        restore_id: None,
        state: None,
        dry_run: false,
        full: archive.full,
        first_node,
        generation,
        manifest: archive.head.map_or(0, |(seq, _)| seq),
        objects: read.objects,
        segments: read.segments,
        bytes: read.bytes,
        faults: read.faults,
        passed_over: read.passed_over,
        loss_accepted: asked.accept_loss && !has_unread,
    }
}

impl RestoreView {
    fn outcome(&self) -> Outcome {
        if self.loss_accepted {
            return Outcome::Done;
        }
        let faults = self.faults.iter();
        faults.fold(Outcome::Done, |outcome, fault| worse(outcome, !fault.is_unread()))
    }

    fn verdict(&self) -> String {
        let state = match &self.state {
            Some(state) => human::one_line(state),
            None => "nothing was changed (--dry-run)".to_owned(),
        };
        match (self.faults.len(), self.loss_accepted) {
            (0, _) => state,
            (parts, true) => format!("{state}; the loss of {parts} parts is accepted"),
            (parts, false) if self.state.as_deref() == Some(COMPLETE) => format!(
                "{state}, and {parts} parts are not there any more: put them back. A replay names what it lacks"
            ),
            (parts, false) if self.faults.iter().any(StoreFault::is_unread) => format!(
                "{state}: {parts} parts are not taken in, and of some nothing is known, since they could not be read. \
                 Mend the access to them and run this again; until then --accept-loss gives up nothing"
            ),
            (parts, false) => format!(
                "{state}: {parts} parts are not taken in. Put back what is missing and run this again, or accept \
                 their loss with --accept-loss"
            ),
        }
    }
}

impl Answer for RestoreView {
    fn table(&self) -> String {
        let mut text = pairs(&[
            ("Archive", self.url.clone()),
            ("Cluster", self.cluster_id.clone()),
            ("Restore", self.verdict()),
            (
                if self.dry_run { "Would come back" } else { "Taken in" },
                format!(
                    "{} objects, {} segments, {}",
                    human::count(self.objects),
                    human::count(self.segments),
                    human::bytes(self.bytes)
                ),
            ),
            ("First node", format!("node {}", self.first_node)),
        ]);
        let mut table = Table::new(&["STATE", "OBJECT", "WHAT"]);
        let rows = self.faults.iter().chain(&self.passed_over);
        rows.for_each(|fault| table.row(fault.row()));
        if !self.faults.is_empty() || !self.passed_over.is_empty() {
            text += &format!("\n{}", table.text());
        }
        text
    }
}

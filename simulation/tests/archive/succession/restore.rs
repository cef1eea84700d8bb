//! A run of a restore, as `gs-ctl` does it: the archive is read, and told page by page.

use std::collections::BTreeSet;

use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ManifestHead, ObjectState, Stored};
use gophership_catalogue::refusal::{Refusal, RestoreRefusal};
use gophership_catalogue::restore::{RestoreEnd, RestoredObject};
use gophership_catalogue::{Command, apply};
use gophership_vault::ids::SegmentId;

use super::Broken;
use super::cluster::{Cluster, STORE};
use super::shared::Shared;
use crate::content::{content_is_of, key_of};
use crate::rng::Rng;

/// What is read of an archive before its objects are.
struct Reading {
    head: ManifestHead,
    lease: LeaseNumber,
    /// What manifests list, each with the number of its manifest, and behind them what none does.
    found: Vec<(LeaseNumber, ArchiveObject, u64)>,
}

pub(super) struct Runner {
    /// The cluster that takes in the archive.
    pub(super) into: usize,
    /// Objects that were taken in and that no manifest lists.
    pub(super) unlisted: u64,
    is_scan: bool,
    reading: Option<Reading>,
    /// Objects that were looked at.
    at: usize,
    pages: usize,
    missing: Vec<String>,
    leases: BTreeSet<LeaseNumber>,
    given: BTreeSet<SegmentId>,
}

impl Runner {
    pub(super) fn new(into: usize, is_scan: bool, shared: &Shared, broken: Option<Broken>) -> Self {
        Self {
            into,
            unlisted: 0,
            is_scan,
            reading: (broken == Some(Broken::ReadBefore)).then(|| Reading::of(shared, is_scan)),
            at: 0,
            pages: 0,
            missing: Vec::new(),
            leases: BTreeSet::new(),
            given: BTreeSet::new(),
        }
    }

    /// The number of its pages that were told.
    pub(super) fn pages_told(&self) -> usize {
        self.pages
    }

    /// One step: the reading, one page, or the end. True where it is over.
    pub(super) fn act(
        &mut self,
        rng: &mut Rng,
        shared: &Shared,
        cluster: &mut Cluster,
        broken: Option<Broken>,
    ) -> Result<bool, String> {
        if cluster.is_restored() {
            return Ok(true);
        }
        let Some(reading) = &self.reading else {
            // The cluster says first that it goes on with the archive.
            let is_there = shared.markers.contains_key(&cluster.generation) || broken == Some(Broken::NoMarker);
            if is_there {
                self.reading = Some(Reading::of(shared, self.is_scan));
            }
            return Ok(false);
        };
        if self.at == reading.found.len() {
            return self.end(cluster, broken);
        }
        let to = (self.at + 1 + rng.below(3) as usize).min(reading.found.len());
        let mut page = Vec::new();
        for (lease, object, manifest) in &reading.found[self.at..to] {
            let is_own = object.members[0].node >= cluster.state.restore().expect("it has one").origin.first_node;
            if *manifest == 0 && is_own {
                continue;
            }
            let key = key_of(*lease, object);
            let found = shared.objects.get(&key);
            let is_whole = found.is_some_and(|bytes| content_is_of(bytes, &object.members));
            let Some(bytes) = found.filter(|_| is_whole) else {
                self.missing.push(key);
                continue;
            };
            let is_new = !self.leases.contains(lease) && object.members.iter().all(|id| !self.given.contains(id));
            if !is_new {
                // A duplicate of what was given: it is named, and the loss of it accepted.
                continue;
            }
            self.leases.insert(*lease);
            self.given.extend(&object.members);
            self.unlisted += u64::from(*manifest == 0);
            page.push(taken(*lease, object, *manifest, bytes));
        }
        (self.at, self.pages) = (to, self.pages + 1);
        if broken == Some(Broken::PagesSkipped) && self.pages <= cluster.pages_told {
            return Ok(false);
        }
        let command = Command::RestorePage {
            id: cluster.restore_id(),
            objects: page,
            end: None,
        };
        match apply(&mut cluster.state, &command) {
            // Another run has ended it.
            Err(Refusal::Restore(RestoreRefusal::Over)) => Ok(true),
            other => other
                .map(|_| false)
                .map_err(|refusal| format!("a page is refused: {refusal}")),
        }
    }

    fn end(&self, cluster: &mut Cluster, broken: Option<Broken>) -> Result<bool, String> {
        let reading = self.reading.as_ref().expect("it was read");
        let head = match broken {
            Some(Broken::ChainAnew) => ManifestHead::default(),
            _ => reading.head,
        };
        let end = RestoreEnd {
            head,
            lease: reading.lease,
            missing: self.missing.len() as u64,
            names: Vec::new(),
            accept_loss: false,
            at_ns: 1,
        };
        let command = Command::RestorePage {
            id: cluster.restore_id(),
            objects: Vec::new(),
            end: Some(end),
        };
        let ended = apply(&mut cluster.state, &command);
        ended
            .map(|_| true)
            .map_err(|refusal| format!("the end is refused: {refusal}"))
    }
}

impl Reading {
    fn of(shared: &Shared, is_scan: bool) -> Self {
        let newest = shared.newest_manifest();
        let mut manifests: Vec<_> = shared.manifests.values().collect();
        manifests.sort_by_key(|manifest| std::cmp::Reverse(manifest.seq));
        let head = manifests.iter().find(|manifest| manifest.seq == newest);
        let head = head.map_or_else(ManifestHead::default, |manifest| ManifestHead {
            store: STORE,
            seq: manifest.seq,
            hash: manifest.hash,
        });
        let of_manifest = |manifest: &super::shared::Stored| {
            let seq = manifest.seq;
            let objects = manifest.objects.clone().into_iter();
            objects
                .map(move |(lease, object)| (lease, object, seq))
                .collect::<Vec<_>>()
        };
        let mut found: Vec<_> = manifests.iter().flat_map(|manifest| of_manifest(manifest)).collect();
        let mut names = BTreeSet::new();
        found.retain(|(lease, object, _)| names.insert(key_of(*lease, object)));
        let unlisted = shared.objects.keys().filter(|key| is_scan && !names.contains(*key));
        let unlisted = unlisted.map(|key| shared.of[key].clone());
        found.extend(unlisted.map(|(lease, object)| (lease, object, 0)));
        let lease = shared.of.values().map(|(lease, _)| *lease).max().unwrap_or(0);
        Self { head, lease, found }
    }
}

fn taken(lease: LeaseNumber, of: &ArchiveObject, manifest: u64, bytes: &[u8]) -> RestoredObject {
    let stored = Stored {
        bytes: bytes.len() as u64,
        digest: *blake3::hash(bytes).as_bytes(),
        at_ns: 1,
    };
    let state = match manifest {
        0 => ObjectState::Committed(stored),
        manifest => ObjectState::Listed { stored, manifest },
    };
    let object = ArchiveObject { state, ..of.clone() };
    RestoredObject { lease, object }
}

//! The source of a lane's entries: the vault, at the lane's pace, or the live ring, as entries are acknowledged. Either
//! way the bytes are read from the log. Of a sealed segment that this node cannot read all of, the rest is read from
//! all who hold it and from the archive, and so is a segment that was trimmed once it was archived.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, and only those are left out that are damaged at every holder
//!   and in the archive.
//! - I2: on the live ring only entries are read that were handed over, or were durable when the ring was opened or
//!   stood idle.

use std::sync::Arc;

use gophership_somatic::{Zone, ZoneCell};
use gophership_vault::ids::{EntryNumber, LogId, Lsn, SegmentId, ShardId};
use gophership_vault::{ScanFault, ShardCursor, StoredEntry, Vault};

use super::limits::{CLOSED_WAIT, IDLE_WAIT, LIVE_GAP};
use super::lost_source::LostSource;
use crate::buffer::LiveRing;
use crate::replay::LostLogs;

/// The source of a lane's entries (see the module).
pub(super) struct Source {
    vault: Vault,
    shard: ShardId,
    cursor: ShardCursor,
    ring: Arc<LiveRing>,
    zone: Arc<ZoneCell>,
    /// On the ring: the last position taken from it. `None` while the source reads the vault.
    live: Option<Option<Lsn>>,
    /// The reader of segments from all who hold them and from the archive; `None` on a single node without one.
    logs: Option<LostLogs>,
    /// The segment at which the cursor waits, read from all who hold it.
    copies: Option<(SegmentId, LostSource)>,
}

/// A follower of an own log, which leaves to `logs` what other nodes or the archive may give.
fn follower(vault: &Vault, logs: Option<&LostLogs>, shard: ShardId, from: Option<Lsn>) -> ShardCursor {
    // Without a cursor it begins at the oldest that this node has.
    let from = from.or_else(|| {
        let segments = vault.own_segments();
        let first = segments.iter().map(|(id, _)| *id).find(|id| id.shard == shard);
        first.map(|first| Lsn::at(first.index, EntryNumber::FIRST))
    });
    let cursor = vault.follower(shard, from);
    match logs.cloned() {
        Some(logs) => {
            let log = LogId {
                node: vault.identity().node_id,
                shard,
            };
            let archived = logs.clone();
            cursor
                .leave_to(move |id| logs.is_elsewhere(id))
                .leave_trimmed_to(move |from, to| archived.first_only_archived(log, from, to))
        }
        None => cursor,
    }
}

impl Source {
    /// A source of all entries behind `done`.
    pub(super) fn new(
        vault: &Vault,
        logs: Option<LostLogs>,
        shard: ShardId,
        done: Option<Lsn>,
        ring: Arc<LiveRing>,
        zone: Arc<ZoneCell>,
    ) -> Self {
        Self {
            cursor: follower(vault, logs.as_ref(), shard, done.and_then(Lsn::after)),
            vault: vault.clone(),
            shard,
            ring,
            zone,
            live: None,
            logs,
            copies: None,
        }
    }

    /// The next entry, or the fault in its place.
    pub(super) fn next(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
        if let Some((id, copies)) = &mut self.copies {
            if let Some(found) = copies.next() {
                return Some(found);
            }
            copies.end()?;
            let behind = Lsn::last_of(id.index).after();
            self.cursor = follower(&self.vault, self.logs.as_ref(), self.shard, behind);
            self.copies = None;
        }
        if let Some(next) = self.cursor.next() {
            return Some(next);
        }
        self.update_limit();
        self.cursor.next()
    }

    /// Updates the position up to which entries may be read.
    fn update_limit(&mut self) {
        if !self.ring.is_open() {
            self.live = None;
        }
        let upto = match &mut self.live {
            Some(reached) => {
                *reached = self.ring.take().or(*reached);
                *reached
            }
            None => {
                let readable = self.vault.readable(self.shard);
                if readable.is_some_and(|last| self.is_near(last)) && self.go_live() {
                    return;
                }
                readable
            }
        };
        self.cursor.extend(upto);
    }

    /// True where the entries left up to `last` are read before the ring could be full. A lane that follows its shard
    /// closely never finds nothing to read.
    fn is_near(&self, last: Lsn) -> bool {
        let at = self.cursor.position();
        last.index() == at.index() && last.number().get().saturating_sub(at.number().get()) < LIVE_GAP
    }

    /// Goes on to the live ring, where the zone allows it, once the vault was read to its end or nearly. Returns
    /// whether there may be more entries at once.
    pub(super) fn go_live(&mut self) -> bool {
        if self.live.is_some() || self.cursor.waits().is_some() || self.zone.zone() != Zone::Green {
            return false;
        }
        self.ring.open();
        let readable = self.vault.readable(self.shard);
        self.live = Some(readable);
        self.cursor.extend(readable);
        true
    }

    /// The thing that the next entry waits for, where it is there and cannot be read yet.
    pub(super) fn waits(&self) -> Option<&str> {
        let copies = self.copies.as_ref().and_then(|(_, copies)| copies.waits());
        copies.or(self.cursor.waits())
    }

    /// Goes on at those who hold the segment that the cursor waits at, where it waits for what they may give.
    fn turn_to_copies(&mut self) {
        let Some(logs) = self.logs.as_ref().filter(|_| self.cursor.waits().is_some()) else {
            return;
        };
        let (at, node) = (self.cursor.position(), self.vault.identity().node_id);
        let id = LogId {
            node,
            shard: self.shard,
        }
        .segment(at.index());
        if logs.is_elsewhere(id) {
            tracing::warn!(segment = %id, error = self.cursor.waits(), "export.segment.read_elsewhere");
            self.copies = Some((id, LostSource::of_segment(logs.clone(), id, at.before())));
            self.leave_ring();
        }
    }

    /// True where it reads what only the archive has.
    pub(super) fn reads_archive(&self) -> bool {
        self.copies.as_ref().is_some_and(|(_, copies)| copies.reads_archive())
    }

    /// The end of the segment before the one that it reads, once all up to there was given. A cursor that stands there
    /// needs nothing more of that segment, also once only the archive has it.
    pub(super) fn passed(&self) -> Option<Lsn> {
        let at = self.cursor.position();
        let is_at_begin = self.copies.is_none() && self.cursor.waits().is_none() && at.number() == EntryNumber::FIRST;
        at.before().filter(|_| is_at_begin)
    }

    /// True where it is on the live ring.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some() && self.ring.is_open()
    }

    /// Leaves the ring, because nothing will be taken from it for a while.
    pub(super) fn leave_ring(&mut self) {
        self.ring.close();
        self.live = None;
    }

    /// Releases the file of the log, so that it can be used again.
    pub(super) fn let_go(&mut self) {
        self.cursor.let_go();
    }

    /// Waits until there may be more entries.
    pub(super) async fn wait(&mut self) {
        if self.copies.is_none() {
            self.turn_to_copies();
        }
        if let Some((_, copies)) = &mut self.copies {
            return copies.wait().await;
        }
        // Without a ring there is no notification of more entries.
        let limit = if self.is_live() { IDLE_WAIT } else { CLOSED_WAIT };
        if tokio::time::timeout(limit, self.ring.wait()).await.is_err()
            && let Some(reached) = &mut self.live
        {
            // An entry that became durable after its request was answered with an error was never handed over.
            *reached = self.vault.readable(self.shard);
            self.cursor.extend(*reached);
        }
    }
}

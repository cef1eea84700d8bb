//! The source of a lane's entries: the vault, at the lane's pace, or the live ring, as entries are acknowledged. Either
//! way the bytes are read from the log.
//!
//! **Invariants**:
//! - I1: entries come in Lsn order, and only damaged ones are left out.
//! - I2: on the live ring only entries are read that were handed over, or were durable when the ring was opened or
//!   stood idle.

use std::sync::Arc;

use gophership_somatic::{Zone, ZoneCell};
use gophership_vault::ids::{Lsn, ShardId};
use gophership_vault::{ScanFault, ShardCursor, StoredEntry, Vault};

use super::limits::{CLOSED_WAIT, IDLE_WAIT, LIVE_GAP};
use crate::buffer::LiveRing;

/// The source of a lane's entries (see the module).
pub(super) struct Source {
    vault: Vault,
    shard: ShardId,
    cursor: ShardCursor,
    ring: Arc<LiveRing>,
    zone: Arc<ZoneCell>,
    /// On the ring: the last position taken from it. `None` while the source reads the vault.
    live: Option<Option<Lsn>>,
}

impl Source {
    /// A source of all entries behind `done`.
    pub(super) fn new(
        vault: &Vault,
        shard: ShardId,
        done: Option<Lsn>,
        ring: Arc<LiveRing>,
        zone: Arc<ZoneCell>,
    ) -> Self {
        Self {
            cursor: vault.follower(shard, done.and_then(Lsn::after)),
            vault: vault.clone(),
            shard,
            ring,
            zone,
            live: None,
        }
    }

    /// The next entry, or the fault in its place.
    pub(super) fn next(&mut self) -> Option<Result<StoredEntry, ScanFault>> {
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
        self.cursor.waits()
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

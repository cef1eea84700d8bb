//! The move of a cursor, and the entries that it passes over.

use std::collections::BTreeMap;
use std::fmt;

use gophership_catalogue::{Actor, Command};
use gophership_proto::view::rfc3339;
use gophership_vault::ids::{Lsn, NodeId, ShardId};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{Debt, SegmentState, Vault};

use super::error::ExportError;
use super::exporters::{Exporters, generation_of};
use super::lost_exports::{TakenLog, owed_of};
use super::status::add;

/// The destination of a seek.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeekTo {
    /// After every entry that is acknowledged now.
    Now,
    /// Before the oldest entry.
    Oldest,
    /// In each shard before the first entry received at this time or later, nanoseconds since the Unix epoch.
    Received(u64),
}

impl fmt::Display for SeekTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Oldest => f.write_str("oldest"),
            Self::Received(at_ns) => f.write_str(&rfc3339(*at_ns)),
        }
    }
}

impl Exporters {
    /// Moves an exporter's cursors: in this node's logs, and in those of lost nodes that this one sends. It blocks, and
    /// for [`SeekTo::Received`] reads. In a lost node's log that begins with a whole segment. Returns the number of
    /// entries that are passed over unsent.
    ///
    /// # Errors
    ///
    /// No exporter has this name, the time is in the future, entries would be passed over and `accept_loss` is not set,
    /// or the catalogue refused the command.
    pub fn seek(&self, name: &str, to: SeekTo, accept_loss: bool, by: &str) -> Result<u64, ExportError> {
        let r = self.find(name)?;
        if let SeekTo::Received(at_ns) = to
            && at_ns > now_unix_nano()
        {
            return Err(ExportError::TimeToCome);
        }
        let mut lost = Debt::default();
        let mut shards = Vec::new();
        for (shard, position) in r.status.positions() {
            if matches!(to, SeekTo::Received(_)) && self.vault.is_recovering(shard) {
                return Err(ExportError::Recovering { shard });
            }
            let done = match to {
                SeekTo::Now => self.vault.readable(shard),
                SeekTo::Oldest => None,
                SeekTo::Received(at_ns) => last_before(&self.vault, shard, at_ns),
            };
            if done > position.done {
                let (before, after) = (self.vault.debt(shard, position.done), self.vault.debt(shard, done));
                lost.entries += before.entries.saturating_sub(after.entries);
                lost.bytes += before.bytes.saturating_sub(after.bytes);
            }
            // The oldest is the oldest that nodes have.
            let (before, after) = (
                self.archived_behind(shard, position.done),
                self.archived_behind(shard, done),
            );
            lost.entries += before.0.saturating_sub(after.0);
            lost.bytes += before.1.saturating_sub(after.1);
            shards.push((shard, done));
        }
        let mut of_lost: BTreeMap<NodeId, Vec<(ShardId, Option<Lsn>)>> = BTreeMap::new();
        for log in self.logs_taken(name) {
            let (done, passed) = log.sought(to);
            lost.entries += passed.entries;
            lost.bytes += passed.bytes;
            of_lost.entry(log.owner).or_default().push((log.shard, done));
        }
        if lost.entries > 0 && !accept_loss {
            return Err(ExportError::SeekLoses {
                name: name.to_owned(),
                entries: lost.entries,
                bytes: lost.bytes,
            });
        }
        let own = (self.vault.identity().node_id, shards);
        for (node, shards) in of_lost.into_iter().chain([own]) {
            let seek = Command::SeekExporter {
                exporter: name.to_owned(),
                node,
                shards,
                at_ns: now_unix_nano(),
            };
            self.catalogue.submit(Actor::operator(by), seek)?;
        }
        add(&r.status.counts.given_up_entries, lost.entries);
        if lost.entries > 0 {
            tracing::warn!(
                exporter = name,
                %to,
                count = lost.entries,
                bytes = lost.bytes,
                by,
                "export.seek.loss_accepted"
            );
        } else {
            tracing::info!(exporter = name, %to, by, "export.seek.done");
        }
        let generation = generation_of(self.catalogue.as_ref(), name);
        for r in self.running().iter().filter(|r| r.config.name == name) {
            r.control
                .send_modify(|control| control.generation = control.generation.max(generation));
        }
        Ok(lost.entries)
    }
}

impl TakenLog {
    /// The cursor after a seek, and the debt that it passes over.
    fn sought(&self, to: SeekTo) -> (Option<Lsn>, Debt) {
        let is_passed = |seal: &&SealRecord| match to {
            SeekTo::Now => true,
            SeekTo::Oldest => false,
            SeekTo::Received(at_ns) => seal.stats.received.is_none_or(|received| received.max < at_ns),
        };
        let mut passed = Debt::default();
        let mut done = None;
        for seal in self.sealed.iter().take_while(is_passed) {
            done = seal.stats.last_lsn.or(done);
            let debt = owed_of(seal, self.done);
            passed.entries += debt.entries;
            passed.bytes += debt.bytes;
        }
        (done, passed)
    }
}

/// The last entry of a shard that was received before `at_ns`.
fn last_before(vault: &Vault, shard: ShardId, at_ns: u64) -> Option<Lsn> {
    let before = |record: &SealRecord| record.stats.received.is_none_or(|r| r.max < at_ns);
    // Segments that lie completely before it are passed over unread.
    let segments = vault.own_segments();
    let passed = segments
        .iter()
        .filter(|(id, _)| id.shard == shard)
        .map_while(|(_, state)| match state {
            SegmentState::Sealed(record) if before(record) => Some(record.stats.last_lsn),
            SegmentState::Lost => Some(None),
            SegmentState::Sealed(_) | SegmentState::Open | SegmentState::Recovering | SegmentState::Unreadable(_) => {
                None
            }
        })
        .flatten()
        .last();
    let found = vault.cursor(shard, passed, TimeRange::ALL).filter_map(Result::ok);
    found
        .take_while(|entry| entry.meta.received_ns < at_ns)
        .map(|entry| entry.lsn)
        .last()
        .or(passed)
}

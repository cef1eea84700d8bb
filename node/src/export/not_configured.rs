//! Exporters that are on record and not in the configuration, or that are to run and cannot: their debt is kept, so
//! they are shown.

use std::collections::BTreeSet;

use gophership_catalogue::exporter::LetterCause;
use gophership_vault::Debt;
use gophership_vault::ids::{Lsn, ShardId};

use super::exporters::Exporters;
use super::status::{CursorPosition, ExporterView, LaneState, Status};

impl Exporters {
    /// The names of the exporters that are on record, or are to run, and do not run.
    pub(super) fn not_running(&self) -> BTreeSet<String> {
        let running = self.running();
        let is_running = |name: &str| running.iter().any(|r| r.config.name == name);
        let names = self.catalogue.read(|state| {
            let names = state.exporters().map(|(name, _)| name);
            names
                .map(str::to_owned)
                .chain(self.refused().into_keys())
                .collect::<BTreeSet<_>>()
        });
        names.into_iter().filter(|name| !is_running(name)).collect()
    }

    /// An exporter that is on record, or is to run, and does not run; `None` where none has this name.
    pub(super) fn view_of_record(&self, name: &str) -> Option<ExporterView> {
        let refused_here = self.refused().remove(name);
        let Some(record) = self.catalogue.read(|state| state.exporter(name).copied()) else {
            // It has not begun anywhere, so that nobody knows what it would owe.
            return refused_here.map(|why| ExporterView {
                name: name.to_owned(),
                state: LaneState::Refused,
                refused: why,
                ..Status::new(Default::default(), Default::default(), Default::default()).view()
            });
        };
        let positions = self.recorded_positions(name).into_iter().map(|(shard, done)| {
            let generation = record.generation;
            (shard, CursorPosition { generation, done })
        });
        let debt = self.recorded_debt(name);
        let refused = LetterCause::Refused;
        Some(ExporterView {
            name: name.to_owned(),
            state: match refused_here {
                Some(_) => LaneState::Refused,
                None => LaneState::NotConfigured,
            },
            refused: refused_here.unwrap_or_default(),
            since_ns: record.since_ns,
            debt_entries: debt.entries,
            debt_bytes: debt.bytes,
            dead_letters: self.catalogue.read(|s| s.dead_letter_count_of(name, refused)) as u64,
            ..Status::new(Default::default(), Default::default(), positions.collect()).view()
        })
    }

    /// The cursors of an exporter in each shard, by its record.
    fn recorded_positions(&self, name: &str) -> Vec<(ShardId, Option<Lsn>)> {
        let node = self.vault.identity().node_id;
        self.catalogue.read(|state| {
            let cursor = |shard: &ShardId| (*shard, state.cursor(name, node, *shard));
            self.shards.iter().map(cursor).collect()
        })
    }

    /// The debt of an exporter by its record. An exporter without a cursor in a shard has sent nothing of it.
    pub(super) fn recorded_debt(&self, name: &str) -> Debt {
        let mut owed = Debt::default();
        for (shard, done) in self.recorded_positions(name) {
            let debt = self.vault.debt(shard, done);
            let (entries, bytes) = self.archived_behind(shard, done);
            owed.entries += debt.entries + entries;
            owed.bytes += debt.bytes + bytes;
        }
        owed
    }
}

//! The whole state, as changes.

use super::{Change, State};

impl State {
    /// The whole state as changes to an empty one, in the order of their keys.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        std::iter::once(Change::Counters(self.counters))
            .chain(self.nodes.values().copied().map(Change::Node))
            .chain(self.shards.iter().map(|(k, v)| Change::Shard(*k, *v)))
            .chain(self.segments.iter().map(Change::Segment))
            .chain(self.jobs.iter().map(|(k, v)| Change::Job(*k, v.clone())))
            .chain(self.settings.iter().map(|(k, v)| Change::Setting(k.clone(), v.clone())))
            .chain(self.export_changes())
            .chain(self.clocks.iter().map(|(node, mark)| Change::Clock(*node, *mark)))
            .chain(self.dropped.values().copied().map(Change::Dropped))
            .chain(
                self.configured_somewhere
                    .iter()
                    .cloned()
                    .map(Change::ConfiguredSomewhere),
            )
            .chain(self.facts.iter().map(|(id, facts)| Change::Facts(*id, facts.clone())))
            .chain(
                self.leftovers
                    .iter()
                    .map(|(id, nodes)| Change::Leftovers(*id, nodes.clone())),
            )
            .chain(self.taken_changes())
            .chain(
                self.configured
                    .iter()
                    .map(|(node, names)| Change::Configured(*node, names.clone())),
            )
            .chain(
                self.accepted_losses
                    .iter()
                    .map(|(id, loss)| Change::LossAccepted(*id, loss.clone())),
            )
            .chain(
                self.accepted_copy_losses
                    .iter()
                    .map(|(id, loss)| Change::CopyLossAccepted(*id, loss.clone())),
            )
            .chain(self.restore.iter().cloned().map(Change::Restore))
            .chain(
                self.events
                    .iter()
                    .map(|(number, event)| Change::Event(*number, event.clone())),
            )
            .chain(self.earlier_loss_changes())
            .chain(self.archive_changes())
    }
}

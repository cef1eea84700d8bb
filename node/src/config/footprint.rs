//! The resources of this machine that a configuration takes, for `config check`.
//!
//! **Not here**: the check against the machine's limits (`check.rs`).

use std::fmt;

use gophership_vault::start_bytes;

use super::settings::{Auto, Config};
use super::units::show_size;
use crate::machine::Machine;

/// The disk, memory and cores that a node with this configuration takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    shards: u16,
    shards_auto: bool,
    spares: u16,
    segment_size: u64,
    wal_bytes: u64,
    ballast: u64,
    disk_limit: u64,
    data_dir: String,
    budget: u64,
    export_budget: u64,
    lost_export: u64,
    archive: u64,
    budget_auto: bool,
    machine: Machine,
}

impl Footprint {
    /// Computes the footprint on a machine.
    #[must_use]
    pub fn new(config: &Config, machine: &Machine) -> Self {
        Self {
            shards: config.shards(machine),
            shards_auto: config.ingest.shards == Auto::Auto,
            spares: config.vault.spares,
            segment_size: config.vault.segment_size,
            wal_bytes: config.wal_bytes(machine),
            ballast: start_bytes(config.shards(machine), config.vault.segment_size),
            disk_limit: config.vault.disk_limit,
            data_dir: config.node.data_dir.display().to_string(),
            budget: config.memory_budget(machine),
            export_budget: config.export_budget(machine),
            lost_export: config.lost_export_bytes(),
            archive: config.archive_bytes(),
            budget_auto: config.memory.budget == Auto::Auto,
            machine: *machine,
        }
    }

    /// Warnings about settings that work, but not as well as the operator may think.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.budget > self.machine.memory / 4 * 3 {
            warnings.push(format!(
                "memory.budget {} is more than three quarters of the {} that this process may use: the kernel may end \
                 it under load",
                show_size(self.budget),
                show_mebibytes(self.machine.memory),
            ));
        }
        if usize::from(self.shards) > self.machine.cores {
            warnings.push(format!(
                "ingest.shards {} is more than the {} cores that this process may use: workers will wait for each \
                 other",
                self.shards, self.machine.cores
            ));
        }
        warnings
    }
}

fn auto(is: bool) -> &'static str {
    if is { " (auto)" } else { "" }
}

/// A size in whole mebibytes, since a machine's memory is no round number.
fn show_mebibytes(bytes: u64) -> String {
    show_size(bytes >> 20 << 20)
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "machine  {} cores, {} of memory for this process",
            machine.cores,
            show_mebibytes(machine.memory)
        )?;
        writeln!(f, "shards   {}{}", self.shards, auto(self.shards_auto))?;
        writeln!(
            f,
            "disk     {} of WAL files at once in {} ({} x {} files x {}), {} of ballast, {} at most",
            show_size(self.wal_bytes),
            self.data_dir,
            if self.shards == 1 {
                "1 shard".to_owned()
            } else {
                format!("{} shards", self.shards)
            },
            self.spares + 1,
            show_size(self.segment_size),
            show_mebibytes(self.ballast),
            show_size(self.disk_limit),
        )?;
        write!(
            f,
            "memory   {}{} for messages in flight",
            show_mebibytes(self.budget),
            auto(self.budget_auto)
        )?;
        if self.export_budget > 0 {
            write!(f, ", {} of it for exporters", show_mebibytes(self.export_budget))?;
        }
        if self.lost_export > 0 {
            let most = show_mebibytes(self.lost_export);
            write!(f, ", {most} more at most while they send what lost nodes owe")?;
        }
        if self.archive > 0 {
            let most = show_mebibytes(self.archive);
            write!(f, ", {most} more at most for two objects of the archive")?;
        }
        Ok(())
    }
}

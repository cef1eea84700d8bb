//! What the vault costs beside the bare thing under it, in one run on one machine: append beside memcpy, commit beside
//! fdatasync, seal, scan, and how appends scale over threads; what sensing and zones cost; what a node costs at rest,
//! what the catalogue of a cluster costs, and what an archive object costs. Prints a table; figures are for comparing
//! with each other.

mod append;
mod archive;
mod catalogue;
mod commit;
mod corpus;
mod pivot;
mod read;
mod rest;
mod table;
mod vault;
mod zones;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures the vault
#[derive(Parser)]
struct Cli {
    /// Folder to work in, on the disk that is to be measured
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds to append, beside a memcpy into a mapped file that was written before
    Append,
    /// Durable commits a second, beside a bare loop of write and fdatasync
    Commit,
    /// MB/s to seal (recover and cut), to verify, and to read back
    Read,
    /// Appends on 1 to N pinned threads, each with its own shard
    Scaling {
        /// Threads at most
        #[arg(long, default_value_t = 2)]
        threads: u16,
    },
    /// Cost of a full live ring for an append
    Pivot,
    /// Nanoseconds to sense at an operation, to decide, and to merge all readings
    Zones,
    /// Bytes and CPU time of an archive object, beside gzip -6 and bare zstd
    Archive,
    /// CPU time of a node that holds many segments and has nothing to do
    Rest {
        /// The node's binary
        #[arg(long, default_value = "target/release/gophership")]
        node: PathBuf,
        /// Sealed segments that it holds
        #[arg(long, default_value_t = 100_000)]
        segments: u32,
    },
    /// Memory, snapshot and restart of a catalogue of three nodes, and what is decided again and again at rest
    Catalogue {
        /// Sealed segments on record
        #[arg(long, default_value_t = 100_000)]
        segments: u32,
    },
    /// All of it, but for the node at rest, the catalogue and the archive
    All,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.dir)?;
    match cli.what {
        What::Append => append::run(&cli.dir),
        What::Commit => commit::run(&cli.dir),
        What::Read => read::run(&cli.dir),
        What::Scaling { threads } => append::scaling(&cli.dir, threads),
        What::Pivot => pivot::run(&cli.dir),
        What::Archive => archive::run(&cli.dir),
        What::Rest { node, segments } => rest::run(&cli.dir, &node, segments),
        What::Catalogue { segments } => catalogue::run(&cli.dir, segments),
        What::Zones => {
            zones::run();
            Ok(())
        }
        What::All => {
            append::run(&cli.dir)?;
            commit::run(&cli.dir)?;
            read::run(&cli.dir)?;
            append::scaling(&cli.dir, 2)?;
            pivot::run(&cli.dir)?;
            zones::run();
            Ok(())
        }
    }
}

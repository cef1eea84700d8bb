//! `gophership catalogue rebuild`: makes the catalogue anew from the files of a stopped node.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use gophership_catalogue::local::{Rebuilt, rebuild as rebuild_catalogue};
use gophership_vault::ids::SegmentId;
use gophership_vault::ledger::KnownSegment;
use gophership_vault::time::now_unix_nano;
use gophership_vault::{DataDir, take_inventory};

use crate::config::Config;

/// The outcome, for the operator to read.
pub(super) struct Report {
    rebuilt: Rebuilt,
    open: usize,
    sealed: usize,
    unreadable: Vec<(PathBuf, String)>,
}

/// Rebuilds the catalogue of the node that `config` describes.
///
/// # Errors
///
/// The node is one of a cluster or runs, its data directory is incomplete, or the new catalogue cannot be written.
pub(super) fn rebuild(config: &Config) -> anyhow::Result<Report> {
    if config.cluster.is_some() {
        bail!(
            "the catalogue of a cluster's node is not made anew: the other nodes have it. Where a majority of them \
             runs, start this node with an empty node.data_dir, with which it joins anew; keep the old folder until \
             `gs-ctl cluster status` of another node shows nothing as recovering"
        );
    }
    let data = DataDir::open(&config.node.data_dir, config.vault.any_filesystem)?;
    let inventory = take_inventory(&data, now_unix_nano()).context("cannot list the data folder")?;
    let path = data.path().join("catalogue.redb");
    let rebuilt = rebuild_catalogue(&path, &data.identity(), &inventory)?;
    let is_open = |s: &&KnownSegment| matches!(s, KnownSegment::Open(_));
    let open = inventory.segments.iter().filter(is_open).count();
    Ok(Report {
        rebuilt,
        open,
        sealed: inventory.segments.len() - open,
        unreadable: inventory.unreadable,
    })
}

fn shown(ids: &[SegmentId]) -> String {
    let ids: Vec<String> = ids.iter().map(SegmentId::to_string).collect();
    ids.join(" ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rebuilt {
            taken_in,
            gone,
            lost,
            former,
        } = &self.rebuilt;
        match lost {
            None => writeln!(f, "the catalogue that was there is whole; what it knows is kept")?,
            Some(why) => writeln!(
                f,
                "made anew, since nothing of the former could be used: {why}\n\
                 exporters begin at the oldest entry, so sinks get again what they had; replay jobs, dead letters, \
                 overrides, pauses and accepted losses are forgotten"
            )?,
        }
        writeln!(f, "found     {} sealed segments, {} WAL files", self.sealed, self.open)?;
        let taken = if taken_in.is_empty() {
            "nothing new".to_owned()
        } else {
            shown(taken_in)
        };
        write!(f, "taken in  {taken}")?;
        if !gone.is_empty() {
            write!(
                f,
                "\nno file   {}: on record as open; trimmed after this backup of the catalogue was made, or lost. \
                 Readers wait for each until `gs-ctl segment forget ID --accept-loss`",
                shown(gone)
            )?;
        }
        if let Some(former) = former {
            write!(
                f,
                "\nkept      {}; it may be deleted once the node runs well",
                former.display()
            )?;
        }
        for (path, why) in &self.unreadable {
            write!(f, "\nleft out  {}: {why}", path.display())?;
        }
        Ok(())
    }
}

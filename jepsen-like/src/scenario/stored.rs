//! The files of a stopped node that a scenario can damage.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::damage::{SegmentMap, WalMap, files_below};

/// The WAL file with the most entries among those whose segment is not sealed.
pub(super) fn unsealed(data: &Path) -> anyhow::Result<WalMap> {
    let sealed = files_below(&data.join("segments"), "seg")?;
    let sealed: HashSet<_> = sealed
        .iter()
        .map(|path| (folder_name(path), path.file_stem()))
        .collect();
    let files = files_below(&data.join("wal"), "wal")?;
    let open = files
        .iter()
        .filter(|path| !sealed.contains(&(folder_name(path), path.file_stem())));
    let maps: Vec<_> = open.map(|path| WalMap::read(path)).collect::<Result<_, _>>()?;
    let fullest = maps.into_iter().max_by_key(|map| map.entries.len());
    fullest
        .filter(|map| !map.entries.is_empty())
        .context("no unsealed write-ahead log file has an entry")
}

/// The sealed segment files with more than one block, except those in `but`.
pub(super) fn sealed(data: &Path, but: &HashSet<PathBuf>) -> anyhow::Result<Vec<SegmentMap>> {
    let files = files_below(&data.join("segments"), "seg")?;
    let maps = files
        .iter()
        .filter(|file| !but.contains(*file))
        .map(|file| SegmentMap::read(file));
    let maps: Vec<_> = maps.collect::<Result<_, _>>()?;
    Ok(maps.into_iter().filter(|map| map.blocks.len() > 1).collect())
}

fn folder_name(path: &Path) -> Option<&OsStr> {
    path.parent().and_then(Path::file_name)
}

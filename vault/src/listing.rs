//! The files of a data folder that are named after segments.

use std::path::{Path, PathBuf};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::{Epoch, NodeId, SegmentId, SegmentIndex, ShardId};
use crate::wal::scan::read_header;

/// The highest epoch in the headers of WAL files of `node`: each boot leaves at least one file. A header that cannot be
/// read is left out.
pub(crate) fn highest_epoch(data: &Path, node: NodeId) -> Result<Option<Epoch>, VaultError> {
    let files = wal_files(data, node)?.into_iter();
    let headers = files.filter_map(|(path, _)| read_header(&mut file_io::DiskReader::cached(&path).ok()?).ok());
    Ok(headers.filter(|h| h.id.node == node).map(|h| h.epoch).max())
}

/// Every file in the node's folders below `wal/`, and the segment that it is named after.
pub(crate) fn wal_files(data: &Path, node: NodeId) -> Result<Vec<(PathBuf, Option<SegmentId>)>, VaultError> {
    let mut files = Vec::new();
    for shard in file_io::list(&data.join("wal").join(format!("{node:010}")))? {
        if !shard.is_dir() {
            continue;
        }
        for path in file_io::list(&shard)? {
            let id = id_of(node, &path).filter(|_| path.extension().is_some_and(|x| x == "wal"));
            files.push((path, id));
        }
    }
    Ok(files)
}

/// Every file in `segments/` that is named after a segment, of whatever node. A folder that cannot be listed has none.
pub(crate) fn segment_files(data: &Path) -> impl Iterator<Item = (PathBuf, SegmentId)> + use<> {
    let below = |folders: Vec<PathBuf>| {
        let listed = folders.into_iter().filter_map(|folder| file_io::list(&folder).ok());
        listed.flatten().collect::<Vec<_>>()
    };
    let files = below(below(below(vec![data.join("segments")])));
    let node_of = |path: &Path| {
        let folder = path.parent()?.parent()?;
        NodeId::new(folder.file_name()?.to_str()?.parse().ok()?)
    };
    files.into_iter().filter_map(move |path| {
        let id = id_of(node_of(&path)?, &path)?;
        Some((path, id))
    })
}

/// The segment that a file in a shard's folder is named after.
fn id_of(node: NodeId, path: &Path) -> Option<SegmentId> {
    let shard = path.parent()?.file_name()?.to_str()?.parse().ok().map(ShardId::new)?;
    let index = path.file_name()?.to_str()?.split('.').next()?.parse().ok();
    let index = index.and_then(SegmentIndex::new)?;
    Some(SegmentId { node, shard, index })
}

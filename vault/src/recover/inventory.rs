//! Reads the content of a data directory without a record of it, so that a lost or damaged catalogue can be made anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::adopt::record_of_file;
use crate::data_dir::DataDir;
use crate::error::VaultError;
use crate::file_io::DiskReader;
use crate::ids::SegmentId;
use crate::ledger::{KnownSegment, OpenRecord};
use crate::listing::{segment_files, wal_files};
use crate::replicas::ReplicaSet;
use crate::wal::scan::read_header;

/// The segments that a data directory holds, by their own files.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Segments with a record made from their files: open where a WAL file exists, otherwise sealed.
    pub segments: Vec<KnownSegment>,
    /// Segments of which a file exists, whatever its content.
    pub named: BTreeSet<SegmentId>,
    /// Files of which no record can be made, with the reason. They stay where they are.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Reads the header of each WAL file, and header and footer of each segment file. Sealed segments get the seal time
/// `sealed_ns`: the file does not contain its own, and a time too old would expire them.
///
/// # Errors
///
/// The folders cannot be listed.
pub fn take_inventory(data: &DataDir, sealed_ns: u64) -> Result<Inventory, VaultError> {
    let node = data.identity().node_id;
    let mut found = Inventory::default();
    for (path, id) in wal_files(data.path(), node)? {
        let Some(id) = id else { continue };
        found.named.insert(id);
        let header = DiskReader::direct(&path).and_then(|mut reader| read_header(&mut reader));
        match header {
            Ok(header) if header.id == id => found.segments.push(KnownSegment::Open(OpenRecord {
                id,
                epoch: header.epoch,
                file_uuid: header.uuid,
                replicas: ReplicaSet::ALONE,
            })),
            Ok(header) => {
                let why = format!("its header names segment {}", header.id);
                found.unreadable.push((path, why));
            }
            Err(error) => found.unreadable.push((path, error.to_string())),
        }
    }
    for (path, id) in segment_files(data.path()) {
        found.named.insert(id);
        // Until a segment is on record as sealed its WAL file is the truth.
        let has_wal = found.segments.iter().any(|segment| segment.id() == id);
        if has_wal || path.extension().is_none_or(|x| x != "seg") {
            continue;
        }
        match record_of_file(&path, id, node, sealed_ns) {
            Ok((record, _)) => found.segments.push(KnownSegment::Sealed(record)),
            Err(error) => found.unreadable.push((path, error.to_string())),
        }
    }
    found.segments.sort_by_key(KnownSegment::id);
    Ok(found)
}

//! The quarantine: damaged bytes and their records. Nothing in it is ever deleted by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::file_io;
use crate::ids::{EntryNumber, SegmentId};
use crate::limits::QUARANTINED_FILES_BYTES_MAX;
use crate::time::now_unix_nano;

/// The record of damaged bytes: their place and the reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    format: u32,
    /// Time at which the damage was found, nanoseconds since the Unix epoch. In JSON its digits are a string, since it
    /// is above 2^53.
    #[serde(with = "digits")]
    pub found_unix_nano: u64,
    /// The file it was found in.
    pub file: PathBuf,
    /// Offset of the bytes in that file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// The segment.
    pub segment: SegmentId,
    /// The entries that cannot be read because of it, first and last; none when only metadata that also stands
    /// elsewhere was damaged.
    pub numbers: Option<(EntryNumber, EntryNumber)>,
    /// The fault, in words.
    pub reason: String,
}

impl Quarantined {
    pub(crate) fn new(
        file: &Path,
        offset: u64,
        length: u64,
        segment: SegmentId,
        numbers: Option<(EntryNumber, EntryNumber)>,
        reason: String,
    ) -> Self {
        Self {
            format: 1,
            found_unix_nano: now_unix_nano(),
            file: file.to_path_buf(),
            offset,
            length,
            segment,
            numbers,
            reason,
        }
    }
}

/// A number as a string of digits; older files have it as a number.
mod digits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(number),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// Name of the record of pages whose loss was accepted.
const ACCEPTED_LOSS: &str = "given-up";
/// The beginning of the names of whole files.
const WHOLE_FILE: &str = "file-";

fn name_of(what: &str, segment: SegmentId, offset: u64) -> String {
    let SegmentId { node, shard, index } = segment;
    format!("{what}-{node}-{shard}-{index}-{offset}")
}

/// The quarantine folder and its content.
pub(crate) struct Quarantine {
    dir: PathBuf,
    /// Held while a file is written, which a slow disk may make long.
    changing: Mutex<()>,
    /// The records. The lock is never held over a file operation: the housekeeper asks for them.
    held: Mutex<BTreeMap<String, Quarantined>>,
}

impl Quarantine {
    /// Opens the folder and reads its records. A record that cannot be read is left alone.
    pub(crate) fn open(data: &Path) -> Result<Self, VaultError> {
        let dir = data.join("quarantine");
        file_io::create_dir(&dir)?;
        let mut held = BTreeMap::new();
        for path in file_io::list(&dir)? {
            let Some(name) = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_suffix(".reason.json"))
            else {
                continue;
            };
            match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(reason)) => drop(held.insert(name.to_owned(), reason)),
                Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "quarantine.reason.unreadable"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "quarantine.reason.unreadable"),
            }
        }
        Ok(Self {
            dir,
            changing: Mutex::default(),
            held: Mutex::new(held),
        })
    }

    /// Keeps `bytes` and their record. The same place of the same segment is kept once.
    ///
    /// # Errors
    ///
    /// The bytes could not be written; they are still where they were found.
    pub(crate) fn keep(&self, what: &str, bytes: &[u8], reason: Quarantined) -> Result<(), VaultError> {
        let s = reason.segment;
        let name = name_of(what, s, reason.offset);
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held().contains_key(&name) {
            return Ok(());
        }
        tracing::error!(segment = %s, file = %reason.file.display(), offset = reason.offset, bytes = reason.length,
            first = reason.numbers.map(|(first, _)| first.get()), last = reason.numbers.map(|(_, last)| last.get()),
            error = %reason.reason, "quarantine.keep.done");
        file_io::write_whole(&self.dir.join(format!("{name}.bin")), bytes)?;
        let json = serde_json::to_vec_pretty(&reason)
            .map_err(|e| VaultError::io("describe", &self.dir)(io::Error::other(e)))?;
        file_io::write_whole(&self.dir.join(format!("{name}.reason.json")), &json)?;
        self.held().insert(name, reason);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Quarantined>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts on record that an operator accepted the loss of the pages of a segment's file that the disk cannot read.
    ///
    /// # Errors
    ///
    /// The record could not be written.
    pub(crate) fn accept_page_loss(&self, segment: SegmentId, file: &Path) -> Result<(), VaultError> {
        let why = "an operator accepted the loss of what the disk does not give of this file".to_owned();
        self.keep(ACCEPTED_LOSS, &[], Quarantined::new(file, 0, 0, segment, None, why))
    }

    /// True where those pages are on record as an accepted loss.
    pub(crate) fn page_loss_is_accepted(&self, segment: SegmentId) -> bool {
        self.held().contains_key(&name_of(ACCEPTED_LOSS, segment, 0))
    }

    /// Moves a whole file, of which the disk may be able to read more at another time, into quarantine. It takes the
    /// place of no other file.
    ///
    /// # Errors
    ///
    /// The file could not be moved; it is still where it was.
    pub(crate) fn keep_file(&self, reason: Quarantined) -> Result<(), VaultError> {
        self.keep_whole(reason, file_io::rename)
    }

    /// Keeps a whole file that is about to be replaced, by a second name. It stays what it is where it is. Once such
    /// files take their bound nothing is kept: the damaged ranges of this one are in quarantine already.
    ///
    /// # Errors
    ///
    /// The file could not get the name.
    pub(crate) fn keep_replaced(&self, reason: Quarantined) -> Result<(), VaultError> {
        let held: u64 = {
            let held = self.held();
            let files = held.iter().filter(|(name, _)| name.starts_with(WHOLE_FILE));
            files.map(|(_, kept)| kept.length).sum()
        };
        if held + reason.length > QUARANTINED_FILES_BYTES_MAX {
            let (segment, bytes) = (reason.segment, reason.length);
            tracing::warn!(%segment, bytes, limit = QUARANTINED_FILES_BYTES_MAX, "quarantine.file.not_kept");
            return Ok(());
        }
        let (segment, file) = (reason.segment, reason.file.clone());
        match self.keep_whole(reason, file_io::link) {
            // The segments are on a file system of their own, so that the file can have no second name here.
            Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {
                tracing::warn!(%segment, file = %file.display(), "quarantine.file.not_kept: it is on another file system");
                Ok(())
            }
            kept => kept,
        }
    }

    /// Has `give` give a whole file its name in quarantine, which takes the place of no other file.
    fn keep_whole(
        &self,
        reason: Quarantined,
        give: impl FnOnce(&Path, &Path) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let s = reason.segment;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let first = format!("{WHOLE_FILE}{}-{}-{}", s.node, s.shard, s.index);
        let mut name = first.clone();
        for copy in 2u32.. {
            let is_free = |ending: &str| self.dir.join(format!("{name}.{ending}")).symlink_metadata().is_err();
            if is_free("bin") && is_free("reason.json") {
                break;
            }
            name = format!("{first}-{copy}");
        }
        let json = serde_json::to_vec_pretty(&reason)
            .map_err(|e| VaultError::io("describe", &self.dir)(io::Error::other(e)))?;
        file_io::write_whole(&self.dir.join(format!("{name}.reason.json")), &json)?;
        if let Err(error) = give(&reason.file, &self.dir.join(format!("{name}.bin"))) {
            // A record of nothing would take the name, and count as held.
            file_io::remove(&self.dir.join(format!("{name}.reason.json")))?;
            return Err(error);
        }
        self.held().insert(name, reason);
        Ok(())
    }

    /// All that is held, oldest name first.
    pub(crate) fn all(&self) -> Vec<Quarantined> {
        self.held().values().cloned().collect()
    }

    /// Bytes held, without their records.
    pub(crate) fn bytes(&self) -> u64 {
        self.held().values().map(|q| q.length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeId, SegmentIndex, ShardId};

    #[test]
    fn a_file_takes_the_place_of_no_other_of_its_segment() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(dir.path()).unwrap();
        let segment = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        let path = dir.path().join("file");
        for content in ["first", "second", "third"] {
            fs::write(&path, content).unwrap();
            let reason = Quarantined::new(&path, 0, 5, segment, None, content.to_owned());
            quarantine.keep_file(reason).unwrap();
        }
        let kept = file_io::list(&dir.path().join("quarantine")).unwrap();
        let kept = kept.iter().filter(|path| path.extension().is_some_and(|x| x == "bin"));
        let mut contents: Vec<String> = kept.map(|path| fs::read_to_string(path).unwrap()).collect();
        contents.sort();
        assert_eq!(contents, ["first", "second", "third"]);
        assert_eq!(Quarantine::open(dir.path()).unwrap().all().len(), 3);
    }

    #[test]
    fn a_time_is_written_as_a_string_and_read_as_a_number_too() {
        let segment = SegmentId {
            node: NodeId::FIRST,
            shard: ShardId::new(0),
            index: SegmentIndex::FIRST,
        };
        let kept = Quarantined::new(Path::new("x"), 0, 1, segment, None, "why".to_owned());
        let text = serde_json::to_string(&kept).unwrap();
        let (digits, number) = (
            format!("\"{}\"", kept.found_unix_nano),
            kept.found_unix_nano.to_string(),
        );
        assert!(text.contains(&digits), "{text}");
        for written in [text.clone(), text.replace(&digits, &number)] {
            assert_eq!(
                serde_json::from_str::<Quarantined>(&written).unwrap(),
                kept,
                "{written}"
            );
        }
    }
}

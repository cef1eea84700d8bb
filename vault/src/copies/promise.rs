//! The promise of this node about a segment that another node writes: the recovery that it obeys, and with it the
//! fence.
//!
//! **Invariants**:
//! - I1: a promise is synced before any answer is given that rests on it.
//! - I2: its number never goes back.
//! - I3: a promise that cannot be read counts as the strictest there is.
//! - I4: it does not need the segment to be here, so that a stream which comes later is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::entry::{u32_at, u64_at};
use crate::error::VaultError;
use crate::file_io;
use crate::ids::SegmentId;
use crate::segment::{make_segment_dir, segment_dir};

const MAGIC: [u8; 4] = *b"GSP1";
/// Magic, node, shard, two bytes of zero, index, recovery number, CRC32 of all before it.
const LEN: usize = 4 + 4 + 2 + 2 + 4 + 8 + 4;

/// The number of a recovery of a segment. Each that begins has a higher one than those before; 0 is before the first.
pub type RecoveryNumber = u64;

pub(crate) fn promise_path(data: &Path, id: SegmentId) -> PathBuf {
    segment_dir(data, id).join(format!("{:012}.promise", id.index))
}

/// The highest recovery number that was promised; 0 where none was, and the highest possible number where the promise
/// is damaged.
///
/// # Errors
///
/// The file cannot be read.
pub(crate) fn promised(data: &Path, id: SegmentId) -> Result<RecoveryNumber, VaultError> {
    let path = promise_path(data, id);
    match fs::read(&path) {
        Ok(bytes) => Ok(decode(&bytes, id).unwrap_or_else(|| {
            tracing::error!(segment = %id, path = %path.display(), "copy.promise.damaged");
            RecoveryNumber::MAX
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(VaultError::io("read", &path)(e)),
    }
}

/// Promises to obey no recovery below `number`, and to take nothing more from the segment's owner. It is synced when
/// this returns.
///
/// # Errors
///
/// [`VaultError::StaleRecovery`] when a higher number was promised; the file cannot be read or written.
pub(crate) fn promise(data: &Path, id: SegmentId, number: RecoveryNumber) -> Result<(), VaultError> {
    let promised = promised(data, id)?;
    if number < promised || number == 0 {
        return Err(VaultError::StaleRecovery { id, number, promised });
    }
    if number > promised {
        make_segment_dir(&segment_dir(data, id))?;
        file_io::write_whole(&promise_path(data, id), &encode(id, number))?;
    }
    Ok(())
}

fn encode(id: SegmentId, number: RecoveryNumber) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&id.node.get().to_le_bytes());
    bytes.extend_from_slice(&id.shard.get().to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&id.index.get().to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], id: SegmentId) -> Option<RecoveryNumber> {
    let body = bytes.get(..LEN - 4).filter(|_| bytes.len() == LEN)?;
    let number = u64_at(body, LEN - 12);
    let is_whole = u32_at(bytes, LEN - 4) == crc32fast::hash(body) && *bytes == *encode(id, number);
    is_whole.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeId, SegmentIndex, ShardId};

    fn id(index: u32) -> SegmentId {
        SegmentId {
            node: NodeId::new(3).unwrap(),
            shard: ShardId::new(2),
            index: SegmentIndex::new(index).unwrap(),
        }
    }

    #[test]
    fn i2_i4_a_promise_is_kept_for_a_segment_never_seen_and_its_number_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(promised(dir.path(), id(7)).unwrap(), 0);
        for (number, taken) in [(0, false), (2, true), (2, true), (1, false), (5, true), (4, false)] {
            assert_eq!(promise(dir.path(), id(7), number).is_ok(), taken, "{number}");
        }
        assert_eq!(promised(dir.path(), id(7)).unwrap(), 5);
        assert_eq!(promised(dir.path(), id(8)).unwrap(), 0);
    }

    #[test]
    fn i3_a_damaged_promise_is_the_strictest_there_is() {
        let dir = tempfile::tempdir().unwrap();
        promise(dir.path(), id(7), 2).unwrap();
        let path = promise_path(dir.path(), id(7));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(promised(dir.path(), id(7)).unwrap(), RecoveryNumber::MAX, "byte {at}");
            assert!(promise(dir.path(), id(7), 9).is_err());
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(promised(dir.path(), id(7)).unwrap(), RecoveryNumber::MAX);
        // The promise of another segment, under the name of this one.
        fs::copy(promise_path(dir.path(), id(7)), promise_path(dir.path(), id(8))).unwrap();
        assert_eq!(promised(dir.path(), id(8)).unwrap(), RecoveryNumber::MAX);
    }

    #[test]
    fn the_bytes_of_a_promise() {
        let golden = [
            0x47, 0x53, 0x50, 0x31, 3, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
        ];
        let bytes = encode(id(7), 9);
        assert_eq!(bytes[..LEN - 4], golden);
        assert_eq!(decode(&bytes, id(7)), Some(9));
    }
}

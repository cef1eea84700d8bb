//! Decides whether the folder of a log's segments answers, so that bad copies in it may be fetched anew. A disk that
//! cannot be read now, or a folder that is not mounted, must not cause a fetch of everything.
//!
//! **Invariants**:
//! - I1: nothing is fetched into a folder below `segments/` that is not this node's.
//! - I2: fewer than `FEW` copies are fetched anew whatever is wrong with them. Files that are missing from a folder
//!   that is there are fetched anew, however many they are.

use gophership_vault::FolderSeen;

/// The number of copies of one log from which on the folder is doubted, where it is missing or the disk does not give
/// most of them. Fewer are fetched anew.
const FEW: usize = 4;

/// Decides whether the folder answers.
///
/// # Errors
/// The reason why it counts as gone, in words.
pub fn answers(seen: &FolderSeen) -> Result<(), String> {
    let FolderSeen {
        path,
        is_ours,
        is_there,
        copies,
        unreadable,
    } = seen;
    let path = path.display();
    if !is_ours {
        return Err(format!(
            "the storage_uuid above {path} cannot be read, or is another: mount its file system, or move segments/ \
             back. Where segments/ is lost for good, make it empty, and copy wal/storage_uuid into it"
        ));
    }
    if !is_there && *copies >= FEW {
        return Err(format!(
            "{path} is not there, and had {copies} segments: mount it, or move it back. If it is lost, make the empty \
             folder"
        ));
    }
    if *unreadable >= FEW && unreadable * 2 > *copies {
        return Err(format!(
            "the disk gives {unreadable} of the {copies} segments in {path} not: look at the disk and at permissions"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_answer_is_told_from_a_few_files_that_cannot_be_read() {
        for (is_ours, is_there, copies, unreadable, is_ok) in [
            (true, true, 0, 0, true),
            (true, true, 100, 0, true),
            // I2: one bad sector, or the few files of a small log.
            (true, true, 100, 1, true),
            (true, true, 3, 3, true),
            (true, true, 100, 50, true),
            // EIO on everything.
            (true, true, 100, 51, false),
            (true, true, 4, 4, false),
            // I1: another file system, or none, is mounted where the segments are.
            (false, true, 100, 0, false),
            (false, true, 1, 0, false),
            (false, false, 1, 0, false),
            // A log's folder that is gone as a whole.
            (true, false, 3, 0, true),
            (true, false, 4, 0, false),
        ] {
            let seen = FolderSeen {
                path: "segments/1/0".into(),
                is_ours,
                is_there,
                copies,
                unreadable,
            };
            assert_eq!(answers(&seen).is_ok(), is_ok, "{seen:?}");
        }
    }
}

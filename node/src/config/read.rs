//! Reading of a file of a bounded size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::fault::Problem;

/// The text of a file.
///
/// # Errors
///
/// It cannot be read, is no UTF-8, or has more than `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| Problem::Unreadable {
        reason: error.to_string(),
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(unreadable)?.take(limit + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::FileTooLarge { limit });
    }
    String::from_utf8(bytes).map_err(|error| Problem::Unreadable {
        reason: error.to_string(),
    })
}

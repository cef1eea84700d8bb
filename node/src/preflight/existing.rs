//! Folders that are there, or are yet to be made.

use std::path::{Path, PathBuf};

/// The folder itself, or the nearest existing one above it.
pub(super) fn existing(path: &Path) -> PathBuf {
    let here = Path::new(".");
    path.ancestors()
        .map(|path| if path.as_os_str().is_empty() { here } else { path })
        .find(|path| path.exists())
        .unwrap_or(here)
        .to_path_buf()
}

//! The check of an archive that is a folder. Of a cluster the record decides which archive there is, so there its
//! faults are warnings.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::existing::existing;
use crate::config::Config;

/// The key that names the folder.
pub(super) const URL: &str = "archive.url";

/// Everything that would keep a node from archiving to its folder, or the folder from being of any use.
pub(super) fn faults(config: &Config) -> Vec<String> {
    let url = config.archive.url.as_deref();
    let Some(folder) = url.and_then(|url| url.strip_prefix("file://")).map(Path::new) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let (at, data) = (real(folder), real(&config.node.data_dir));
    if at.starts_with(&data) || data.starts_with(&at) {
        let inner = if at.starts_with(&data) { "is in" } else { "has in it" };
        faults.push(format!(
            "the folder {} {inner} node.data_dir {}, and would be lost with it: use one elsewhere, best on another disk",
            folder.display(),
            data.display()
        ));
    }
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match folder.metadata() {
        Err(error) => faults.push(format!("{}: {error}: create the folder, or mount it", folder.display())),
        Ok(found) if !found.is_dir() => faults.push(format!("{} is no folder", folder.display())),
        Ok(_) => {
            if let Err(error) = accessat(CWD, folder, needed, AtFlags::EACCESS) {
                let error = std::io::Error::from(error);
                faults.push(format!("this user cannot write to {}: {error}", folder.display()));
            }
        }
    }
    faults
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let nearest = existing(&whole);
    let rest = whole.strip_prefix(&nearest).unwrap_or(Path::new(""));
    nearest.canonicalize().unwrap_or(nearest).join(rest)
}

//! A disk that is slow for one process: what it writes there waits for a limit of the kernel's (cgroup v1, blkio).
//! Needs root.
//!
//! **Owns**: [`SlowDisk`]; [`clean_up`].
//!
//! **Invariants**:
//! - I1: the limit goes when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{major, minor, stat};
use rustix::process::{Pid, test_kill_process};

/// The folder of all groups of this kind.
const GROUPS: &str = "/sys/fs/cgroup/blkio";
/// Begins the names of all groups of the harness; the process id of the harness follows.
const PREFIX: &str = "jepsen-like-";

/// A limit on what a process writes to a disk.
#[derive(Debug)]
pub struct SlowDisk {
    group: PathBuf,
}

impl SlowDisk {
    /// Lets a process write so many bytes per second to the file system of `folder`.
    ///
    /// # Errors
    ///
    /// The caller is not root, the kernel has no such limit, or the process has ended.
    pub fn new(folder: &Path, bytes_per_second: u64, pid: u32) -> anyhow::Result<Self> {
        let device = stat(folder)?.st_dev;
        let group = Path::new(GROUPS).join(format!("{PREFIX}{}-{pid}", std::process::id()));
        fs::create_dir(&group).with_context(|| format!("cannot make {}: is cgroup v1 mounted?", group.display()))?;
        let made = Self { group };
        let limit = format!("{}:{} {bytes_per_second}", major(device), minor(device));
        made.write("blkio.throttle.write_bps_device", &limit)?;
        made.write("cgroup.procs", &pid.to_string())?;
        Ok(made)
    }

    /// Number of bytes that were written under the limit so far.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn written(&self) -> anyhow::Result<u64> {
        let counts = fs::read_to_string(self.group.join("blkio.throttle.io_service_bytes"))?;
        let writes = counts.lines().filter_map(|line| line.split_once(" Write "));
        writes.map(|(_, bytes)| Ok(bytes.trim().parse::<u64>()?)).sum()
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.group.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text:?} to {}", path.display()))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.group) {
            eprintln!("cannot remove {}: {error}", self.group.display());
        }
    }
}

/// Removes a group, whose processes go to the one above.
fn remove(group: &Path) -> std::io::Result<()> {
    for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
        // It may have ended since.
        let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), pid);
    }
    fs::remove_dir(group)
}

/// Removes the limits that dead harnesses left. Returns a list of what was done.
///
/// # Errors
///
/// One of them cannot be removed.
pub fn clean_up() -> anyhow::Result<Vec<String>> {
    let Ok(all) = fs::read_dir(GROUPS) else {
        return Ok(Vec::new());
    };
    let mut done = Vec::new();
    for entry in all {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((owner, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let owner = owner.parse().ok().and_then(Pid::from_raw);
        if owner.is_none_or(|pid| test_kill_process(pid).is_err()) {
            remove(&path)?;
            done.push(format!("removed the limit {name}"));
        }
    }
    Ok(done)
}

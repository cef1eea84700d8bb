//! The folder that holds everything of a run, under the system's temporary folder, removed on every exit path.
//!
//! **Owns**: [`Workdir`]; [`clean_up`], which removes the leavings of a killed harness.
//!
//! **Invariants**:
//! - I1: only a folder whose harness is gone is cleaned up, and only processes that run on a file in it are ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{mount, network, slow_disk};

/// A run's folder.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    keep: bool,
}

impl Workdir {
    /// Makes a folder for a run of this name. With `keep` it stays afterwards, for inspection.
    ///
    /// # Errors
    ///
    /// The temporary folder cannot be written.
    pub fn new(name: &str, keep: bool) -> anyhow::Result<Self> {
        let own = std::process::id();
        let path = base().join(format!("{own}-{name}-{:08x}", rand::random::<u32>()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn base() -> PathBuf {
    std::env::temp_dir().join("jepsen-like")
}

/// Ends the processes, mounts, networks, limits and folders that dead harnesses left. Returns a list of what was done.
///
/// # Errors
///
/// Something could not be unmounted or removed.
pub fn clean_up() -> anyhow::Result<Vec<String>> {
    let mut done = network::clean_up()?;
    done.extend(slow_disk::clean_up()?);
    let Ok(folders) = fs::read_dir(base()) else {
        return Ok(done);
    };
    for folder in folders {
        let path = folder?.path();
        let owner = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split('-').next());
        let owner = owner.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if owner.is_some_and(|pid| test_kill_process(pid).is_ok()) {
            continue;
        }
        for pid in processes_on(&path) {
            kill_process(pid, Signal::KILL).with_context(|| format!("cannot end process {pid:?}"))?;
            wait_gone(pid);
            done.push(format!("ended process {}", pid.as_raw_nonzero()));
        }
        for mountpoint in mount::mounts_below(&path)? {
            mount::unmount(&mountpoint)?;
            done.push(format!("unmounted {}", mountpoint.display()));
        }
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        done.push(format!("removed {}", path.display()));
    }
    Ok(done)
}

/// Processes with a word of their command line in the folder: nodes and their tracers, started with its configuration.
fn processes_on(folder: &Path) -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|word| word.starts_with(folder.as_os_str().as_encoded_bytes()))
    })
    .filter_map(Pid::from_raw)
    .collect()
}

fn wait_gone(pid: Pid) {
    let end = Instant::now() + Duration::from_secs(5);
    while test_kill_process(pid).is_ok() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
}

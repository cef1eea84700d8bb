//! A file system in a file of the run's own: it can be filled, stopped and mounted again without harm to the machine.
//! Needs root.
//!
//! **Owns**: [`LoopMount`].
//!
//! **Invariants**:
//! - I1: it is unmounted when dropped, and the loop device goes with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::geteuid;

use crate::tool::run;

const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// The kind of file system to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum FileSystem {
    /// XFS; the image must have 300 MB or more.
    Xfs,
    /// ext4.
    Ext4,
    /// tmpfs: in memory, with no image.
    Tmpfs,
}

/// A mounted image.
#[derive(Debug)]
pub struct LoopMount {
    image: PathBuf,
    mountpoint: PathBuf,
}

/// True where this process may mount.
pub fn is_root() -> bool {
    geteuid().is_root()
}

impl LoopMount {
    /// Makes a sparse image of this size in the folder and mounts it there.
    ///
    /// # Errors
    ///
    /// The caller is not root, the program that makes the file system is not installed, or no loop device is free.
    pub fn new(folder: &Path, kind: FileSystem, bytes: u64) -> anyhow::Result<Self> {
        ensure!(is_root(), "needs root: a loop mount");
        let (image, mountpoint) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir(&mountpoint)?;
        if kind == FileSystem::Tmpfs {
            let size = format!("size={bytes}");
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&mountpoint))?;
            return Ok(Self { image, mountpoint });
        }
        File::create_new(&image)?.set_len(bytes)?;
        let (program, flags): (_, &[&str]) = if kind == FileSystem::Xfs {
            ("mkfs.xfs", &["-q"])
        } else {
            // No blocks are reserved for root: a full disk is full.
            ("mkfs.ext4", &["-q", "-F", "-m", "0"])
        };
        run(Command::new(program).args(flags).arg(&image))?;
        let made = Self { image, mountpoint };
        made.mount()?;
        Ok(made)
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// Unmounts and mounts again, as a machine that starts after a power cut does.
    ///
    /// # Errors
    ///
    /// Some process still has files open there, or the file system does not mount again.
    pub fn remount(&self) -> anyhow::Result<()> {
        unmount(&self.mountpoint)?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mountpoint))
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        if mounts_below(&self.mountpoint).is_ok_and(|mounts| mounts.is_empty()) {
            return;
        }
        if let Err(error) = unmount(&self.mountpoint) {
            eprintln!("{error:#}");
            // The file system goes when its last user does.
            let _ = Command::new("umount").arg("-l").arg(&self.mountpoint).status();
        }
    }
}

/// Unmounts, and waits a while for a process that was just killed to let go.
///
/// # Errors
///
/// The mount stays busy.
pub fn unmount(mountpoint: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + UNMOUNT_PATIENCE;
    loop {
        match run(Command::new("umount").arg(mountpoint)) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            done => return done,
        }
    }
}

/// Mount points at or below a folder, the innermost first.
///
/// # Errors
///
/// `/proc/self/mounts` cannot be read.
pub fn mounts_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let places = table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from);
    let mut below: Vec<_> = places.filter(|place| place.starts_with(folder)).collect();
    below.reverse();
    Ok(below)
}

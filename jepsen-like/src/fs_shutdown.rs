//! The power cut: a file system that stops at once and forgets what was not synced.
//!
//! **Owns**: the one `ioctl` of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN`, `_IOR('X', 125, u32)` in the kernel's `xfs_fs.h` and `ext4.h`.
const FS_IOC_SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// `FSOP_GOING_FLAGS_NOLOGFLUSH`: neither data nor the journal is flushed first.
const NOLOGFLUSH: u32 = 2;

/// Stops the file system at `mountpoint` as a power cut would. Afterwards it returns only errors, until it is unmounted
/// and mounted again; then it holds only what was synced.
///
/// # Errors
///
/// The folder cannot be opened, the caller is not root, or the file system (other than XFS and ext4) cannot do it.
pub fn shut_down(mountpoint: &Path) -> io::Result<()> {
    let folder = File::open(mountpoint)?;
    // SAFETY: the operation reads one u32 from the pointer that `Setter` passes, and keeps it no longer than the call.
    unsafe { ioctl(&folder, Setter::<{ FS_IOC_SHUTDOWN }, u32>::new(NOLOGFLUSH)) }?;
    Ok(())
}

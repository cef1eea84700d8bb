//! File operations whose order makes them durable, and reads that go to the disk.
//!
//! **Invariants**:
//! - I1: a name is durable only after its folder is synced.
//! - I2: [`DiskReader`] reads with O_DIRECT where the file system can, so that it sees the disk and not the page cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fail::fail_point;
use rustix::fs::{Advice, OFlags};

use crate::error::VaultError;
use crate::limits::{PAGE, READ_AHEAD};

/// An error for a failpoint to return.
#[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
pub(crate) fn injected(what: &'static str, path: &Path) -> VaultError {
    VaultError::Io {
        what,
        path: path.to_path_buf(),
        source: io::Error::other("injected"),
    }
}

/// Syncs a folder, so that the names in it are durable. A failure is final: the next sync could report success for the
/// names that this one lost.
pub(crate) fn sync_dir(path: &Path) -> Result<(), VaultError> {
    let failed = |source| VaultError::FolderSync {
        path: path.to_path_buf(),
        source,
    };
    fail_point!("dir.sync", |_| Err(failed(io::Error::other("injected"))));
    #[cfg(feature = "testkit")]
    crate::testkit::disk::notify(crate::testkit::disk::DiskOp::SyncFolder(path)).map_err(failed)?;
    let folder = File::open(path).map_err(VaultError::io("open", path))?;
    folder.sync_all().map_err(failed)
}

/// Syncs a file's data.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<(), VaultError> {
    fail_point!("file.sync", |_| Err(injected("sync", path)));
    #[cfg(feature = "testkit")]
    crate::testkit::disk::notify(crate::testkit::disk::DiskOp::Sync(file)).map_err(VaultError::io("sync", path))?;
    file.sync_data().map_err(VaultError::io("sync", path))
}

/// Makes the kernel begin to write a range to the disk, and drop the written part from its cache. A sync at the end
/// then has little left to do, and the syncs of others do not wait behind it. This is best effort; an error of the disk
/// shows at that sync.
pub(crate) fn begin_writeback(file: &File, from: u64, to: u64) {
    if let Some(len) = to.checked_sub(from).and_then(NonZeroU64::new) {
        let _ = rustix::fs::fadvise(file, from, Some(len), Advice::DontNeed);
    }
}

/// Renames and makes the new name durable. The file itself must be synced already.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), VaultError> {
    fail_point!("file.rename", |_| Err(injected("rename", from)));
    #[cfg(feature = "testkit")]
    crate::testkit::disk::notify(crate::testkit::disk::DiskOp::Rename(from, to))
        .map_err(VaultError::io("rename", from))?;
    fs::rename(from, to).map_err(VaultError::io("rename", from))?;
    sync_dir(parent(to))
}

/// Gives a file a second name, and makes that durable.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), VaultError> {
    fail_point!("file.link", |_| Err(injected("link", from)));
    fs::hard_link(from, to).map_err(VaultError::io("link", from))?;
    sync_dir(parent(to))
}

/// Removes a file; one that does not exist is no error.
pub(crate) fn remove(path: &Path) -> Result<(), VaultError> {
    fail_point!("file.remove", |_| Err(injected("remove", path)));
    #[cfg(feature = "testkit")]
    crate::testkit::disk::notify(crate::testkit::disk::DiskOp::Remove(path)).map_err(VaultError::io("remove", path))?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(VaultError::io("remove", path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a small file whole: temporary name, sync, rename, sync of the folder.
///
/// # Errors
///
/// The file or its folder cannot be written or synced.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let tmp = with_suffix(path, ".tmp");
    let mut file = create(&tmp)?;
    file.write_all(bytes).map_err(VaultError::io("write", &tmp))?;
    sync_data(&file, &tmp)?;
    rename(&tmp, path)
}

/// Creates a file, empty, 0600, readable and writable.
pub(crate) fn create(path: &Path) -> Result<File, VaultError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(VaultError::io("create", path))
}

/// Creates a folder, 0700, with those above it.
pub(crate) fn create_dir(path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    create_dir(parent(path))?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(VaultError::io("create", path)(e)),
        Ok(()) | Err(_) => sync_dir(parent(path)),
    }
}

/// The paths in a folder, by name; a folder that does not exist is empty.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(VaultError::io("list", path)(e)),
    };
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(VaultError::io("list", path))?;
    paths.sort();
    Ok(paths)
}

/// The folder that holds a file.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) | None => Path::new("."),
    }
}

/// `path` with `suffix` appended to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// A reader of a file by position, through a window of aligned memory.
pub(crate) struct DiskReader {
    file: File,
    path: PathBuf,
    len: u64,
    buf: Vec<u8>,
    /// Bytes that are read at once, at least.
    ahead: usize,
    /// True where it reads the disk, and not the page cache.
    is_direct: bool,
    /// Offset in `buf` at which the aligned memory begins.
    base: usize,
    /// The file offset of the window's first byte, and the number of bytes in it.
    window: (u64, usize),
    /// True where the disk refused a read.
    bad_pages: bool,
}

/// The failure of a read.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// The range is not completely inside the file.
    PastEnd,
    /// The disk could not read it.
    Io(io::Error),
}

impl DiskReader {
    /// Opens `path`, past the page cache where that is possible.
    pub(crate) fn direct(path: &Path) -> Result<Self, VaultError> {
        check_barred(path)?;
        let mut options = OpenOptions::new();
        options.read(true);
        let direct = options
            .clone()
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path);
        let (file, is_direct) = match direct {
            Ok(file) => (file, true),
            // tmpfs and some overlays have no O_DIRECT; there the page cache is emptied first, as far as it can be.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                let file = options.open(path).map_err(VaultError::io("open", path))?;
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
                (file, false)
            }
            Err(e) => return Err(VaultError::io("open", path)(e)),
        };
        Ok(Self {
            is_direct,
            ..Self::over(file, path)?
        })
    }

    /// Opens `path` through the page cache, to read a few pages of it.
    pub(crate) fn sparse(path: &Path) -> Result<Self, VaultError> {
        Ok(Self {
            ahead: PAGE as usize,
            ..Self::cached(path)?
        })
    }

    /// True where it reads the disk, and not the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Opens `path` through the page cache.
    pub(crate) fn cached(path: &Path) -> Result<Self, VaultError> {
        check_barred(path)?;
        Self::over(File::open(path).map_err(VaultError::io("open", path))?, path)
    }

    /// Reads `file`, which was opened as `path`.
    pub(crate) fn over(file: File, path: &Path) -> Result<Self, VaultError> {
        let len = file.metadata().map_err(VaultError::io("look at", path))?.len();
        Ok(Self {
            file,
            path: path.to_path_buf(),
            len,
            buf: Vec::new(),
            ahead: READ_AHEAD,
            is_direct: false,
            base: 0,
            window: (0, 0),
            bad_pages: false,
        })
    }

    /// True where the disk refused a read since the file was opened.
    pub(crate) fn met_bad_pages(&self) -> bool {
        self.bad_pages
    }

    /// Bytes in the file when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Drops the bytes that were read, so that the next read sees the file as it is then.
    pub(crate) fn forget(&mut self) {
        self.window = (0, 0);
    }

    /// Returns `count` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// The range is past the end, or the disk could not read it.
    pub(crate) fn get(&mut self, offset: u64, count: usize) -> Result<&[u8], ReadFault> {
        let end = offset
            .checked_add(count as u64)
            .filter(|end| *end <= self.len)
            .ok_or(ReadFault::PastEnd)?;
        let (start, have) = self.window;
        if offset < start || end > start + have as u64 {
            self.fill(offset, count)?;
        }
        let at = self.base + usize::try_from(offset - self.window.0).map_err(|_| ReadFault::PastEnd)?;
        Ok(&self.buf[at..at + count])
    }

    /// The readable part of a range: up to the end of the file, with zeros for pages that the disk refuses.
    pub(crate) fn get_readable(&mut self, offset: u64, len: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let end = offset.saturating_add(len).min(self.len);
        let mut at = offset;
        while at < end {
            let n = (end - at).min(PAGE - at % PAGE) as usize;
            match self.get(at, n) {
                Ok(bytes) => out.extend_from_slice(bytes),
                Err(_) => out.resize(out.len() + n, 0),
            }
            at += n as u64;
        }
        out
    }

    fn fill(&mut self, offset: u64, count: usize) -> Result<(), ReadFault> {
        let page = PAGE as usize;
        let start = offset - offset % PAGE;
        let lead = (offset - start) as usize;
        let exact = (lead + count).next_multiple_of(page);
        let wanted = exact.max(self.ahead);
        if self.buf.len() < wanted + page {
            self.buf = vec![0; wanted + page];
            self.base = self.buf.as_ptr().align_offset(page);
        }
        self.window = (start, 0);
        let window = &mut self.buf[self.base..self.base + wanted];
        let got = match read_full(&self.file, &self.path, window, start, lead + count) {
            Ok(got) => got,
            // A bad sector in the read-ahead must not hide the good bytes that were asked for.
            Err(_) if wanted > exact => {
                let again = read_full(&self.file, &self.path, &mut window[..exact], start, exact);
                again.map_err(|e| {
                    self.bad_pages = true;
                    ReadFault::Io(e)
                })?
            }
            Err(e) => {
                self.bad_pages = true;
                return Err(ReadFault::Io(e));
            }
        };
        if got < lead + count {
            return Err(ReadFault::PastEnd);
        }
        self.window = (start, got);
        Ok(())
    }
}

/// Reads until `buf` is full or the file ends, or until the disk fails past the first `needed` bytes.
fn read_full(file: &File, path: &Path, buf: &mut [u8], offset: u64, needed: usize) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match read_some(file, path, &mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => {
                done += n;
                // Past an unaligned end there is nothing, and O_DIRECT would refuse to read.
                if !(done as u64).is_multiple_of(PAGE) {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if done >= needed => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn read_some(file: &File, path: &Path, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(feature = "failpoints")]
    let buf = match bad_sectors(path) {
        Some((from, to)) if (from..to).contains(&offset) => return Err(rustix::io::Errno::IO.into()),
        Some((from, _)) if offset < from => {
            let good = usize::try_from(from - offset).map_or(buf.len(), |n| n.min(buf.len()));
            &mut buf[..good]
        }
        Some(_) | None => buf,
    };
    #[cfg(not(feature = "failpoints"))]
    let _ = path;
    file.read_at(buf, offset)
}

/// Refuses to open a file that a test has barred: `return(<ends of paths, separated by commas>)`.
fn check_barred(path: &Path) -> Result<(), VaultError> {
    #[cfg(feature = "failpoints")]
    if let Some(ends) = fail::eval("file.open", |told| told).flatten()
        && ends.split(',').any(|end| path.to_string_lossy().ends_with(end))
    {
        return Err(VaultError::io("open", path)(rustix::io::Errno::ACCESS.into()));
    }
    let _ = path;
    Ok(())
}

/// The range of `path` that a test has made unreadable: `return(<end of the path>@<from>-<to>)`.
#[cfg(feature = "failpoints")]
fn bad_sectors(path: &Path) -> Option<(u64, u64)> {
    let told = || -> Option<String> {
        fail_point!("file.read", |told| told);
        None
    };
    let told = told()?;
    let (file, range) = told.split_once('@')?;
    let (from, to) = range.split_once('-')?;
    path.to_string_lossy()
        .ends_with(file)
        .then_some((from.parse().ok()?, to.parse().ok()?))
}

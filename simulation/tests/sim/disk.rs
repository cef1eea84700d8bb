//! The simulated disks: real files, of which is known what was synced.
//!
//! Every operation that makes something durable is told here before it is done, so that a host can crash at any of
//! them. At a power cut what was not synced is there in part, torn, or wrong; a name whose folder was not synced may be
//! the old one.
//!
//! **Not here**: the WAL of a host, which is a list of entries (`owner`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gophership_vault::ids::{NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::testkit::disk::{DiskOp, observe};

use crate::rng::Rng;

/// A host crashes in the middle of an operation: the value of a panic.
pub(crate) struct CrashHere {
    /// Its power is cut; else only its process ends.
    pub(crate) power: bool,
}

/// The way in which an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The process ends.
    Kill,
    /// The power is cut.
    Power,
    /// It returns an error.
    Error,
}

/// The disk of one host.
#[derive(Default)]
struct HostDisk {
    folder: PathBuf,
    /// By inode, the bytes from the start of the file that survive a power cut.
    synced: BTreeMap<u64, u64>,
    /// Renames whose folder was not synced since: from, to, and the file that had that name before.
    renamed: Vec<(PathBuf, PathBuf, Option<PathBuf>)>,
    /// Files that were removed from a folder which was not synced since, and where they are kept.
    removed: Vec<(PathBuf, PathBuf)>,
    /// Operations until one fails, and how.
    armed: Option<(u32, Failure)>,
    kept: u64,
}

/// The disks of all hosts.
pub(crate) struct Disks {
    root: PathBuf,
    hosts: Vec<HostDisk>,
    /// The host whose process runs.
    current: usize,
}

pub(crate) type SharedDisks = Rc<RefCell<Disks>>;

impl Disks {
    /// Disks below a folder. They are told of every file operation of this thread until the next are made.
    pub(crate) fn new(root: &Path, hosts: usize) -> SharedDisks {
        let disks = Self {
            root: root.to_path_buf(),
            hosts: (0..hosts).map(|_| HostDisk::default()).collect(),
            current: 0,
        };
        fs::create_dir_all(disks.root.join("kept")).unwrap();
        let disks = Rc::new(RefCell::new(disks));
        let told = Rc::clone(&disks);
        observe(Some(Box::new(move |op| {
            // Its borrow ends before a panic does.
            let failure = told.borrow_mut().before(op)?;
            match failure {
                Some(Failure::Kill) => resume_unwind(Box::new(CrashHere { power: false })),
                Some(Failure::Power) => resume_unwind(Box::new(CrashHere { power: true })),
                Some(Failure::Error) => Err(io::Error::other("simulated")),
                None => Ok(()),
            }
        })));
        disks
    }

    /// A new, empty folder for a host.
    pub(crate) fn format(&mut self, host: usize, name: &str) -> PathBuf {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).unwrap();
        self.hosts[host] = HostDisk {
            folder: folder.clone(),
            ..HostDisk::default()
        };
        folder
    }

    /// Operations from now on are those of this host.
    pub(crate) fn enter(&mut self, host: usize) {
        self.current = host;
    }

    /// Has one of the host's next operations fail.
    pub(crate) fn arm(&mut self, host: usize, after: u32, failure: Failure) {
        self.hosts[host].armed = Some((after, failure));
    }

    /// Has none fail any more.
    pub(crate) fn disarm(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.armed = None);
    }

    fn before(&mut self, op: DiskOp<'_>) -> io::Result<Option<Failure>> {
        let root = self.root.clone();
        let host = &mut self.hosts[self.current];
        if let Some((after, failure)) = &mut host.armed {
            match after.checked_sub(1) {
                Some(less) => *after = less,
                None => {
                    let failure = *failure;
                    host.armed = None;
                    return Ok(Some(failure));
                }
            }
        }
        match op {
            DiskOp::Sync(file) => {
                let meta = file.metadata()?;
                host.synced.insert(meta.ino(), meta.len());
            }
            DiskOp::SyncFolder(folder) => {
                host.renamed.retain(|(_, to, _)| to.parent() != Some(folder));
                host.removed.retain(|(path, _)| path.parent() != Some(folder));
            }
            DiskOp::Rename(from, to) => {
                let before = host.keep(&root, to);
                if from.parent() != to.parent()
                    && let Some(kept) = host.keep(&root, from)
                {
                    host.removed.push((from.to_path_buf(), kept));
                }
                host.renamed.push((from.to_path_buf(), to.to_path_buf(), before));
            }
            DiskOp::Remove(path) => {
                if let Some(kept) = host.keep(&root, path) {
                    host.removed.push((path.to_path_buf(), kept));
                }
            }
        }
        Ok(None)
    }

    /// Cuts the power of a host: what was not synced is kept in part, or not at all.
    pub(crate) fn power_cut(&mut self, host: usize, rng: &mut Rng) {
        let host = &mut self.hosts[host];
        for (from, to, before) in std::mem::take(&mut host.renamed).into_iter().rev() {
            if rng.chance(50) && to.exists() {
                fs::rename(&to, &from).unwrap();
                if let Some(before) = before {
                    fs::rename(before, &to).unwrap();
                }
            }
        }
        for (path, kept) in std::mem::take(&mut host.removed) {
            if rng.chance(50) && !path.exists() {
                fs::rename(kept, &path).unwrap();
            }
        }
        for path in files(&host.folder) {
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let meta = file.metadata().unwrap();
            let synced = host.synced.get(&meta.ino()).copied();
            let durable = synced.unwrap_or(0).min(meta.len());
            if synced.is_none() && rng.chance(30) {
                fs::remove_file(&path).unwrap();
                continue;
            }
            let end = durable + rng.below(meta.len() - durable + 1);
            file.set_len(end).unwrap();
            if durable < end && rng.chance(40) {
                flip(&file, durable + rng.below(end - durable), rng.next());
            }
            host.synced.insert(meta.ino(), end);
        }
    }

    /// Flips a bit of what was synced in one of the host's files; says which.
    pub(crate) fn flip_synced(&mut self, host: usize, rng: &mut Rng) -> Option<PathBuf> {
        let host = &self.hosts[host];
        let paths: Vec<_> = files(&host.folder.join("segments"))
            .into_iter()
            .filter(|path| host.durable(path) > 0)
            .collect();
        let path = paths.get(rng.below(paths.len().max(1) as u64) as usize)?.clone();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        flip(&file, rng.below(host.durable(&path)), rng.next());
        Some(path)
    }

    /// Removes the files of a host whose names end in `.KIND`.
    pub(crate) fn forget(&self, host: usize, kind: &str) {
        let files = files(&self.hosts[host].folder);
        let of_kind = files
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == kind));
        of_kind.for_each(|path| fs::remove_file(path).unwrap());
    }

    /// Bytes from the start of a host's file that survive a power cut.
    pub(crate) fn durable(&self, host: usize, path: &Path) -> u64 {
        self.hosts[host].durable(path)
    }

    /// The folder of a host.
    pub(crate) fn folder(&self, host: usize) -> &Path {
        &self.hosts[host].folder
    }
}

impl HostDisk {
    /// Keeps what has a name now, under another one: the name may have it again after a power cut.
    fn keep(&mut self, root: &Path, path: &Path) -> Option<PathBuf> {
        self.kept += 1;
        let folder = self.folder.file_name()?.to_string_lossy().into_owned();
        let kept = root.join("kept").join(format!("{folder}-{}", self.kept));
        fs::hard_link(path, &kept).ok().map(|()| kept)
    }

    fn durable(&self, path: &Path) -> u64 {
        let Ok(meta) = fs::metadata(path) else { return 0 };
        let synced = self.synced.get(&meta.ino()).copied();
        synced.unwrap_or(0).min(meta.len())
    }
}

fn flip(file: &File, at: u64, with: u64) {
    let mut byte = [0];
    if file.read_at(&mut byte, at).unwrap() == 1 {
        byte[0] ^= 1 << (with % 8);
        file.write_at(&byte, at).unwrap();
    }
}

/// The files below a folder, in order of their paths.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).collect()
}

/// The segment that a file is of, by its name.
pub(crate) fn segment_of(path: &Path) -> Option<SegmentId> {
    let number = |part: &Path| part.file_stem()?.to_str()?.parse::<u32>().ok();
    let shard = path.parent()?;
    Some(SegmentId {
        node: NodeId::new(number(shard.parent()?)?)?,
        shard: ShardId::new(number(shard)? as u16),
        index: SegmentIndex::new(number(path)?)?,
    })
}

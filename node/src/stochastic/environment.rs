//! Readings of the machine: pressure (PSI) and the memory of the process's own cgroup, v1, v2 or none.
//!
//! **Owns**: the choice of the files that are read.
//!
//! **Invariants**:
//! - I1: pressure of memory and io is the own group's where that has one, else the host's; pressure of the cpu is only
//!   the own group's, since the host's includes other processes.
//! - I2: a reading that cannot be taken is absent and says why: no file, no support (`psi=0`), or nothing in it. It is
//!   never an error.
//!
//! **Not here**: the groups of the process (`machine.rs`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::limits::FILE_BYTES_MAX;
use super::psi::{PsiLine, avg10};
use crate::machine::{groups, memory_limit_of, number_in, unified_group};

/// Pressure on one resource.
#[derive(Clone, PartialEq, Debug)]
pub enum Pressure {
    /// A reading.
    Read {
        /// The share of the last ten seconds, in percent.
        avg10: f64,
        /// The file that it was read from.
        from: PathBuf,
    },
    /// No reading.
    Absent {
        /// The reasons, file by file.
        why: String,
    },
}

impl Pressure {
    /// The share of the last ten seconds, in percent, where it is known.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        match self {
            Self::Read { avg10, .. } => Some(*avg10),
            Self::Absent { .. } => None,
        }
    }

    fn absent(why: &str) -> Self {
        Self::Absent { why: why.to_owned() }
    }
}

/// Memory of a cgroup. The page cache counts, so a group that writes logs is near its limit without any pressure: this
/// is a metric only, and no input of the zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMemory {
    /// The group's folder.
    pub group: PathBuf,
    /// Bytes used.
    pub used: u64,
    /// Its limit in bytes.
    pub limit: u64,
}

/// All readings of the machine at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Environment {
    /// Time in which all tasks waited for memory.
    pub memory_full: Pressure,
    /// Time in which some task waited for a disk.
    pub io_some: Pressure,
    /// Time in which some task waited for a core. A metric only, and no input of the zones: scheduler lag is measured
    /// in the workers themselves.
    pub cpu_some: Pressure,
    /// Of the own group and those above it, the one nearest its memory limit; `None` where none has a limit.
    pub memory: Option<GroupMemory>,
}

impl Environment {
    /// An environment before the first reading.
    #[must_use]
    pub fn unread() -> Self {
        let unread = Pressure::absent("not read yet");
        Self {
            memory_full: unread.clone(),
            io_some: unread.clone(),
            cpu_some: unread,
            memory: None,
        }
    }
}

/// A reader of the machine's state.
#[derive(Clone, Debug)]
pub struct EnvironmentReader {
    /// The own v2 group.
    group: Option<PathBuf>,
    /// The groups that may limit memory.
    memory_groups: Vec<PathBuf>,
    /// The host's pressure files.
    host: PathBuf,
}

impl EnvironmentReader {
    /// A reader of `/proc` and `/sys` below `root`. The groups of the process are looked up once.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            group: unified_group(root),
            memory_groups: groups(root, "memory"),
            host: root.join("proc/pressure"),
        }
    }

    /// Takes all readings.
    #[must_use]
    pub fn read(&self) -> Environment {
        let own = |name: &str| self.group.as_ref().map(|group| group.join(name));
        let host = |name: &str| self.host.join(name);
        Environment {
            memory_full: pressure(
                own("memory.pressure").into_iter().chain([host("memory")]),
                PsiLine::Full,
            ),
            io_some: pressure(own("io.pressure").into_iter().chain([host("io")]), PsiLine::Some),
            cpu_some: pressure(own("cpu.pressure"), PsiLine::Some),
            memory: self.memory(),
        }
    }

    fn memory(&self) -> Option<GroupMemory> {
        let limited = self.memory_groups.iter().filter_map(|group| {
            let used = ["memory.current", "memory.usage_in_bytes"]
                .iter()
                .find_map(|name| number_in(&group.join(name)))?;
            Some(GroupMemory {
                group: group.clone(),
                used,
                // The value that v1 uses for unlimited is larger than any machine.
                limit: memory_limit_of(group).filter(|limit| *limit < i64::MAX as u64 / 2)?,
            })
        });
        limited.min_by_key(|group| group.limit.saturating_sub(group.used))
    }
}

/// The pressure in the first file that has one.
fn pressure(files: impl IntoIterator<Item = PathBuf>, line: PsiLine) -> Pressure {
    let mut why = String::new();
    for file in files {
        let read = text_of(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| avg10(&text, line).map_err(|error| error.to_string()));
        match read {
            Ok(avg10) => return Pressure::Read { avg10, from: file },
            Err(error) => {
                let and = if why.is_empty() { "" } else { "; " };
                why.push_str(&format!("{and}{}: {error}", file.display()));
            }
        }
    }
    if why.is_empty() {
        return Pressure::absent("the process is in no cgroup v2");
    }
    Pressure::Absent { why }
}

fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;

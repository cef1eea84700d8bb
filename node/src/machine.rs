//! The resources that this machine grants the process: cores within the affinity mask and the cgroup's CPU quota, and
//! memory within the cgroup's limit. Cgroup v1, v2 and both at once.
//!
//! **Owns**: [`Machine`].
//!
//! **Invariants**:
//! - I1: a value that cannot be read limits nothing: a machine without cgroups or `/proc` still starts.
//! - I2: every level from the process's own group up to the mount's root counts; the smallest limit holds.
//!
//! **Not here**: the use of these values (`config/settings.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::sched_getaffinity;

/// Bytes of memory that are assumed where nothing can be read.
const MEMORY_UNKNOWN: u64 = 1 << 30;

/// The resources that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores: the smaller of the affinity mask and the CPU quota (rounded down, so that no worker is throttled), from
    /// 1.
    pub cores: usize,
    /// Bytes of memory: the smaller of the host's and the cgroup's limit.
    pub memory: u64,
}

/// A mounted cgroup hierarchy.
struct Mount {
    /// The group at the mount's root: in a container often not `/`.
    group: PathBuf,
    point: PathBuf,
    kind: MountKind,
}

enum MountKind {
    /// Version 2, with every controller.
    Unified,
    /// Version 1, with these controllers.
    Controllers(Vec<String>),
}

impl Machine {
    /// Reads the resources of this machine.
    #[must_use]
    pub fn detect() -> Self {
        let mask = sched_getaffinity(None).map_or(1, |set| set.count() as usize);
        Self::detect_in(Path::new("/"), mask)
    }

    /// Reads the `/proc` and `/sys` below `root`, for a process whose affinity mask has `mask` cores.
    #[must_use]
    pub fn detect_in(root: &Path, mask: usize) -> Self {
        let quota = groups(root, "cpu").iter().filter_map(|group| quota_of(group)).min();
        let limit = groups(root, "memory")
            .iter()
            .filter_map(|group| memory_limit_of(group))
            .min();
        let memory = host_memory(root)
            .into_iter()
            .chain(limit)
            .min()
            .unwrap_or(MEMORY_UNKNOWN);
        Self {
            cores: quota.unwrap_or(usize::MAX).min(mask).max(1),
            memory,
        }
    }
}

/// Cores of a group's quota, v2 (`max 100000`, `150000 100000`) or v1.
fn quota_of(group: &Path) -> Option<usize> {
    let (quota, period) = match fs::read_to_string(group.join("cpu.max")) {
        Ok(text) => {
            let mut words = text.split_whitespace();
            (
                words.next()?.parse::<u64>().ok()?,
                words.next().map_or(Some(100_000), |period| period.parse().ok())?,
            )
        }
        Err(_) => (
            number_in(&group.join("cpu.cfs_quota_us"))?,
            number_in(&group.join("cpu.cfs_period_us"))?,
        ),
    };
    usize::try_from(quota.checked_div(period)?).ok()
}

/// A group's memory limit, v2 or v1. The value that v1 uses for unlimited is larger than any machine and so limits
/// nothing.
pub(crate) fn memory_limit_of(group: &Path) -> Option<u64> {
    ["memory.max", "memory.limit_in_bytes"]
        .iter()
        .filter_map(|name| number_in(&group.join(name)))
        .min()
}

fn host_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The unsigned number in a file; `None` for `max` and `-1`.
pub(crate) fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The folders of the groups that this process is in for a controller, from its own up to the mount's root.
pub(crate) fn groups(root: &Path, controller: &str) -> Vec<PathBuf> {
    groups_where(root, |controllers, kind| match kind {
        MountKind::Unified => controllers.is_empty(),
        MountKind::Controllers(names) => {
            controllers.split(',').any(|name| name == controller) && names.iter().any(|name| name == controller)
        }
    })
}

/// The folder of the process's own v2 group, whatever its controllers, where v2 is mounted.
pub(crate) fn unified_group(root: &Path) -> Option<PathBuf> {
    let unified = |controllers: &str, kind: &MountKind| match kind {
        MountKind::Unified => controllers.is_empty(),
        MountKind::Controllers(_) => false,
    };
    groups_where(root, unified).into_iter().next()
}

/// The folders of the groups whose line (its controllers) and mount belong together, from the own group up.
fn groups_where(root: &Path, belong: impl Fn(&str, &MountKind) -> bool) -> Vec<PathBuf> {
    let mounts = mounts(root);
    let memberships = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(own)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some(mount) = mounts.iter().find(|mount| belong(controllers, &mount.kind)) else {
            continue;
        };
        // A group outside the mount's root (seen in a container with its host's path) is read as that root.
        let below = Path::new(own).strip_prefix(&mount.group).unwrap_or(Path::new(""));
        folders.extend(below.ancestors().map(|group| mount.point.join(group)));
    }
    folders
}

/// The cgroup mounts in `/proc/self/mountinfo`.
fn mounts(root: &Path) -> Vec<Mount> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    text.lines().filter_map(|line| mount_of(root, line)).collect()
}

/// One line: `31 23 0:28 /group /mount/point rw - cgroup cgroup rw,memory`.
fn mount_of(root: &Path, line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (group, point) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let kind = match file_system.next()? {
        "cgroup2" => MountKind::Unified,
        "cgroup" => MountKind::Controllers(file_system.nth(1)?.split(',').map(str::to_owned).collect()),
        _ => return None,
    };
    let point = root.join(point.trim_start_matches('/'));
    Some(Mount {
        group: PathBuf::from(group),
        point,
        kind,
    })
}

#[cfg(test)]
mod tests;

//! Requirements of the process on its system: a recent kernel, and descriptors.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED};

/// The oldest kernel for which O_DIRECT, the mapping and the metrics were made.
const KERNEL_MIN: (u32, u32) = (5, 8);

pub(super) fn check_kernel() -> anyhow::Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match kernel_version(&release) {
        Some(version) if version < KERNEL_MIN => {
            bail!(
                "Linux {release} is too old: GopherShip needs {}.{} or later",
                KERNEL_MIN.0,
                KERNEL_MIN.1
            )
        }
        Some(_) | None => Ok(()),
    }
}

/// Raises the limit of open files as far as the process may.
pub(super) fn take_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = current, "node.descriptors.refused");
    }
}

/// Number of connections for which there are descriptors.
pub(super) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // With very few descriptors connections get half of them.
    let free = limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 2);
    let max = usize::try_from(free).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
    if max < CONNECTIONS_MAX {
        tracing::warn!(limit, connections = max, "node.descriptors.few");
    }
    max
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel_version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(kernel_version("6.18.44-fc"), Some((6, 18)));
        assert!(kernel_version("5.4.0").unwrap() < KERNEL_MIN);
        assert_eq!(kernel_version("weird"), None);
    }
}

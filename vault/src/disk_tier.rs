//! The fill of the disk in tiers: a pure function over bytes.

use crate::limits::{DISK_EVICT_PERCENT, DISK_REFUSE_PERCENT, DISK_REFUSE_REPLICAS_PERCENT};

/// The operations that the fill of the disk allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DiskTier {
    /// Everything is allowed.
    Normal = 0,
    /// Everything is allowed; released segments are trimmed even before their retention is over.
    Evict = 1,
    /// Ingest is refused.
    Refuse = 2,
    /// Copies of other nodes' segments are refused, too.
    RefuseReplicas = 3,
}

impl DiskTier {
    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Normal,
            1 => Self::Evict,
            2 => Self::Refuse,
            _ => Self::RefuseReplicas,
        }
    }

    /// The name in metrics and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Evict => "evict",
            Self::Refuse => "refuse",
            Self::RefuseReplicas => "refuse_replicas",
        }
    }
}

/// Use of the disk, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskUse {
    /// Bytes held by this vault.
    pub own: u64,
    /// Limit of the bytes that it may hold.
    pub limit: u64,
    /// Bytes in use on the file system, by anybody; those that only root may use count as used.
    pub filesystem_used: u64,
    /// The file system's size.
    pub filesystem_size: u64,
}

impl DiskUse {
    /// Bytes by which the worse of the two is above `percent`, with `more` bytes that may soon be used.
    pub(crate) fn bytes_above(&self, percent: u64, more: u64) -> u64 {
        let above = |used: u64, of: u64| {
            (used.saturating_add(more)).saturating_sub((u128::from(of) * u128::from(percent) / 100) as u64)
        };
        let filesystem = if self.filesystem_size == 0 {
            0
        } else {
            above(self.filesystem_used, self.filesystem_size)
        };
        above(self.own, self.limit).max(filesystem)
    }
}

/// The tier of the worse of the two.
pub(crate) fn disk_tier(disk: &DiskUse) -> DiskTier {
    let percent = |used: u64, of: u64| {
        if of == 0 {
            0
        } else {
            u128::from(used) * 100 / u128::from(of)
        }
    };
    let fill = percent(disk.own, disk.limit).max(percent(disk.filesystem_used, disk.filesystem_size));
    if fill >= u128::from(DISK_REFUSE_REPLICAS_PERCENT) {
        DiskTier::RefuseReplicas
    } else if fill >= u128::from(DISK_REFUSE_PERCENT) {
        DiskTier::Refuse
    } else if fill >= u128::from(DISK_EVICT_PERCENT) {
        DiskTier::Evict
    } else {
        DiskTier::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_own_limit_and_file_system_decides() {
        let tier = |own, fs| {
            disk_tier(&DiskUse {
                own,
                limit: 100,
                filesystem_used: fs,
                filesystem_size: 100,
            })
        };
        assert_eq!(tier(79, 79), DiskTier::Normal);
        assert_eq!(tier(80, 0), DiskTier::Evict);
        assert_eq!(tier(0, 89), DiskTier::Evict);
        assert_eq!(tier(90, 0), DiskTier::Refuse);
        assert_eq!(tier(94, 94), DiskTier::Refuse);
        assert_eq!(tier(95, 0), DiskTier::RefuseReplicas);
        assert_eq!(tier(0, 100), DiskTier::RefuseReplicas);
    }
}

//! Rules that can be switched off, one at a time: the oracle must see it.

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// An object is committed without being read back.
    ObjectUnread,
    /// A manifest is committed without being read back.
    ManifestUnread,
    /// The catalogue takes a commit from whoever sends it.
    AnyoneCommits,
    /// The store overwrites what is there.
    StoreOverwrites,
    /// The catalogue takes a manifest whatever it follows.
    ManifestAnywhere,
    /// A segment is released when its object is committed.
    ReleasedUnlisted,
    /// A segment is released when it is leased.
    ReleasedLeased,
    /// A name under which something else is goes on being used.
    NothingDoomed,
}

impl Bug {
    /// Every bug there is.
    pub(crate) const ALL: [Self; 8] = [
        Self::ObjectUnread,
        Self::ManifestUnread,
        Self::AnyoneCommits,
        Self::StoreOverwrites,
        Self::ManifestAnywhere,
        Self::ReleasedUnlisted,
        Self::ReleasedLeased,
        Self::NothingDoomed,
    ];
}

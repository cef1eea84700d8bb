//! The three zones.

use std::fmt;

/// A zone: the amount of work beyond durability that the node does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Zone {
    /// All work is done.
    #[default]
    Green = 0,
    /// Jobs behind the ack are slowed; nothing is handed over live.
    Yellow = 1,
    /// Only work that must go on is done; compressed messages are kept as received.
    Red = 2,
}

impl Zone {
    /// All zones, in order of pressure.
    pub const ALL: [Self; 3] = [Self::Green, Self::Yellow, Self::Red];

    /// The name that is shown, and the label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }

    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Green,
            1 => Self::Yellow,
            _ => Self::Red,
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

//! The entries that a holder has of a segment, and sets of nodes: small values that a state is made of.

use std::fmt;

/// The most entries that a segment takes.
pub(crate) const ENTRIES_MAX: u8 = 3;
/// Nodes that may hold copies beside the owner.
pub(crate) const REPLICAS: usize = 3;
/// The owner among the nodes.
pub(crate) const OWNER: usize = REPLICAS;

/// Entries of one segment: at each number the epoch that wrote the entry, or 0 where there is none. Entries are
/// numbered from 1. While one epoch writes a segment a number can have one entry only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Content(u8);

impl Content {
    pub(crate) const EMPTY: Self = Self(0);

    /// The epoch that wrote entry `number`, or 0.
    pub(crate) fn writer(self, number: u8) -> u8 {
        self.0 >> (2 * (number - 1)) & 3
    }

    /// The number of the last entry, or 0.
    pub(crate) fn end(self) -> u8 {
        (1..=ENTRIES_MAX).rev().find(|n| self.writer(*n) != 0).unwrap_or(0)
    }

    pub(crate) fn with(self, number: u8, writer: u8) -> Self {
        Self(self.without(number).0 | writer << (2 * (number - 1)))
    }

    pub(crate) fn without(self, number: u8) -> Self {
        Self(self.0 & !(3 << (2 * (number - 1))))
    }

    /// The entries up to number `end`.
    pub(crate) fn prefix(self, end: u8) -> Self {
        Self(self.0 & !(u8::MAX << (2 * end)))
    }

    pub(crate) fn is_prefix_of(self, other: Self) -> bool {
        self.end() <= other.end() && other.prefix(self.end()) == self
    }

    /// The entries of both. `None` where one number has two entries.
    pub(crate) fn union(self, other: Self) -> Option<Self> {
        let clash = (1..=ENTRIES_MAX).any(|n| {
            let (mine, its) = (self.writer(n), other.writer(n));
            mine != 0 && its != 0 && mine != its
        });
        (!clash).then_some(Self(self.0 | other.0))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for number in 1..=self.end() {
            let gap = if number > 1 { " " } else { "" };
            match self.writer(number) {
                0 => write!(f, "{gap}_")?,
                epoch => write!(f, "{gap}{number}e{epoch}")?,
            }
        }
        f.write_str("]")
    }
}

/// A set of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Nodes(u8);

impl Nodes {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self((1 << (REPLICAS + 1)) - 1);

    /// The set of the replicas with these numbers, counted from 1 as in names.
    pub(crate) const fn replicas(numbers: &[usize]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < numbers.len() {
            set |= 1 << (numbers[at] - 1);
            at += 1;
        }
        Self(set)
    }

    pub(crate) fn of(node: usize) -> Self {
        Self(1 << node)
    }

    pub(crate) fn has(self, node: usize) -> bool {
        self.0 >> node & 1 == 1
    }

    pub(crate) fn with(self, node: usize) -> Self {
        Self(self.0 | 1 << node)
    }

    pub(crate) fn without(self, node: usize) -> Self {
        Self(self.0 & !(1 << node))
    }

    pub(crate) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The replicas in it, the owner left out.
    pub(crate) fn peers(self) -> impl Iterator<Item = usize> {
        (0..REPLICAS).filter(move |r| self.has(*r))
    }

    /// The set as a number below 16.
    pub(crate) fn bits(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = (0..=OWNER).filter(|n| self.has(*n)).map(name).collect();
        write!(f, "{{{}}}", names.join(","))
    }
}

/// The name of a node in a trace.
pub(crate) fn name(node: usize) -> &'static str {
    ["R1", "R2", "R3", "O"][node]
}

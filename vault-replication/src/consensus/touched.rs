//! The segments whose records have changed in a state, for whoever makes the files of a node follow it.
//!
//! **Invariants**:
//! - I1: a change is taken once, and none is missed: what does not fit makes all segments count as changed.

use std::collections::BTreeSet;
use std::mem;

use gophership_catalogue::State;
use gophership_catalogue::state::Change;
use gophership_vault::ids::SegmentId;

use super::limits::TOUCHED_MAX;

/// Segments whose records have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touched {
    /// These.
    These(BTreeSet<SegmentId>),
    /// Any of them: the state is a new one, or too many have changed.
    All,
}

impl Default for Touched {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Touched {
    /// Notes a change.
    pub(crate) fn note(&mut self, change: &Change) {
        let id = match change {
            Change::Segment(record) => record.id(),
            Change::SegmentGone(id) | Change::Leftovers(id, _) | Change::LeftoversGone(id) => *id,
            _ => return,
        };
        self.add(Self::These([id].into()));
    }

    /// Adds what another one has.
    pub(crate) fn add(&mut self, more: Self) {
        *self = match (self.take(), more) {
            (Self::These(mut these), Self::These(more)) => {
                these.extend(more);
                if these.len() > TOUCHED_MAX {
                    Self::All
                } else {
                    Self::These(these)
                }
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        };
    }

    /// Takes what was noted.
    pub(crate) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// The segments of a state that it names.
    pub fn segments(&self, state: &State) -> Vec<SegmentId> {
        match self {
            Self::These(these) => these.iter().copied().collect(),
            Self::All => state.segments().map(|record| record.id()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{SegmentIndex, ShardId};

    use super::*;
    use crate::testkit::node;

    fn gone(n: u32) -> Change {
        Change::SegmentGone(SegmentId {
            node: node(1),
            shard: ShardId::new(0),
            index: SegmentIndex::new(n).unwrap(),
        })
    }

    #[test]
    fn i1_what_was_noted_is_taken_once_and_too_much_is_all() {
        let mut touched = Touched::default();
        touched.note(&gone(1));
        touched.note(&gone(1));
        touched.note(&Change::SettingGone("x".to_owned()));
        assert!(matches!(touched.take(), Touched::These(these) if these.len() == 1));
        assert_eq!(touched.take(), Touched::default());
        (0..=TOUCHED_MAX as u32).for_each(|n| touched.note(&gone(n + 1)));
        touched.note(&gone(1));
        assert_eq!(touched.take(), Touched::All);
        assert_eq!(touched.take(), Touched::default());
    }
}

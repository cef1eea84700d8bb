//! The last values of a figure, oldest first.
//!
//! **Invariants**:
//! - I1: the length is bounded; the oldest value goes.

use std::collections::VecDeque;

/// Number of values kept: a line of the widest screens.
const LENGTH: usize = 512;

/// Values by interval; `None` for an interval without one.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    values: VecDeque<Option<u64>>,
}

impl History {
    pub(super) fn push(&mut self, value: Option<u64>) {
        if self.values.len() == LENGTH {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    /// The last `n`, or as many as there are.
    pub(super) fn last(&self, n: usize) -> Vec<Option<u64>> {
        self.values
            .range(self.values.len().saturating_sub(n)..)
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_the_oldest_goes() {
        let mut history = History::default();
        assert!(history.last(3).is_empty());
        for i in 0..2 * LENGTH as u64 {
            history.push(Some(i));
        }
        history.push(None);
        let end = 2 * LENGTH as u64 - 1;
        assert_eq!(history.last(3), [Some(end - 1), Some(end), None]);
        assert_eq!(history.last(usize::MAX).len(), LENGTH);
    }
}

//! Queries about events.

use std::ops::Bound;

use super::State;
use crate::event::{Event, EventNumber};

impl State {
    /// The events behind this number, oldest first.
    pub fn events_after(&self, number: EventNumber) -> impl Iterator<Item = (EventNumber, &Event)> {
        let behind = (Bound::Excluded(number), Bound::Unbounded);
        self.events.range(behind).map(|(number, event)| (*number, event))
    }

    /// The number of the newest event; 0 before the first.
    pub(crate) fn newest_event(&self) -> EventNumber {
        self.events.last_key_value().map_or(0, |(number, _)| *number)
    }
}

//! How far a replica is behind, in time, by what its stream knew when. Pure: the caller knows the time.

use std::time::{Duration, Instant};

use super::sender::Progress;
use gophership_vault::ids::Lsn;

/// The lag of a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    /// The progress that was noted last.
    pub progress: Progress,
    /// The time at which it last synced something new, or lacked nothing.
    moved: Instant,
    /// An entry that was there at this time, and is not synced yet.
    lacks: Option<(Lsn, Instant)>,
    /// The age that such an entry had when it was synced last.
    was: Duration,
}

impl Lag {
    /// The lag after what a stream knows now; `None` where the replica is sent nothing, so that it lacks nothing.
    pub(super) fn noted(before: Option<Self>, progress: Option<Progress>, now: Instant) -> Option<Self> {
        let progress = progress?;
        let mut lag = before.unwrap_or(Self {
            progress,
            moved: now,
            lacks: None,
            was: Duration::ZERO,
        });
        lag.note(progress, now);
        Some(lag)
    }

    fn note(&mut self, progress: Progress, now: Instant) {
        if progress.synced != self.progress.synced {
            self.moved = now;
        }
        self.progress = progress;
        if let Some((lacked, since)) = self.lacks
            && progress.synced >= Some(lacked)
        {
            (self.lacks, self.was) = (None, now.saturating_duration_since(since));
        }
        if self.lacks.is_none() {
            // It lacked nothing until now.
            self.moved = now;
            let lacked = progress.readable.filter(|_| progress.synced < progress.readable);
            self.lacks = lacked.map(|last| (last, now));
        }
        if self.lacks.is_none() {
            self.was = Duration::ZERO;
        }
    }

    /// The age, at least, of the oldest entry that the replica lacks.
    pub fn behind(&self, now: Instant) -> Duration {
        let lacks = |(_, since): (Lsn, Instant)| now.saturating_duration_since(since).max(self.was);
        self.lacks.map_or(Duration::ZERO, lacks)
    }

    /// The time for which the replica has synced nothing new though it lacks something.
    pub fn still(&self, now: Instant) -> Duration {
        let still = |_| now.saturating_duration_since(self.moved);
        self.lacks.map_or(Duration::ZERO, still)
    }
}

/// A stream as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamStatus {
    /// There is a stream.
    pub is_connected: bool,
    /// The reason for which the last one ended, or none could be begun.
    pub error: Option<String>,
    /// Copies that were found to be no copies of their segments.
    pub differs: u64,
    /// What the replica has; `None` where there is nothing that it is sent.
    pub lag: Option<Lag>,
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::{EntryNumber, SegmentIndex};

    use super::*;

    #[test]
    fn a_lag_grows_while_something_is_lacking_and_stillness_while_nothing_is_synced() {
        let (begun, index) = (Instant::now(), SegmentIndex::FIRST);
        let at = |number| EntryNumber::new(number).map(|number| Lsn::at(index, number));
        let progress = |synced, readable| Progress {
            synced: at(synced),
            readable: at(readable),
            newest: index,
        };
        let second = |n| begun + Duration::from_secs(n);
        let mut lag = Lag::noted(None, Some(progress(0, 0)), begun).unwrap();
        for (now, synced, readable, behind, still) in [
            (1, 0, 0, 0, 0),
            (5, 0, 9, 0, 0),
            (8, 0, 20, 3, 3),
            (9, 5, 30, 4, 0),
            (11, 9, 40, 6, 0),
            (12, 9, 40, 6, 1),
            (19, 30, 40, 8, 0),
            (20, 40, 40, 0, 0),
            (90, 40, 40, 0, 0),
            (91, 40, 41, 0, 0),
        ] {
            lag.note(progress(synced, readable), second(now));
            let shown = (lag.behind(second(now)).as_secs(), lag.still(second(now)).as_secs());
            assert_eq!(shown, (behind, still), "at {now}");
        }
    }

    #[test]
    fn a_replica_that_is_sent_nothing_any_more_is_behind_in_nothing() {
        let progress = Progress {
            synced: None,
            readable: Some(Lsn::at(SegmentIndex::FIRST, EntryNumber::FIRST)),
            newest: SegmentIndex::FIRST,
        };
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let lag = Lag::noted(None, Some(progress), begun);
        assert_eq!(lag.as_ref().map(|lag| lag.still(begun + second)), Some(second));
        assert_eq!(Lag::noted(lag, None, begun + second), None);
    }
}

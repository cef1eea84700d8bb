//! Readings of pressure, each scaled so that 1.0 is its limit.
//!
//! **Invariants**:
//! - I1: a reading that is absent, negative or not a number counts as 0.
//! - I2: only [`Sense::may_cause_red`] counts towards Red, and nothing behind the ack is among them.

/// A kind of pressure that is sensed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sense {
    /// Bytes held / budget.
    Memory,
    /// Age of the oldest append that is not durable yet / 1 s.
    OldestUnsynced,
    /// Time for which what a worker has begun to read will keep it busy / the time at which it refuses more.
    Backlog,
    /// Lag of the worker that runs latest / 100 ms.
    SchedulerLag,
    /// PSI memory, `full` avg10 / 40 %.
    PsiMemory,
    /// Depth of the fullest live ring / its capacity.
    LiveRing,
    /// PSI io, `some` avg10 / 100 %.
    PsiIo,
}

impl Sense {
    /// All kinds. Of equal readings the first in this order is named as the cause.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::OldestUnsynced,
        Self::Backlog,
        Self::SchedulerLag,
        Self::PsiMemory,
        Self::LiveRing,
        Self::PsiIo,
    ];

    /// The name that is shown, and the label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::OldestUnsynced => "oldest_unsynced",
            Self::Backlog => "backlog",
            Self::SchedulerLag => "scheduler_lag",
            Self::PsiMemory => "psi_memory",
            Self::LiveRing => "live_ring",
            Self::PsiIo => "psi_io",
        }
    }

    /// True where it can cause Red. The others can cause Yellow at most.
    #[must_use]
    pub const fn may_cause_red(self) -> bool {
        match self {
            Self::Memory | Self::OldestUnsynced | Self::Backlog | Self::SchedulerLag | Self::PsiMemory => true,
            Self::LiveRing | Self::PsiIo => false,
        }
    }
}

/// All readings of one moment. `None` means that there is nothing to read.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Readings {
    /// [`Sense::Memory`]
    pub memory: Option<f64>,
    /// [`Sense::OldestUnsynced`]
    pub oldest_unsynced: Option<f64>,
    /// [`Sense::Backlog`]
    pub backlog: Option<f64>,
    /// [`Sense::SchedulerLag`]
    pub scheduler_lag: Option<f64>,
    /// [`Sense::PsiMemory`]
    pub psi_memory: Option<f64>,
    /// [`Sense::LiveRing`]
    pub live_ring: Option<f64>,
    /// [`Sense::PsiIo`]
    pub psi_io: Option<f64>,
}

impl Readings {
    /// The reading of one kind.
    #[must_use]
    pub const fn get(&self, sense: Sense) -> Option<f64> {
        match sense {
            Sense::Memory => self.memory,
            Sense::OldestUnsynced => self.oldest_unsynced,
            Sense::Backlog => self.backlog,
            Sense::SchedulerLag => self.scheduler_lag,
            Sense::PsiMemory => self.psi_memory,
            Sense::LiveRing => self.live_ring,
            Sense::PsiIo => self.psi_io,
        }
    }

    /// The highest reading and the value that it counts as, of all kinds or only of those that may cause Red.
    #[must_use]
    pub(crate) fn worst(&self, only_red: bool) -> (Sense, f64) {
        let mut worst = (Sense::ALL[0], 0.0);
        for sense in Sense::ALL {
            let counts = self.get(sense).unwrap_or(0.0);
            // The comparison is false for a value that is not a number.
            if counts > worst.1 && (sense.may_cause_red() || !only_red) {
                worst = (sense, counts);
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_absent_negative_and_not_a_number_count_as_nothing() {
        let readings = Readings {
            memory: Some(f64::NAN),
            oldest_unsynced: Some(-3.0),
            backlog: Some(0.0),
            scheduler_lag: None,
            psi_memory: Some(f64::NEG_INFINITY),
            live_ring: Some(0.1),
            psi_io: Some(f64::NAN),
        };
        assert_eq!(readings.worst(false), (Sense::LiveRing, 0.1));
        assert_eq!(readings.worst(true).1, 0.0);
    }

    #[test]
    fn i2_the_worst_towards_red_leaves_out_what_lies_behind_the_ack() {
        let readings = Readings {
            scheduler_lag: Some(0.5),
            psi_memory: Some(0.5),
            live_ring: Some(f64::INFINITY),
            psi_io: Some(2.0),
            ..Readings::default()
        };
        assert_eq!(readings.worst(true), (Sense::SchedulerLag, 0.5), "the first of equals");
        assert_eq!(readings.worst(false), (Sense::LiveRing, f64::INFINITY));
    }
}

//! The throttle: every job behind the ack asks it before each block of work.
//!
//! **Invariants**:
//! - I1: in Green no job rests but an exporter that pays its debt several times as fast as the debt grew, and that one
//!   never falls behind by it.
//! - I2: the length of a rest follows from the time that the job's own last block took, so it fits any machine.
//! - I3: export never stops.
//! - I4: a change of the zone wakes each job that pauses; no job polls.
//!
//! **Not here**: rates that a person sets (`vault.background_io`, a replay's own).

use std::sync::Arc;
use std::time::Duration;

use crate::cell::ZoneCell;
use crate::limits::{CATCH_UP_REST_FACTOR, CATCH_UP_SPEED, RED_REST_FACTOR, RED_REST_MAX, RED_REST_MIN, REST_MAX};
use crate::zone::Zone;

/// A job behind the ack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Job {
    /// An exporter that follows its shard, or has to.
    Export,
    /// An exporter that pays a debt. The entries of its last block were received within `covered`.
    CatchUp {
        /// Span of reception time of the entries in the last block.
        covered: Duration,
    },
    /// A replay.
    Replay,
    /// A replay of dead letters.
    DeadLetterReplay,
    /// Verification of segments.
    Verify,
    /// Making archive objects.
    Archive,
}

/// The pause of a job before its next block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rest {
    /// No pause.
    None,
    /// A rest of this length.
    For(Duration),
    /// A pause until the zone changes.
    UntilZoneChanges,
}

/// Decides the rest of a job after a block that took `last_block`.
#[must_use]
pub fn rest(zone: Zone, job: Job, last_block: Duration) -> Rest {
    match zone {
        Zone::Green => spare(job, last_block),
        Zone::Yellow if last_block.is_zero() => Rest::None,
        Zone::Yellow => spare(job, last_block).max(Rest::For(last_block.min(REST_MAX))),
        Zone::Red => match job {
            Job::Export | Job::CatchUp { .. } => {
                let rest = last_block.saturating_mul(RED_REST_FACTOR);
                Rest::For(rest.clamp(RED_REST_MIN, RED_REST_MAX))
            }
            Job::Replay | Job::DeadLetterReplay | Job::Verify | Job::Archive => Rest::UntilZoneChanges,
        },
    }
}

/// The rest that a job can take without falling short of anything: a debt that is paid quickly need not be paid at
/// once, and acks want the same cores and disk.
fn spare(job: Job, last_block: Duration) -> Rest {
    let Job::CatchUp { covered } = job else {
        return Rest::None;
    };
    let ahead = (covered / CATCH_UP_SPEED).saturating_sub(last_block);
    let rest = ahead.min(last_block.saturating_mul(CATCH_UP_REST_FACTOR)).min(REST_MAX);
    if rest.is_zero() { Rest::None } else { Rest::For(rest) }
}

/// The handle by which jobs ask for their rest. Clones share one throttle.
#[derive(Clone, Debug)]
pub struct Throttle {
    cell: Arc<ZoneCell>,
}

impl Throttle {
    /// A throttle that follows `cell`.
    #[must_use]
    pub fn new(cell: Arc<ZoneCell>) -> Self {
        Self { cell }
    }

    /// Waits until `job` may do its next block. `last_block` is the time that its last block took (zero where there was
    /// none). Returns at once where there is no rest, and when the node ends. May be dropped at any point.
    pub async fn pass(&self, job: Job, last_block: Duration) {
        match rest(self.cell.zone(), job, last_block) {
            Rest::None => {}
            Rest::For(rest) => self.cell.wait(Some(rest), |signal| signal.ended).await,
            Rest::UntilZoneChanges => {
                self.cell
                    .wait(None, |signal| signal.ended || !pauses(signal.zone, job))
                    .await;
            }
        }
    }

    /// The zone change that `job` waits for, in words, where it pauses.
    #[must_use]
    pub fn waits_for(&self, job: Job) -> Option<String> {
        let zone = self.cell.zone();
        pauses(zone, job).then(|| format!("the zone is {zone}: this goes on when it is not"))
    }
}

fn pauses(zone: Zone, job: Job) -> bool {
    rest(zone, job, Duration::ZERO) == Rest::UntilZoneChanges
}

#[cfg(test)]
mod tests;

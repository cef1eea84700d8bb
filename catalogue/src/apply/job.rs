//! The transition for replay jobs.
//!
//! **Invariants**:
//! - I1: a job's position never goes back.
//! - I2: a job that has ended stays as it ended.

use std::collections::BTreeMap;

use gophership_vault::ids::{NodeId, ShardId};
use uuid::Uuid;

use super::{Decision, unchanged, within};
use crate::command::Reply;
use crate::job::{JobId, JobPosition, JobRecord, JobResult, JobState};
use crate::limits::{JOB_POSITIONS_MAX, JOB_REASON_BYTES_MAX, JOB_SPEC_BYTES_MAX, JOBS_MAX};
use crate::refusal::Refusal;
use crate::state::{Change, Counters, State};

pub(super) fn create(state: &State, request: Uuid, spec: &str, at_ns: u64) -> Decision {
    within("a job's specification", spec.len(), JOB_SPEC_BYTES_MAX)?;
    if let Some((job, known)) = state.jobs().find(|(_, j)| j.request == request) {
        return if known.spec == spec {
            unchanged(Reply::Job(job))
        } else {
            Err(Refusal::JobDiffers { job })
        };
    }
    let id = state.counters.next_job.ok_or(Refusal::NumbersUsedUp { what: "job" })?;
    let counters = Counters {
        next_job: id.checked_next(),
        ..state.counters
    };
    let mut changes = vec![Change::Counters(counters)];
    if state.jobs.len() >= JOBS_MAX {
        let ended = state.jobs().find(|(_, j)| j.state != JobState::Running);
        let (oldest, _) = ended.ok_or(Refusal::TooManyJobs { limit: JOBS_MAX })?;
        changes.push(Change::JobGone(oldest));
    }
    let record = JobRecord {
        request,
        spec: spec.to_owned(),
        created_ns: at_ns,
        state: JobState::Running,
        positions: BTreeMap::new(),
    };
    changes.push(Change::Job(id, record));
    Ok((Reply::Job(id), changes))
}

fn job_of(state: &State, job: JobId) -> Result<&JobRecord, Refusal> {
    state.job(job).ok_or(Refusal::UnknownJob { job })
}

pub(super) fn progress(state: &State, job: JobId, positions: &[(NodeId, ShardId, JobPosition)]) -> Decision {
    let known = job_of(state, job)?;
    if known.state != JobState::Running {
        return Err(Refusal::JobEnded {
            job,
            state: known.state.name(),
        });
    }
    let mut record = known.clone();
    for (node, shard, position) in positions {
        let at = record.positions.entry((*node, *shard)).or_insert(*position);
        if at.done_lsn < position.done_lsn {
            *at = *position;
        }
    }
    within("a job's list of positions", record.positions.len(), JOB_POSITIONS_MAX)?;
    if record == *known {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::Job(job, record)]))
}

pub(super) fn finish(state: &State, job: JobId, result: &JobResult, at_ns: u64) -> Decision {
    if let JobResult::Failed(reason) = result {
        within("the reason why a job failed", reason.len(), JOB_REASON_BYTES_MAX)?;
    }
    let known = job_of(state, job)?;
    match &known.state {
        JobState::Running => {
            let ended = JobState::Ended {
                result: result.clone(),
                at_ns,
            };
            Ok((
                Reply::Done,
                vec![Change::Job(
                    job,
                    JobRecord {
                        state: ended,
                        ..known.clone()
                    },
                )],
            ))
        }
        JobState::Ended { result: known, .. } if known == result => unchanged(Reply::Done),
        ended @ (JobState::Ended { .. } | JobState::Cancelled { .. }) => Err(Refusal::JobEnded {
            job,
            state: ended.name(),
        }),
    }
}

pub(super) fn cancel(state: &State, job: JobId, at_ns: u64) -> Decision {
    let known = job_of(state, job)?;
    match &known.state {
        JobState::Running => {
            let cancelled = JobState::Cancelled { at_ns };
            Ok((
                Reply::Done,
                vec![Change::Job(
                    job,
                    JobRecord {
                        state: cancelled,
                        ..known.clone()
                    },
                )],
            ))
        }
        JobState::Cancelled { .. } => unchanged(Reply::Done),
        ended @ JobState::Ended { .. } => Err(Refusal::JobEnded {
            job,
            state: ended.name(),
        }),
    }
}

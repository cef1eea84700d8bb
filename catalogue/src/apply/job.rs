//! The transition for replay jobs.
//!
//! **Invariants**:
//! - I1: a job's position never goes back.
//! - I2: a job that has ended stays as it ended.
//! - I3: a runner from which a job was taken over moves it no more.

use std::collections::BTreeMap;

use gophership_vault::ids::{NodeId, ShardId};
use uuid::Uuid;

use super::decision::{Decision, node_of, unchanged, within};
use crate::command::Reply;
use crate::job::{JobId, JobPosition, JobRecord, JobResult, JobState, LossNames, Takeover};
use crate::limits::{
    JOB_LOSS_NAME_BYTES_MAX, JOB_LOSS_NAMES_MAX, JOB_POSITIONS_MAX, JOB_REASON_BYTES_MAX, JOB_SPEC_BYTES_MAX, JOBS_MAX,
};
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
        loss_names: LossNames::default(),
        taken: None,
    };
    changes.push(Change::Job(id, record));
    Ok((Reply::Job(id), changes))
}

fn job_of(state: &State, job: JobId) -> Result<&JobRecord, Refusal> {
    state.job(job).ok_or(Refusal::UnknownJob { job })
}

/// The record of a job that is under way.
fn running(state: &State, job: JobId) -> Result<&JobRecord, Refusal> {
    let known = job_of(state, job)?;
    match known.state {
        JobState::Running => Ok(known),
        JobState::Ended { .. } | JobState::Cancelled { .. } => Err(Refusal::JobEnded {
            job,
            state: known.state.name(),
        }),
    }
}

/// Refuses a word about a job that is not of its latest term.
fn of_term(job: JobId, known: &JobRecord, term: u64) -> Result<(), Refusal> {
    let latest = known.term();
    if term == latest {
        Ok(())
    } else {
        Err(Refusal::JobTaken { job, term, latest })
    }
}

pub(super) fn take(state: &State, job: JobId, node: NodeId, seen: u64) -> Decision {
    node_of(state, node)?;
    let known = running(state, job)?;
    let term = seen.checked_add(1).ok_or(Refusal::NumbersUsedUp { what: "term" })?;
    let taken = Some(Takeover { node, term });
    if known.taken == taken {
        return unchanged(Reply::Done);
    }
    of_term(job, known, seen)?;
    let record = JobRecord { taken, ..known.clone() };
    Ok((Reply::Done, vec![Change::Job(job, record)]))
}

pub(super) fn progress(
    state: &State,
    job: JobId,
    term: u64,
    positions: &[(NodeId, ShardId, JobPosition)],
    loss_names: &LossNames,
) -> Decision {
    within(
        "a job's list of missing ranges",
        loss_names.missing.len(),
        JOB_LOSS_NAMES_MAX,
    )?;
    for name in loss_names.missing.iter().chain(&loss_names.rejected) {
        within(
            "the name of what a job passed over",
            name.len(),
            JOB_LOSS_NAME_BYTES_MAX,
        )?;
    }
    let known = running(state, job)?;
    of_term(job, known, term)?;
    let mut record = known.clone();
    for (node, shard, position) in positions {
        let at = record.positions.entry((*node, *shard)).or_insert(*position);
        if at.done_lsn < position.done_lsn {
            *at = *position;
        }
    }
    record.loss_names.merge(loss_names);
    within("a job's list of positions", record.positions.len(), JOB_POSITIONS_MAX)?;
    if record == *known {
        return unchanged(Reply::Done);
    }
    Ok((Reply::Done, vec![Change::Job(job, record)]))
}

pub(super) fn finish(state: &State, job: JobId, term: u64, result: &JobResult, at_ns: u64) -> Decision {
    if let JobResult::Failed(reason) = result {
        within("the reason why a job failed", reason.len(), JOB_REASON_BYTES_MAX)?;
    }
    let known = job_of(state, job)?;
    match &known.state {
        JobState::Running => {
            of_term(job, known, term)?;
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

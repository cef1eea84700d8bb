//! The row of a replay job.

use std::collections::BTreeMap;

use super::format::value;
use crate::job::{JobArchived, JobLoss, JobPosition, JobRecord, JobResult, JobState, LossNames, Takeover};
use crate::wire::{Reader, WireError, Writer};

/// The version of a row from the first takeover of the job.
const WITH_TAKEOVER: u8 = 2;
/// The version of a row of a job that passed something over.
const WITH_LOSS: u8 = 3;
/// The version of a row of a job that delivered something from the archive, the newest one.
pub(super) const JOB_VERSION: u8 = 4;

const JOB_RUNNING: u8 = 1;
const JOB_DONE: u8 = 2;
const JOB_FAILED: u8 = 3;
const JOB_CANCELLED: u8 = 4;

pub(super) fn write_job(job: &JobRecord) -> Writer {
    let (state, ended_ns, reason) = match &job.state {
        JobState::Running => (JOB_RUNNING, 0, ""),
        JobState::Ended {
            result: JobResult::Done,
            at_ns,
        } => (JOB_DONE, *at_ns, ""),
        JobState::Ended {
            result: JobResult::Failed(reason),
            at_ns,
        } => (JOB_FAILED, *at_ns, reason.as_str()),
        JobState::Cancelled { at_ns } => (JOB_CANCELLED, *at_ns, ""),
    };
    let has_loss =
        job.loss_names != LossNames::default() || job.positions.values().any(|at| at.loss != JobLoss::default());
    let is_archived = |at: &JobPosition| at.archived != JobArchived::default();
    let has_archived = job.positions.values().any(is_archived);
    let has_loss = has_loss || has_archived;
    // A row of before takeovers, losses and the archive stays as it is.
    let begun = match job.taken {
        _ if has_archived => Writer::default().u8(JOB_VERSION),
        _ if has_loss => Writer::default().u8(WITH_LOSS),
        Some(_) => Writer::default().u8(WITH_TAKEOVER),
        None => value(),
    };
    let mut w = begun
        .u8(state)
        .uuid(job.request)
        .u64(job.created_ns)
        .u64(ended_ns)
        .text(reason)
        .text(&job.spec);
    w = w.count(job.positions.len());
    for ((node, shard), p) in &job.positions {
        w = w
            .u32(node.get())
            .u16(shard.get())
            .u64(p.done_lsn.get())
            .u64(p.entries)
            .u64(p.records)
            .u64(p.bytes);
        if has_loss {
            w = write_loss(w, &p.loss);
        }
        if has_archived {
            w = write_archived(w, &p.archived);
        }
    }
    let write_takeover = |w: Writer, taken: Takeover| w.u32(taken.node.get()).u64(taken.term);
    if has_loss {
        return write_loss_names(w.option(job.taken, write_takeover), &job.loss_names);
    }
    match job.taken {
        Some(taken) => write_takeover(w, taken),
        None => w,
    }
}

pub(super) fn read_job(version: u8, v: &mut Reader<'_>) -> Result<JobRecord, WireError> {
    let (state, request, created_ns, at_ns) = (v.u8()?, v.uuid()?, v.u64()?, v.u64()?);
    let (reason, spec) = (v.text()?, v.text()?);
    let state = match state {
        JOB_RUNNING => JobState::Running,
        JOB_DONE => JobState::Ended {
            result: JobResult::Done,
            at_ns,
        },
        JOB_FAILED => JobState::Ended {
            result: JobResult::Failed(reason),
            at_ns,
        },
        JOB_CANCELLED => JobState::Cancelled { at_ns },
        found => return Err(v.unknown("job state", found)),
    };
    let mut positions = BTreeMap::new();
    for _ in 0..v.u32()? {
        let key = (v.node()?, v.shard()?);
        let done_lsn = v.lsn_or_none()?.ok_or_else(|| v.damaged("no position"))?;
        positions.insert(
            key,
            JobPosition {
                done_lsn,
                entries: v.u64()?,
                records: v.u64()?,
                bytes: v.u64()?,
                loss: if version < WITH_LOSS {
                    JobLoss::default()
                } else {
                    read_loss(v)?
                },
                archived: if version < JOB_VERSION {
                    JobArchived::default()
                } else {
                    read_archived(v)?
                },
            },
        );
    }
    let read_takeover = |v: &mut Reader<'_>| {
        let (node, term) = (v.node()?, v.u64()?);
        Ok(Takeover { node, term })
    };
    let (taken, loss_names) = match version {
        WITH_LOSS | JOB_VERSION => (v.option(read_takeover)?, read_loss_names(v)?),
        WITH_TAKEOVER => (Some(read_takeover(v)?), LossNames::default()),
        _ => (None, LossNames::default()),
    };
    Ok(JobRecord {
        taken,
        loss_names,
        request,
        spec,
        created_ns,
        state,
        positions,
    })
}

pub(crate) fn write_loss(w: Writer, loss: &JobLoss) -> Writer {
    let w = w.u64(loss.ranges).u64(loss.missing_entries);
    w.u64(loss.rejected_entries).u64(loss.rejected_records)
}

pub(crate) fn read_loss(v: &mut Reader<'_>) -> Result<JobLoss, WireError> {
    Ok(JobLoss {
        ranges: v.u64()?,
        missing_entries: v.u64()?,
        rejected_entries: v.u64()?,
        rejected_records: v.u64()?,
    })
}

pub(crate) fn write_archived(w: Writer, archived: &JobArchived) -> Writer {
    w.u64(archived.entries).u64(archived.bytes)
}

pub(crate) fn read_archived(v: &mut Reader<'_>) -> Result<JobArchived, WireError> {
    Ok(JobArchived {
        entries: v.u64()?,
        bytes: v.u64()?,
    })
}

pub(crate) fn write_loss_names(w: Writer, names: &LossNames) -> Writer {
    let w = w.list(&names.missing, |w, name| w.text(name));
    w.option(names.rejected.as_deref(), Writer::text)
}

pub(crate) fn read_loss_names(v: &mut Reader<'_>) -> Result<LossNames, WireError> {
    Ok(LossNames {
        missing: v.list(Reader::text)?,
        rejected: v.option(Reader::text)?,
    })
}

//! The row of a replay job.

use std::collections::BTreeMap;

use super::value;
use crate::job::{JobPosition, JobRecord, JobResult, JobState, Takeover};
use crate::wire::{Reader, WireError, Writer};

/// The version of a row from the first takeover of the job.
pub(super) const JOB_VERSION: u8 = 2;

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
    // A row of before takeovers stays as it is.
    let begun = match job.taken {
        Some(_) => Writer::default().u8(JOB_VERSION),
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
    }
    match job.taken {
        Some(taken) => w.u32(taken.node.get()).u64(taken.term),
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
            },
        );
    }
    let taken = if version < JOB_VERSION {
        None
    } else {
        let (node, term) = (v.node()?, v.u64()?);
        Some(Takeover { node, term })
    };
    Ok(JobRecord {
        taken,
        request,
        spec,
        created_ns,
        state,
        positions,
    })
}

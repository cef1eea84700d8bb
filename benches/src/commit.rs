//! Durable commits: one append, one wait for the watermark, beside one write and one fdatasync.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::table::{median, row};
use crate::vault::{loglike, meta, open};

const COMMITS: usize = 1000;

/// Measures payloads of 150 KB.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    for len in [2000, 150_000] {
        let payload = loglike(len);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            ours.push(commits(dir, &payload)?);
            bare.push(syncs(dir, &payload)?);
        }
        row(
            &format!("durable commits one by one, {len} B"),
            median(ours),
            "commits/s",
            Some(("write + fdatasync", median(bare))),
        );
    }
    Ok(())
}

fn commits(dir: &Path, payload: &[u8]) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let (vault, mut writers) = open(dir.path(), 1)?;
    let writer = &mut writers[0];
    let watermark = writer.watermark();
    let began = Instant::now();
    for _ in 0..COMMITS {
        let lsn = loop {
            match writer.must_append(&meta(1), payload.len(), std::iter::once(payload)) {
                Ok(lsn) => break lsn,
                Err(_) => thread::yield_now(),
            }
        };
        while watermark.acked() < Some(lsn) {
            thread::yield_now();
        }
    }
    let took = began.elapsed();
    vault.close(writers);
    Ok(COMMITS as f64 / took.as_secs_f64())
}

fn syncs(dir: &Path, payload: &[u8]) -> anyhow::Result<f64> {
    let file = tempfile::tempfile_in(dir)?;
    let size = (COMMITS * payload.len()) as u64;
    let zeros = vec![0u8; 1 << 20];
    for at in (0..size).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let began = Instant::now();
    for i in 0..COMMITS {
        file.write_all_at(payload, (i * payload.len()) as u64)?;
        file.sync_data()?;
    }
    Ok(COMMITS as f64 / began.elapsed().as_secs_f64())
}

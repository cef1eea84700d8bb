//! Appends beside a memcpy of the same payload into a mapped file of the same size that was written before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use gophership_vault::{AppendError, AppendFault, ShardWriter};
use memmap2::MmapMut;

use crate::table::{median, row};
use crate::vault::{loglike, meta, open};

const FILE: usize = 64 << 20;
const RUNS: usize = 7;
/// Number of entries that one turn of a busy worker writes.
const TURN: usize = 32;
/// Number of spares that `open` keeps.
const SPARES: usize = 4;

/// Measures payloads of 200 B and 120 KB.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    for len in [200, 120_000] {
        let payload = loglike(len);
        // As many entries as one file holds, so that neither side waits for the next file.
        let count = (FILE - 2 * 4096) / (len + 64).next_multiple_of(8);
        let mut files = append_files(dir, &payload, count)?;
        let first = files.remove(0);
        let recycled = files.split_off(SPARES);
        let copies = (0..RUNS)
            .map(|_| copy_once(dir, &payload, count))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let memcpy = Some(("memcpy", median(copies)));
        row(
            &format!("append, {len} B, recycled file"),
            median(recycled),
            "ns/entry",
            memcpy,
        );
        row(&format!("append, {len} B, new file"), median(files), "ns/entry", memcpy);
        row(
            &format!("append, {len} B, a boot's first file"),
            first,
            "ns/entry",
            memcpy,
        );
    }
    Ok(())
}

/// Fills one file after the other, each when the disk is quiet. Returns nanoseconds per entry for each file: first the
/// boot's own file, then the spares, then recycled files.
fn append_files(dir: &Path, payload: &[u8], count: usize) -> anyhow::Result<Vec<f64>> {
    let dir = tempfile::tempdir_in(dir)?;
    let (vault, mut writers) = open(dir.path(), 1)?;
    let writer = &mut writers[0];
    let watermark = writer.watermark();
    let mut took = Vec::new();
    for file in 0..1 + SPARES + RUNS {
        let began = Instant::now();
        for n in 0..count {
            append(writer, payload, n);
        }
        writer.must_flush()?;
        took.push(began.elapsed().as_nanos() as f64 / count as f64);
        while watermark.acked() < writer.last_written() || (vault.status().sealed_segments as usize) < file {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(500));
    }
    vault.close(writers);
    Ok(took)
}

/// Appends as the ingest worker does: small entries of one turn are written together.
fn append(writer: &mut ShardWriter, payload: &[u8], n: usize) {
    while let Err(error) = writer.must_append_with(payload.len(), std::iter::once(payload), |_| Ok::<_, ()>(meta(1))) {
        assert_eq!(error, AppendFault::Append(AppendError::NoSpare), "the bench has room");
        thread::sleep(Duration::from_micros(200));
    }
    if n.is_multiple_of(TURN) {
        writer.must_flush().expect("the disk of a bench takes writes");
    }
}

/// Copies the same bytes by memcpy into a mapped file that was written and synced before. Returns nanoseconds per copy.
fn copy_once(dir: &Path, payload: &[u8], count: usize) -> anyhow::Result<f64> {
    let file = tempfile::tempfile_in(dir)?;
    let zeros = vec![0u8; 1 << 20];
    for at in (0..FILE).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64)?;
    }
    file.sync_data()?;
    let mut bytes = map(&file)?;
    let began = Instant::now();
    let mut at = 4096;
    for _ in 0..count {
        bytes[at..at + payload.len()].copy_from_slice(payload);
        at = (at + payload.len() + 64).next_multiple_of(8);
    }
    let took = began.elapsed();
    Ok(took.as_nanos() as f64 / count as f64)
}

/// Maps a file.
#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file has no name, so nobody else can open or truncate it.
    unsafe { MmapMut::map_mut(file) }
}

/// Appends on 1 to `threads` pinned threads, each with its own shard.
pub(crate) fn scaling(dir: &Path, threads: u16) -> anyhow::Result<()> {
    let payload = loglike(2000);
    let mut one = 0.0;
    for n in 1..=threads {
        let rates = (0..3)
            .map(|_| rate(dir, n, &payload))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let rate = median(rates);
        if n == 1 {
            one = rate;
        }
        row(
            &format!("scaling, {n} pinned threads, 2 KB payloads"),
            rate,
            "appends/s",
            Some(("perfect", one * f64::from(n))),
        );
    }
    Ok(())
}

fn rate(dir: &Path, threads: u16, payload: &[u8]) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let (vault, writers) = open(dir.path(), threads)?;
    let count = (FILE - 65_536) / (payload.len() + 72);
    let barrier = Arc::new(Barrier::new(usize::from(threads) + 1));
    let running: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(core, mut writer)| {
            let (barrier, payload) = (Arc::clone(&barrier), payload.to_vec());
            thread::spawn(move || {
                pin(core);
                barrier.wait();
                for n in 0..count {
                    append(&mut writer, &payload, n);
                }
                writer
            })
        })
        .collect();
    barrier.wait();
    let began = Instant::now();
    let writers: Vec<ShardWriter> = running
        .into_iter()
        .map(|t| t.join().expect("no appender panics"))
        .collect();
    let took = began.elapsed();
    vault.close(writers);
    Ok(count as f64 * f64::from(threads) / took.as_secs_f64())
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        eprintln!("not pinned to core {core}: {error}");
    }
}

//! Sealing, verifying and reading back.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use gophership_vault::SegmentState;
use gophership_vault::ids::ShardId;
use gophership_vault::time::TimeRange;

use crate::table::row;
use crate::vault::{loglike, meta, open};

const BYTES: usize = 512 << 20;

/// Measures 512 MiB of payloads of 150 KB.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let payload = loglike(150_000);
    let dir = tempfile::tempdir_in(dir)?;
    let (vault, mut writers) = open(dir.path(), 1)?;
    let began = Instant::now();
    let count = BYTES / payload.len();
    for _ in 0..count {
        while writers[0]
            .must_append(&meta(500), payload.len(), std::iter::once(&payload[..]))
            .is_err()
        {
            thread::sleep(Duration::from_micros(200));
        }
    }
    // Only full files are sealed: the last one stays open.
    while sealed(&vault) < count * payload.len() / (64 << 20) - 1 {
        thread::sleep(Duration::from_millis(5));
    }
    let mb = |bytes: u64, took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    row(
        "ingest and seal, 150 KB payloads",
        mb(BYTES as u64, began.elapsed()),
        "MB/s",
        None,
    );

    let began = Instant::now();
    let mut bytes = 0;
    for (id, state) in vault.segments() {
        if matches!(state, SegmentState::Sealed(_)) {
            bytes += vault.describe(id)?.record.stats.payload_bytes;
            anyhow::ensure!(vault.verify(id, &mut |_, _| {})?.ok, "a sealed segment verifies");
        }
    }
    row(
        "verify from the disk",
        mb(bytes, began.elapsed()),
        "MB/s of payload",
        None,
    );

    let began = Instant::now();
    let mut bytes = 0;
    for entry in vault.cursor(ShardId::new(0), None, TimeRange::ALL) {
        bytes += entry.map_err(|fault| anyhow::anyhow!(fault.what))?.payload.len() as u64;
    }
    row("read back", mb(bytes, began.elapsed()), "MB/s of payload", None);
    vault.close(writers);
    Ok(())
}

fn sealed(vault: &gophership_vault::Vault) -> usize {
    vault.status().sealed_segments as usize
}

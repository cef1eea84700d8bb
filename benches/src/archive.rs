//! Bytes and CPU time of an archive object, beside `gzip -6` and bare zstd over the same payloads.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use gophership_archiver::object::ObjectWriter;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{
    ClusterId, EntryNumber, Epoch, FileUuid, NodeId, SegmentId, SegmentIndex, ShardId, TenantId,
};
use gophership_vault::testkit::write_segment;
use gophership_vault::{SegmentFile, SegmentHeader, Tenant};
use uuid::Uuid;

use crate::corpus::{Corpus, Kind};

/// Bytes of payloads in an object: a node's default.
const BYTES: usize = 64 << 20;
const LEVELS: [i32; 4] = [1, 3, 6, 9];
const RECORDS: u32 = 400;

/// Measures one object of each kind of payload, and one of all kinds by turns.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    println!("ratio = bytes of payloads / bytes stored; s/GB = CPU-seconds for 1e9 bytes of payloads");
    println!(
        "{:<10} {:<8} {:>7} {:>8} {:>14} {:>12} {:>10}",
        "payloads", "", "ratio", "s/GB", "bytes of gzip", "speed of zstd", "peak MiB"
    );
    let at_start = peak_bytes()?;
    let each = Kind::ALL.iter().map(std::slice::from_ref);
    for kinds in std::iter::once(&Kind::ALL[..]).chain(each) {
        let name = if kinds.len() > 1 { "all four" } else { kinds[0].name() };
        measure(dir, name, kinds, at_start)?;
    }
    Ok(())
}

fn measure(dir: &Path, name: &str, kinds: &[Kind], at_start: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let (plain, segment) = (dir.path().join("plain"), dir.path().join("x.seg"));
    let bytes = write(&plain, &segment, kinds)?;
    let per_gb = |seconds: f64| seconds / bytes as f64 * 1e9;
    let before = cpu_seconds()?;
    let gzip = Command::new("gzip")
        .arg("-6c")
        .arg(&plain)
        .stdout(Stdio::from(File::create(dir.path().join("gz"))?))
        .status();
    anyhow::ensure!(gzip.context("cannot run gzip")?.success(), "gzip failed");
    let (gzip_cpu, gzip_bytes) = (cpu_seconds()? - before, fs::metadata(dir.path().join("gz"))?.len());
    println!(
        "{name:<10} {:<8} {:>7.2} {:>8.2}",
        "gzip -6",
        bytes as f64 / gzip_bytes as f64,
        per_gb(gzip_cpu)
    );
    for level in LEVELS {
        let before = cpu_seconds()?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(File::create(dir.path().join("zst"))?), level)?;
        std::io::copy(&mut File::open(&plain)?, &mut encoder)?;
        encoder.finish()?.flush()?;
        let (zstd_cpu, zstd_bytes) = (cpu_seconds()? - before, fs::metadata(dir.path().join("zst"))?.len());
        println!(
            "{name:<10} {:<8} {:>7.2} {:>8.2} {:>14.2}",
            format!("zstd -{level}"),
            bytes as f64 / zstd_bytes as f64,
            per_gb(zstd_cpu),
            zstd_bytes as f64 / gzip_bytes as f64
        );
        fs::write("/proc/self/clear_refs", "5")?;
        let before = cpu_seconds()?;
        let mut object = ObjectWriter::new(BufWriter::new(File::create(dir.path().join("object"))?), level)?;
        object.add(&mut SegmentFile::open(&segment)?)?;
        object.finish()?.flush()?;
        let (cpu, stored) = (cpu_seconds()? - before, fs::metadata(dir.path().join("object"))?.len());
        println!(
            "{name:<10} {:<8} {:>7.2} {:>8.2} {:>14.2} {:>12.2} {:>10.1}",
            format!("object {level}"),
            bytes as f64 / stored as f64,
            per_gb(cpu),
            stored as f64 / gzip_bytes as f64,
            zstd_cpu / cpu,
            peak_bytes()?.saturating_sub(at_start) as f64 / (1 << 20) as f64
        );
    }
    Ok(())
}

/// Writes payloads one behind the other, and the same as a segment. Returns their bytes.
fn write(plain: &Path, segment: &Path, kinds: &[Kind]) -> anyhow::Result<usize> {
    // One allocation, which goes back to the system: what stays resident would hide the memory of an object.
    let (mut corpus, mut all, mut payloads) = (Corpus::new(), Vec::with_capacity(BYTES + (4 << 20)), Vec::new());
    for kind in kinds.iter().cycle() {
        if all.len() >= BYTES {
            break;
        }
        let from = all.len();
        all.extend_from_slice(&corpus.payload(*kind, RECORDS));
        payloads.push(from..all.len());
    }
    fs::write(plain, &all)?;
    let meta = EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: RECORDS,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    };
    let header = SegmentHeader {
        id: SegmentId {
            node: NodeId::new(1).context("not 0")?,
            shard: ShardId::new(0),
            index: SegmentIndex::new(1).context("not 0")?,
        },
        epoch: Epoch::new(1).context("not 0")?,
        file_uuid: FileUuid(Uuid::from_u128(1)),
        cluster_id: ClusterId(Uuid::from_u128(2)),
        created_ns: 1,
        tenants: vec![Tenant::default_tenant()],
    };
    let entries = (1..).map_while(EntryNumber::new).zip(&payloads);
    write_segment(
        segment,
        header,
        entries.map(|(number, payload)| (number, &meta, &all[payload.clone()])),
        vec![],
    )?;
    Ok(all.len())
}

/// CPU time of this process and of those it has waited for, in seconds, to 10 ms.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat has another form")?;
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(4)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

/// The most memory that was resident since the last reset, in bytes.
fn peak_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

//! What a node costs that holds many sealed segments and has nothing to do: CPU time a second of each of its threads,
//! and for each look at its metrics and its status.
//!
//! The segments are rows of a catalogue with empty files beside them: nobody reads a segment at rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gophership_catalogue::exporter::{ExportCursor, Generation};
use gophership_catalogue::local::Store;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::state::{Change, ShardRecord};
use gophership_catalogue::{Command, State, apply};
use gophership_vault::ids::{EntryNumber, Epoch, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, SealRecord, SegmentStats};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{DataDir, Identity, NodeSet};

use crate::table::row;

const SHARD: ShardId = ShardId::new(0);
const READY_WITHIN: Duration = Duration::from_secs(120);
/// After the start, until what follows it is over.
const SETTLE: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(20);
const LOOKS: u32 = 20;
const DAY_NS: u64 = 86_400_000_000_000;

/// Measures `node`, a `gophership` binary, with so many segments: kept for their retention, and kept for an exporter.
pub(crate) fn run(dir: &Path, node: &Path, segments: u32) -> anyhow::Result<()> {
    for (name, held) in [("retention", false), ("an exporter that is gone", true)] {
        println!("{segments} segments, kept for {name}");
        let dir = tempfile::tempdir_in(dir)?;
        fill(&dir.path().join("data"), segments, held)?;
        let running = Running::start(node, dir.path())?;
        sleep(SETTLE);
        measure(&running)?;
    }
    Ok(())
}

/// Makes a data folder whose segments were sealed just now, or, where they are held, two retentions ago.
fn fill(data: &Path, segments: u32, held: bool) -> anyhow::Result<()> {
    let identity = DataDir::open(data, true)?.identity();
    let now_ns = now_unix_nano();
    let sealed_ns = if held { now_ns - 2 * DAY_NS } else { now_ns };
    let mut state = State::default();
    let node = identity.node_id;
    let exporter = |name: &str| Command::SetExporter {
        exporter: name.to_owned(),
        paused: false,
        at_ns: now_ns,
    };
    let mut commands = vec![
        Command::RegisterNode {
            storage_uuid: identity.storage_uuid,
            at_ns: now_ns,
        },
        Command::KeepClock {
            node,
            mark: KeptClock { now_ns, credit_ns: 0 },
        },
        exporter("level"),
        Command::CommitCursors {
            node,
            cursors: vec![ExportCursor {
                exporter: "level".to_owned(),
                generation: Generation::FIRST,
                shard: SHARD,
                done: Lsn::at(index(segments)?, EntryNumber::FIRST),
            }],
        },
    ];
    commands.extend(held.then(|| exporter("gone")));
    for command in &commands {
        apply(&mut state, command)?;
    }
    let next_index = index(segments + 1)?;
    let shard = ShardRecord {
        next_index,
        ..ShardRecord::NEW
    };
    state.install(Change::Shard((node, SHARD), shard));
    let folder = data.join(format!("segments/{node:010}/{:04}", SHARD.get()));
    fs::create_dir_all(&folder)?;
    for number in 1..=segments {
        let record = sealed(identity, index(number)?, sealed_ns);
        state.install(Change::Segment(SegmentRecord::Sealed(record)));
        fs::File::create(folder.join(format!("{number:012}.seg")))?;
    }
    Store::create(&data.join("catalogue.redb"), &identity, &state)?;
    Ok(())
}

fn index(number: u32) -> anyhow::Result<SegmentIndex> {
    SegmentIndex::new(number).context("segments are counted from 1")
}

fn sealed(identity: Identity, index: SegmentIndex, sealed_ns: u64) -> SealRecord {
    let node: NodeId = identity.node_id;
    let (lsn, times) = (
        Lsn::at(index, EntryNumber::FIRST),
        TimeRange {
            min: sealed_ns,
            max: sealed_ns,
        },
    );
    SealRecord {
        id: SegmentId {
            node,
            shard: SHARD,
            index,
        },
        epoch: Epoch::FIRST,
        stats: SegmentStats {
            entries: 1,
            records: 1,
            payload_bytes: 100,
            stored_bytes: 300,
            first_lsn: Some(lsn),
            last_lsn: Some(lsn),
            received: Some(times),
            event: Some(times),
            ..SegmentStats::default()
        },
        digest: [0; 32],
        sealed_ns,
        holders: NodeSet::of(node),
    }
}

/// A node that runs until this is dropped.
struct Running {
    child: Child,
    admin: SocketAddr,
}

impl Running {
    fn start(node: &Path, dir: &Path) -> anyhow::Result<Self> {
        let [grpc, http, admin] = [free()?, free()?, free()?];
        let config: PathBuf = dir.join("node.yaml");
        let text = format!(
            "node: {{ data_dir: {:?}, shutdown_delay: 0s }}\n\
             listeners:\n  otlp_grpc: {{ address: \"{grpc}\" }}\n  otlp_http: {{ address: \"{http}\" }}\n  \
             admin: {{ address: \"{admin}\" }}\n\
             ingest: {{ shards: 1 }}\n\
             vault: {{ any_filesystem: true, retention: 24h }}\n\
             export:\n  - {{ name: level, otlp_http: {{ endpoint: \"http://127.0.0.1:9\" }}, start: oldest }}\n",
            dir.join("data")
        );
        fs::write(&config, text)?;
        let child = Process::new(node)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", node.display()))?;
        let running = Self { child, admin };
        let begun = Instant::now();
        while !running
            .get("/readyz")
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            if begun.elapsed() > READY_WITHIN {
                bail!("the node was never ready");
            }
            sleep(Duration::from_millis(20));
        }
        row("start to ready", begun.elapsed().as_secs_f64() * 1e3, "ms", None);
        Ok(running)
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut socket = TcpStream::connect(self.admin)?;
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.admin
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Nanoseconds on a CPU so far, by the name of the thread.
    fn cpu_ns(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut all = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            // One that has ended meanwhile has nothing to say.
            let (Ok(name), Ok(stat)) = (
                fs::read_to_string(task.join("comm")),
                fs::read_to_string(task.join("schedstat")),
            ) else {
                continue;
            };
            let on_cpu: u64 = stat.split_whitespace().next().unwrap_or("0").parse()?;
            *all.entry(name.trim().to_owned()).or_default() += on_cpu;
        }
        Ok(all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn measure(running: &Running) -> anyhow::Result<()> {
    let before = running.cpu_ns()?;
    sleep(MEASURED);
    let after = running.cpu_ns()?;
    let mut all = 0;
    for (thread, ns) in &after {
        let spent = ns.saturating_sub(before.get(thread).copied().unwrap_or(0));
        all += spent;
        let us = spent as f64 / 1e3 / MEASURED.as_secs_f64();
        if us >= 1.0 {
            row(&format!("  {thread}"), us, "us CPU/s", None);
        }
    }
    row("  all", all as f64 / 1e3 / MEASURED.as_secs_f64(), "us CPU/s", None);
    for path in ["/metrics", "/api/v1/status"] {
        let sum = |all: BTreeMap<String, u64>| all.into_values().sum::<u64>();
        let before = sum(running.cpu_ns()?);
        for _ in 0..LOOKS {
            let answer = running.get(path)?;
            anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:.100}");
        }
        let spent = sum(running.cpu_ns()?) - before;
        row(
            &format!("  GET {path}"),
            spent as f64 / 1e3 / f64::from(LOOKS),
            "us CPU",
            None,
        );
    }
    Ok(())
}

//! What the catalogue of three nodes costs that has many sealed segments: its memory, its rows on the way to a
//! snapshot, a restart, seals and trims, and what is decided again and again while there is nothing to do.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use gophership_catalogue::local::Store;
use gophership_catalogue::segment::SegmentRecord;
use gophership_catalogue::state::Change;
use gophership_catalogue::{Command, State, apply};
use gophership_vault::ids::{ClusterId, EntryNumber, Epoch, FileUuid, Lsn, NodeId, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord, SegmentStats, TrimReason};
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{Identity, NodeSet, ReplicaSet};
use gophership_vault_replication::decide::departure::{Doubts, lack, obstacles};
use gophership_vault_replication::decide::gc_horizon::due_for_the_lost;
use gophership_vault_replication::decide::repair_plan::{Staying, copies_to_fetch, copies_to_plan};
use gophership_vault_replication::decide::scrub_round::{Due, Round, due};
use gophership_vault_replication::limits::UPKEEP_INTERVAL;
use uuid::Uuid;

use crate::table::row;

const NODES: u32 = 3;
const DAY: Duration = Duration::from_secs(86_400);
/// Time for which each decision is made again and again, and the number of times between two looks at the clock.
const MEASURED: Duration = Duration::from_millis(500);
const TURNS: u32 = 100;
/// Segments that are opened, sealed, trimmed and confirmed beside those that are there.
const LIVED: u32 = 50_000;

/// Measures a catalogue of so many segments.
pub(crate) fn run(dir: &Path, segments: u32) -> anyhow::Result<()> {
    println!("{segments} segments of {NODES} nodes, each on all of them");
    let dir = tempfile::tempdir_in(dir)?;
    let path = dir.path().join("catalogue.redb");
    let identity = identity(1)?;
    let before = anonymous_bytes()?;
    let filled = filled(segments)?;
    let memory = anonymous_bytes()?.saturating_sub(before);
    row("  memory", memory as f64 / 1e6, "MB", None);
    Store::create(&path, &identity, &filled)?;
    drop(filled);
    row("  catalogue.redb", fs::metadata(&path)?.len() as f64 / 1e6, "MB", None);

    let (begun, on_cpu) = (Instant::now(), cpu_ns()?);
    let (store, _, mut state) = Store::open(&path)?;
    took("restart: file to state", begun, on_cpu)?;
    let (begun, on_cpu) = (Instant::now(), cpu_ns()?);
    let mut out = BufWriter::new(File::create_new(dir.path().join("rows"))?);
    store.view()?.each_row(|key, value| {
        out.write_all(key)?;
        out.write_all(value)
    })??;
    out.flush()?;
    took("rows of a snapshot to a file", begun, on_cpu)?;
    lives(&mut state, &identity)?;
    decisions(&state, identity.node_id)
}

/// Measures what a node decides again and again, the leader's decisions among it, and prints what that takes a second.
fn decisions(state: &State, own: NodeId) -> anyhow::Result<()> {
    let all = |_: NodeId| true;
    let none = |_: NodeId| false;
    let now_ns = now_unix_nano();
    let staying = Staying::of(state, NODES as usize, &none);
    let others = Staying::of(state, NODES as usize, &|node| node == own);
    let voters: BTreeSet<NodeId> = state.nodes().map(|node| node.id).collect();
    let (copies, nodes) = (BTreeSet::new(), BTreeSet::new());
    let (copies, nodes) = (&copies, &nodes);
    let ids: BTreeSet<SegmentId> = state.segments().map(|record| record.id()).collect();
    let round = Round {
        begun_s: 0,
        done_to: ids.iter().nth(ids.len() / 2).copied(),
        is_over: false,
    };
    let behind = |after: Option<SegmentId>| ids.range(after?..).nth(1).copied();
    let leader = 1.0 / UPKEEP_INTERVAL.as_secs_f64();
    let mut second = 0.0;
    let mut show = |what: &str, a_second: f64, decide: &dyn Fn() -> usize| {
        let (begun, on_cpu) = (Instant::now(), cpu_ns()?);
        let mut turns = 0_u32;
        while begun.elapsed() < MEASURED {
            for _ in 0..TURNS {
                black_box(decide());
            }
            turns += TURNS;
        }
        let each = (cpu_ns()? - on_cpu) as f64 / 1e3 / f64::from(turns);
        row(&format!("  {what}"), each, "us CPU", None);
        second += each * a_second;
        anyhow::Ok(())
    };
    show("repair plan", leader, &|| copies_to_plan(state, &staying, &all).len())?;
    show("copies to fetch", 1.0, &|| {
        copies_to_fetch(state, own, &staying, now_ns, DAY).count()
    })?;
    show("trims of nodes that were replaced", leader, &|| {
        due_for_the_lost(state, own, now_ns, DAY, &|_| false).len()
    })?;
    show("segments to recover", 1.0, &|| state.not_sealed().count())?;
    show("next of a scrub", 1.0, &|| {
        usize::from(matches!(due(Some(round), 0, DAY, behind), Due::Verify(_)))
    })?;
    show("live copies, for a scrape", 1.0, &|| state.sealed_by_holders().count())?;
    show("can-stop and removal, for `cluster status`", 1.0, &|| {
        let doubts = Doubts { copies, nodes };
        obstacles(state, own, &voters, &all, &doubts).len() + lack(state, own, &others).copies as usize
    })?;
    show("counts, for `status`", 1.0, &|| state.counts().sealed as usize)?;
    row("  all, each as often as it is asked", second, "us CPU/s", None);
    Ok(())
}

/// The state of nodes with so many sealed segments, written in turns, each on every node.
fn filled(segments: u32) -> anyhow::Result<State> {
    let mut state = State::default();
    let now_ns = now_unix_nano();
    for number in 1..=NODES {
        let identity = identity(number)?;
        let register = Command::RegisterNode {
            storage_uuid: identity.storage_uuid,
            at_ns: now_ns,
        };
        apply(&mut state, &register)?;
    }
    let nodes = (1..=NODES).filter_map(NodeId::new);
    let holders = NodeSet::from_nodes(nodes).context("three nodes fit a set")?;
    for number in 0..segments {
        let index = SegmentIndex::new(number / NODES + 1).context("segments are counted from 1")?;
        let node = identity(number % NODES + 1)?.node_id;
        let sealed_ns = now_ns + u64::from(number) * 1_000_000_000;
        let id = SegmentId {
            node,
            shard: ShardId::new(0),
            index,
        };
        let record = SealRecord {
            holders,
            ..sealed(id, sealed_ns)
        };
        state.install(Change::Segment(SegmentRecord::Sealed(record)));
    }
    Ok(state)
}

/// A full segment, as its owner seals it that alone holds it.
fn sealed(id: SegmentId, sealed_ns: u64) -> SealRecord {
    let entries = 400 + id.index.get() % 100;
    let last = EntryNumber::new(entries).map(|number| Lsn::at(id.index, number));
    let received = TimeRange {
        min: sealed_ns - 90_123_456_789,
        max: sealed_ns - 12_345_678,
    };
    let event = TimeRange {
        min: received.min - 3_210_987_654,
        max: received.max - 10_987_654,
    };
    let stats = SegmentStats {
        entries: u64::from(entries),
        records: u64::from(entries) * 512,
        payload_bytes: u64::from(entries) * 151_000,
        stored_bytes: u64::from(entries) * 31_000,
        first_lsn: Some(Lsn::at(id.index, EntryNumber::FIRST)),
        last_lsn: last,
        received: Some(received),
        event: Some(event),
        ..SegmentStats::default()
    };
    SealRecord {
        id,
        epoch: Epoch::FIRST,
        stats,
        digest: [id.index.get() as u8; 32],
        sealed_ns,
        holders: NodeSet::of(id.node),
    }
}

/// Measures segments of another shard, from their opening until they are gone.
fn lives(state: &mut State, identity: &Identity) -> anyhow::Result<()> {
    let (node, shard, now_ns) = (identity.node_id, ShardId::new(1), now_unix_nano());
    let up = Command::NodeUp {
        node,
        storage_uuid: identity.storage_uuid,
        boot_uuid: Uuid::from_u128(1),
        seen: None,
        at_ns: now_ns,
    };
    apply(state, &up)?;
    let id = |number| {
        let index = SegmentIndex::new(number).context("segments are counted from 1")?;
        anyhow::Ok(SegmentId { node, shard, index })
    };
    let on_cpu = cpu_ns()?;
    for number in 1..=LIVED {
        let open = OpenRecord {
            id: id(number)?,
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(Uuid::from_u128(1)),
            replicas: ReplicaSet::ALONE,
        };
        let seal = (number > 1).then(|| id(number - 1)).transpose()?;
        let seal = seal.map(|id| sealed(id, now_ns));
        let at_ns = now_ns;
        apply(state, &Command::Roll { seal, open, at_ns })?;
    }
    row(
        "  a roll",
        (cpu_ns()? - on_cpu) as f64 / 1e3 / f64::from(LIVED),
        "us CPU",
        None,
    );
    let on_cpu = cpu_ns()?;
    for number in 1..LIVED {
        let (id, why) = (id(number)?, TrimReason::Dropped);
        apply(state, &Command::Trim { id, why })?;
        apply(state, &Command::Unlinked { segments: vec![id] })?;
    }
    let each = (cpu_ns()? - on_cpu) as f64 / 1e3 / f64::from(LIVED - 1);
    row("  a trim and its confirmation", each, "us CPU", None);
    Ok(())
}

fn identity(number: u32) -> anyhow::Result<Identity> {
    Ok(Identity {
        cluster_id: ClusterId(Uuid::from_u128(1)),
        node_id: NodeId::new(number).context("nodes are counted from 1")?,
        storage_uuid: Uuid::from_u128(u128::from(number)),
    })
}

/// Prints what something took that began so.
fn took(what: &str, begun: Instant, on_cpu: u64) -> anyhow::Result<()> {
    let cpu = (cpu_ns()? - on_cpu) as f64 / 1e6;
    let clock = begun.elapsed().as_secs_f64() * 1e3;
    row(&format!("  {what}"), cpu, "ms CPU", Some(("by the clock", clock)));
    Ok(())
}

/// Nanoseconds that this thread was on a CPU.
fn cpu_ns() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split_whitespace().next().unwrap_or("0").parse()?)
}

/// The anonymous memory of this process.
fn anonymous_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("Linux shows RssAnon")?.parse::<u64>()? * 1024)
}

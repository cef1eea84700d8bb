//! One bit of a stored file turns over while the node is down: at most the entry or block it is in is missing, that is said
//! and put into quarantine, and everything else is served.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Plan, Run, STOP_PATIENCE, millis};
use crate::check::check;
use crate::damage::{SegmentMap, WalMap, files_below, flip_bit};
use crate::node::NodeSetup;
use crate::payload::PayloadHash;
use crate::replay::replay;
use crate::report::{Report, Round};

const BURST: Duration = Duration::from_millis(600);

/// Where the bit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    WalHeader,
    WalEntryHeader,
    WalPayload,
    /// The same with the unsealed segment file gone, as a power cut may leave it: no second copy.
    WalEntryHeaderAlone,
    WalPayloadAlone,
    SegmentHeader,
    BlockMetadata,
    Lz4Frame,
    Footer,
}

const PLACES: [Place; 9] = [
    Place::WalHeader,
    Place::WalEntryHeader,
    Place::WalPayload,
    Place::WalEntryHeaderAlone,
    Place::WalPayloadAlone,
    Place::SegmentHeader,
    Place::BlockMetadata,
    Place::Lz4Frame,
    Place::Footer,
];

/// What is to be damaged, and what may be missing for it.
struct Target {
    file: PathBuf,
    bytes: Range<usize>,
    at_risk: Vec<PayloadHash>,
}

/// Runs it: each place once in each round.
///
/// # Errors
/// The node does not come back, or a file of its is not as `docs/formats.md` says.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "bit-flip")?;
    let setup = NodeSetup {
        shards: 1,
        segment_bytes: 1 << 20,
        ..run.setup(plan)
    };
    let mut damaged = HashSet::new();
    let mut missing = 0;
    for place in (0..plan.rounds).flat_map(|_| PLACES) {
        run.begin_round();
        let (node, _) = setup.start_ready().await?;
        run.workload.burst(node.grpc, BURST).await?;
        node.stop(STOP_PATIENCE).await?;
        let target =
            choose(&mut run, &setup.data, place, &damaged).with_context(|| format!("no place for {place:?}"))?;
        let offset = run.rng.random_range(target.bytes.clone());
        let quarantined = quarantine(&setup.data)?;
        flip_bit(&target.file, offset, run.rng.random_range(0..8))?;
        eprintln!("{place:?}: {} at {offset}", target.file.display());
        damaged.insert(target.file.clone());

        let (node, ready) = setup.start_ready().await?;
        let excused = judge(&mut run, &setup, place, &target, ready, quarantined, missing).await?;
        missing += excused;
        node.stop(STOP_PATIENCE).await?;
    }
    Ok(run.report)
}

async fn judge(
    run: &mut Run,
    setup: &NodeSetup,
    place: Place,
    target: &Target,
    ready: Duration,
    quarantined: usize,
    missing_before: usize,
) -> anyhow::Result<usize> {
    let name = format!("{place:?}");
    let replayed = replay(setup).await?;
    let history = &mut run.workload.history;
    let mut verdict = check(history, &replayed.entries);
    let ids: HashMap<_, _> = history
        .attempts
        .iter()
        .map(|attempt| (attempt.hash, attempt.id))
        .collect();
    let at_risk: HashSet<_> = target.at_risk.iter().filter_map(|hash| ids.get(hash)).collect();
    if at_risk.len() != target.at_risk.len() {
        run.report.fail(&name, "the file held payloads that were never sent");
    }
    let excused: Vec<_> = verdict.lost.iter().copied().filter(|id| at_risk.contains(id)).collect();
    verdict.lost.retain(|id| !at_risk.contains(id));
    history.forgive(&excused);
    history.forgive(&verdict.lost);
    let fresh = quarantine(&setup.data)? - quarantined;
    if !excused.is_empty() && fresh == 0 {
        run.report
            .fail(&name, "entries are missing and nothing new is in quarantine");
    }
    let missing = missing_before + excused.len();
    if replayed.status.success() != (missing == 0) {
        let words = &replayed.words;
        run.report.fail(
            &name,
            format!(
                "{missing} entries are missing in all, yet gs-ctl ended with {}: {words}",
                replayed.status
            ),
        );
    }
    let round = Round {
        tally: history.tally(run.round_from),
        note: format!(
            "missing {} of {} at risk, quarantine +{fresh}, gs-ctl {}",
            excused.len(),
            at_risk.len(),
            replayed.status
        ),
        name,
        verdict,
        covered: true,
        ready_ms: millis(ready),
    };
    run.report.push(round);
    Ok(excused.len())
}

fn choose(run: &mut Run, data: &Path, place: Place, damaged: &HashSet<PathBuf>) -> anyhow::Result<Target> {
    match place {
        Place::WalHeader => {
            let wal = unsealed(data)?;
            Ok(Target {
                file: wal.path,
                bytes: wal.header,
                at_risk: Vec::new(),
            })
        }
        Place::WalEntryHeader | Place::WalEntryHeaderAlone | Place::WalPayload | Place::WalPayloadAlone => {
            let wal = unsealed(data)?;
            if matches!(place, Place::WalEntryHeaderAlone | Place::WalPayloadAlone) {
                files_below(&data.join("segments"), "open")?
                    .iter()
                    .try_for_each(fs::remove_file)?;
            }
            let entry = wal
                .entries
                .choose(&mut run.rng)
                .context("the write-ahead log is empty")?;
            let in_header = matches!(place, Place::WalEntryHeader | Place::WalEntryHeaderAlone);
            let bytes = if in_header {
                entry.header.clone()
            } else {
                entry.payload.clone()
            };
            Ok(Target {
                file: wal.path,
                bytes,
                at_risk: vec![entry.hash],
            })
        }
        Place::SegmentHeader | Place::BlockMetadata | Place::Lz4Frame | Place::Footer => {
            let files = files_below(&data.join("segments"), "seg")?;
            let intact: Vec<_> = files.into_iter().filter(|file| !damaged.contains(file)).collect();
            let maps: Vec<_> = intact
                .iter()
                .map(|file| SegmentMap::read(file))
                .collect::<Result<_, _>>()?;
            let full: Vec<_> = maps.into_iter().filter(|map| map.blocks.len() > 1).collect();
            let map = full
                .choose(&mut run.rng)
                .context("no sealed segment has several blocks")?
                .clone();
            let block = map.blocks.choose(&mut run.rng).context("no block")?.clone();
            let (bytes, at_risk) = match place {
                Place::SegmentHeader => (map.header, Vec::new()),
                Place::Footer => (map.footer, Vec::new()),
                Place::BlockMetadata => (block.metadata, block.hashes),
                Place::Lz4Frame
                | Place::WalHeader
                | Place::WalEntryHeader
                | Place::WalPayload
                | Place::WalEntryHeaderAlone
                | Place::WalPayloadAlone => (block.lz4, block.hashes),
            };
            Ok(Target {
                file: map.path,
                bytes,
                at_risk,
            })
        }
    }
}

/// The write-ahead log file with the most entries whose segment is not sealed.
fn unsealed(data: &Path) -> anyhow::Result<WalMap> {
    let sealed = files_below(&data.join("segments"), "seg")?;
    let sealed: HashSet<_> = sealed
        .iter()
        .map(|path| (folder_name(path), path.file_stem()))
        .collect();
    let files = files_below(&data.join("wal"), "wal")?;
    let open = files
        .iter()
        .filter(|path| !sealed.contains(&(folder_name(path), path.file_stem())));
    let maps: Vec<_> = open.map(|path| WalMap::read(path)).collect::<Result<_, _>>()?;
    let fullest = maps.into_iter().max_by_key(|map| map.entries.len());
    fullest
        .filter(|map| !map.entries.is_empty())
        .context("no unsealed write-ahead log file has an entry")
}

fn folder_name(path: &Path) -> Option<&std::ffi::OsStr> {
    path.parent().and_then(Path::file_name)
}

fn quarantine(data: &Path) -> anyhow::Result<usize> {
    Ok(files_below(&data.join("quarantine"), "bin")?.len())
}

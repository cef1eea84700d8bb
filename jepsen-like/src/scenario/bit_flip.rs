//! One bit of a stored file is inverted while the node is down. At most the entry or block that holds it is missing,
//! the node reports that and puts it into quarantine, and everything else is served.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{DAMAGE, Plan, Run, STOP_PATIENCE, millis, stored};
use crate::check::check;
use crate::damage::{files_below, flip_bit, payloads_of_open};
use crate::node::NodeSetup;
use crate::payload::PayloadHash;
use crate::replay::replay;
use crate::report::{Report, Round};

const BURST: Duration = Duration::from_millis(600);
/// Acks that fill a segment.
const BURST_ACKS: u64 = 200;
const VERIFY_PATIENCE: Duration = Duration::from_secs(60);

/// The part of a file that holds the bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    WalHeader,
    WalEntryHeader,
    WalPayload,
    /// A WAL entry header whose unsealed segment file is gone, as a power cut may leave it: there is no second copy.
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

/// The bit to invert, and the payloads that may then be missing.
struct Target {
    file: PathBuf,
    bytes: Range<usize>,
    at_risk: Vec<PayloadHash>,
}

/// Runs the scenario: each place once in each round.
///
/// # Errors
///
/// The node does not come back, or one of its files is not as `docs/formats.md` says.
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
        run.workload.burst(node.grpc, BURST, BURST_ACKS).await?;
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
    let tally = history.tally(run.round_from);
    history.forgive(&excused);
    history.forgive(&verdict.lost);
    let fresh = quarantine(&setup.data)? - quarantined;
    if !excused.is_empty() && fresh == 0 {
        run.report
            .fail(&name, "entries are missing and nothing new is in quarantine");
    }
    let missing = missing_before + excused.len();
    let expected = if missing == 0 { 0 } else { DAMAGE };
    if replayed.status.code() != Some(expected) {
        let (status, words) = (replayed.status, &replayed.words);
        run.report.fail(
            &name,
            format!("with {missing} entries missing in all, gs-ctl replay ended with {status}: {words}"),
        );
    }
    if target.file.extension().is_some_and(|extension| extension == "seg") {
        let (code, words) = verify(setup, &target.file).await?;
        if code != Some(DAMAGE) {
            run.report.fail(
                &name,
                format!("gs-ctl segment verify does not see the damage ({code:?}): {words}"),
            );
        }
    }
    let round = Round {
        tally,
        note: format!(
            "missing {} of {} at risk, quarantine +{fresh}, gs-ctl {}",
            excused.len(),
            at_risk.len(),
            replayed.status
        ),
        name,
        verdict,
        covered: true,
        power_went: None,
        ready_ms: millis(ready),
    };
    run.report.push(round);
    Ok(excused.len())
}

/// Makes the node read a whole segment file, which must reveal damage anywhere in it.
async fn verify(setup: &NodeSetup, file: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let numbers: Vec<_> = file
        .with_extension("")
        .components()
        .rev()
        .take(3)
        .map(|part| part.as_os_str().to_string_lossy().trim_start_matches('0').to_owned())
        .collect();
    let number = |at: usize| if numbers[at].is_empty() { "0" } else { &numbers[at] };
    let segment = format!("{}/{}/{}", number(2), number(1), number(0));
    let mut command = tokio::process::Command::new(&setup.binaries.ctl);
    command
        .arg("--socket")
        .arg(setup.socket())
        .args(["segment", "verify", &segment])
        .kill_on_drop(true);
    let output = tokio::time::timeout(VERIFY_PATIENCE, command.output())
        .await
        .context("gs-ctl segment verify hangs")??;
    let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .trim()
        .to_owned();
    Ok((output.status.code(), words))
}

fn choose(run: &mut Run, data: &Path, place: Place, damaged: &HashSet<PathBuf>) -> anyhow::Result<Target> {
    match place {
        Place::WalHeader => {
            let wal = stored::unsealed(data)?;
            Ok(Target {
                file: wal.path,
                bytes: wal.header,
                at_risk: Vec::new(),
            })
        }
        Place::WalEntryHeader | Place::WalEntryHeaderAlone | Place::WalPayload | Place::WalPayloadAlone => {
            let wal = stored::unsealed(data)?;
            let open = files_below(&data.join("segments"), "open")?;
            if matches!(place, Place::WalEntryHeaderAlone | Place::WalPayloadAlone) {
                open.iter().try_for_each(fs::remove_file)?;
            }
            let entry = wal
                .entries
                .choose(&mut run.rng)
                .context("the write-ahead log is empty")?;
            let in_header = matches!(place, Place::WalEntryHeader | Place::WalEntryHeaderAlone);
            // An entry with a good second copy must not be missing.
            let mut at_risk = vec![entry.hash];
            for path in open.iter().filter(|path| path.exists()) {
                let copies = payloads_of_open(path)?;
                at_risk.retain(|hash| !copies.contains(hash));
            }
            Ok(Target {
                file: wal.path,
                bytes: if in_header {
                    entry.header.clone()
                } else {
                    entry.payload.clone()
                },
                at_risk,
            })
        }
        Place::SegmentHeader | Place::BlockMetadata | Place::Lz4Frame | Place::Footer => {
            let maps = stored::sealed(data, damaged)?;
            let map = maps
                .choose(&mut run.rng)
                .context("no intact sealed segment has several blocks")?
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

fn quarantine(data: &Path) -> anyhow::Result<usize> {
    Ok(files_below(&data.join("quarantine"), "bin")?.len())
}

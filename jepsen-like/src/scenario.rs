//! The kinds of fault, one file each, and the code that they share.
//!
//! - Processes: `kill_loop`, `clean_restart`, `ready_time`. Power: `power_cut`. Syncs: `sync_error`.
//! - Disks: `disk_full`, `full_disk_start`, `disk_tiers`, `bit_flip`, `bad_sector`; `stored` finds files to damage.
//! - Clusters: `cluster`, a folder.
//! - Exporters: `overload`, `dead_sink`, `export_kill`, `sink_answers`; `exported` is what they share.

pub mod bad_sector;
pub mod bit_flip;
pub mod clean_restart;
pub mod cluster;
pub mod dead_sink;
pub mod disk_full;
pub mod disk_tiers;
pub mod export_kill;
mod exported;
pub mod full_disk_start;
pub mod kill_loop;
pub mod overload;
pub mod power_cut;
pub mod ready_time;
pub mod sink_answers;
mod stored;
pub mod sync_error;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::check::{Replayed, check};
use crate::load::{LoadSpec, Pace, Retry, Running, Workload};
use crate::node::{Binaries, NodeSetup};
use crate::payload::Sizes;
use crate::replay::replay;
use crate::report::{Report, Round};
use crate::workdir::Workdir;

/// Time within which a node must end after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(35);

/// Acks before a fault at most: half of what a phase of load can get, by its bytes and the mean size of its payloads.
const ACKS_BEFORE_FAULT: u64 = 700;

/// Exit code by which `gs-ctl` reports damage or missing entries.
const DAMAGE: i32 = 4;

/// The options that every scenario takes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The programs under test.
    pub binaries: Binaries,
    /// Seed that repeats traffic and positions of faults.
    pub seed: u64,
    /// Number of rounds.
    pub rounds: u32,
    /// The traffic.
    pub load: LoadSpec,
    /// True where the run's folder is kept.
    pub keep: bool,
    /// True where a loss must be seen: the control, against nodes that are built to lose.
    pub expect_loss: bool,
}

impl Plan {
    /// Four connections, closed loop, new payloads after a failure.
    pub fn new(binaries: Binaries, seed: u64, rounds: u32) -> Self {
        let load = LoadSpec {
            connections: 4,
            pace: Pace::Closed,
            retry: Retry::Fresh,
            // Longer than a node holds back an answer.
            timeout: Duration::from_secs(20),
            sizes: Sizes::Mixed,
            bytes_max: 16 << 20,
        };
        Self {
            binaries,
            seed,
            rounds,
            load,
            keep: false,
            expect_loss: false,
        }
    }
}

/// A run under way: its folder, its traffic, its report.
struct Run {
    work: Workdir,
    workload: Workload,
    rng: StdRng,
    report: Report,
    /// Index in the history at which the present round begins.
    round_from: usize,
}

impl Run {
    fn new(plan: &Plan, name: &str) -> anyhow::Result<Self> {
        eprintln!("{name}: seed {}", plan.seed);
        Ok(Self {
            work: Workdir::new(name, plan.keep)?,
            workload: Workload::new(plan.load, plan.seed),
            rng: StdRng::seed_from_u64(!plan.seed),
            report: Report {
                expect_loss: plan.expect_loss,
                ..Report::new(name, plan.seed)
            },
            round_from: 0,
        })
    }

    /// A setup with the data in the run's own folder.
    fn setup(&self, plan: &Plan) -> NodeSetup {
        NodeSetup::new(plan.binaries.clone(), self.work.path(), &self.work.path().join("data"))
    }

    /// A random moment for a fault.
    fn moment(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(millis))
    }

    /// Waits for a random moment in a phase of load: within so many milliseconds, and before the load has sent all that
    /// it may, which a fast machine does sooner.
    async fn wait_moment(&mut self, load: &Running, millis: std::ops::Range<u64>) {
        let (length, acks) = (self.moment(millis), self.rng.random_range(1..ACKS_BEFORE_FAULT));
        let began = Instant::now();
        while began.elapsed() < length && load.acks() < acks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn begin_round(&mut self) {
        self.round_from = self.workload.history.attempts.len();
    }

    /// Replays all. `gs-ctl` must find nothing missing, unless a loss is expected.
    async fn replay_whole(&mut self, setup: &NodeSetup, name: &str) -> anyhow::Result<Vec<Replayed>> {
        let loss_is_expected = self.report.expect_loss;
        self.replay_what_is_there(setup, name, loss_is_expected).await
    }

    /// Replays all. `gs-ctl` may find something missing where `loss_is_expected`.
    async fn replay_what_is_there(
        &mut self,
        setup: &NodeSetup,
        name: &str,
        loss_is_expected: bool,
    ) -> anyhow::Result<Vec<Replayed>> {
        let replayed = replay(setup).await?;
        let said_so = loss_is_expected && replayed.status.code() == Some(DAMAGE);
        if !replayed.status.success() && !said_so {
            let (status, words) = (replayed.status, &replayed.words);
            self.report
                .fail(name, format!("gs-ctl replay ended with {status}: {words}"));
        }
        Ok(replayed.entries)
    }

    /// Replays all, checks it, and adds the round to the report.
    async fn judge(&mut self, setup: &NodeSetup, mut round: Round) -> anyhow::Result<()> {
        let replayed = self.replay_whole(setup, &round.name).await?;
        round.tally = self.workload.history.tally(self.round_from);
        round.verdict = check(&self.workload.history, &replayed);
        let history = &mut self.workload.history;
        if let Some(power_went) = round.power_went {
            let late = history.acked_since(power_went);
            let (dark, lost): (Vec<_>, Vec<_>) = round.verdict.lost.iter().partition(|id| late.contains_key(*id));
            let after: Vec<String> = dark
                .iter()
                .map(|id| format!("{} us", late[id].div_ceil(1000)))
                .collect();
            if !after.is_empty() {
                round.note += &format!("acks of no account, lost: {} after the cut began", after.join(", "));
            }
            history.forgive(&dark);
            round.verdict.lost = lost;
        }
        history.forgive(&round.verdict.lost);
        self.report.push(round);
        Ok(())
    }

    /// True where requests were answered before the fault and at least one was under way.
    fn fault_fell_between_acks(&self) -> bool {
        let tally = self.workload.history.tally(self.round_from);
        tally.acked > 0 && tally.unknown > 0
    }
}

fn millis(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok()
}

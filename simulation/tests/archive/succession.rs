//! Clusters of one id that follow one another in one archive: the second and the third are restored from it while those
//! before are awake, put, commit, doom and delete; runners of a restore are cut off anywhere, and two of them run at
//! once.
//!
//! - `cluster`: one cluster, with one node that does the rounds. Each thing that it does to the store is done some time
//!   after it has looked for the marker. `restore`: what `gs-ctl` does. `shared`: the store.

mod cluster;
mod restore;
mod shared;

use gophership_catalogue::archive::ObjectState;
use gophership_catalogue::restore::RestoreState;

use self::cluster::Cluster;
use self::restore::Runner;
use self::shared::Shared;
use crate::rng::Rng;

const SEEDS: u64 = 150;
const STEPS: usize = 1_200;
const REST_STEPS: usize = 6_000;
/// What was done wrong to the store stays, so it is not looked at after each step.
const CHECKED_STEPS: u64 = 16;
/// The first cluster, one that is restored from its archive, and one from theirs.
const CLUSTERS: usize = 3;

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The marker is not looked for before an object is put.
    PutUnseen,
    /// Nor before an object is committed.
    CommitUnseen,
    /// Nor before a manifest is put.
    ManifestUnseen,
    /// Nor before a manifest is committed.
    ManifestCommitUnseen,
    /// Nor before a duplicate is deleted.
    DeleteUnseen,
    /// Nor where the store is opened.
    OpenUnseen,
    /// A restored cluster puts no marker.
    NoMarker,
    /// The archive is read before the marker is there.
    ReadBefore,
    /// The first node's number is above those in manifests only.
    FloorOfListed,
    /// A runner that begins anew goes on behind the page at which one before it was cut off.
    PagesSkipped,
    /// The manifests of the new cluster begin anew.
    ChainAnew,
}

impl Broken {
    const ALL: [Self; 11] = [
        Self::PutUnseen,
        Self::CommitUnseen,
        Self::ManifestUnseen,
        Self::ManifestCommitUnseen,
        Self::DeleteUnseen,
        Self::OpenUnseen,
        Self::NoMarker,
        Self::ReadBefore,
        Self::FloorOfListed,
        Self::PagesSkipped,
        Self::ChainAnew,
    ];
}

/// How often what a run is about has happened.
#[derive(Default)]
struct Seen {
    restored: u64,
    cut_off: u64,
    two_runners: u64,
    taken_unlisted: u64,
    kept_out: u64,
    late: u64,
    deleted: u64,
    again: u64,
}

struct World {
    rng: Rng,
    broken: Option<Broken>,
    is_calm: bool,
    shared: Shared,
    clusters: Vec<Cluster>,
    runners: Vec<Runner>,
    seen: Seen,
}

impl World {
    fn new(seed: u64, broken: Option<Broken>) -> Self {
        Self {
            rng: Rng::new(seed),
            broken,
            is_calm: false,
            shared: Shared::default(),
            clusters: vec![Cluster::first()],
            runners: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.is_calm = true;
        self.late();
        for _ in 0..REST_STEPS {
            if self.is_at_rest() {
                return self.check_end();
            }
            self.step()?;
        }
        Err("it does not come to rest".to_owned())
    }

    fn step(&mut self) -> Result<(), String> {
        self.shared.now += 1;
        match self.rng.below(100) {
            0..=64 => {
                let at = self.rng.below(self.clusters.len() as u64) as usize;
                self.clusters[at].act(&mut self.rng, &mut self.shared, self.broken, &mut self.seen.kept_out);
            }
            65..=84 => self.restore()?,
            _ if self.is_calm => self.restore()?,
            85..=92 => {
                let at = self.rng.below(self.clusters.len() as u64) as usize;
                self.clusters[at].seal();
            }
            93..=95 => {
                let at = self.rng.below(self.clusters.len() as u64) as usize;
                self.clusters[at].end(&mut self.rng, &mut self.shared);
            }
            96 => self.late(),
            97 => self.cut_off(),
            _ => self.begin_restore(),
        }
        match (&self.shared.wrong, self.shared.now % CHECKED_STEPS) {
            (Some(wrong), _) => Err(wrong.clone()),
            (None, 0) => self.check(),
            (None, _) => Ok(()),
        }
    }

    /// What processes had begun that ended since arrives.
    fn late(&mut self) {
        for write in std::mem::take(&mut self.shared.late) {
            self.shared.arrive(write);
            self.seen.late += 1;
        }
    }

    /// An operator restores the archive into a new cluster, or runs the restore of the newest one, be it that another
    /// runs.
    fn begin_restore(&mut self) {
        let newest = self.clusters.last().expect("there is the first one");
        let is_under_way = newest.generation > 0 && !newest.is_restored();
        let into = match is_under_way {
            true => self.clusters.len() - 1,
            // An archive that has nothing is no matter of a restore.
            false if self.clusters.len() < CLUSTERS && self.shared.newest_manifest() > 0 => {
                if self.shared.now < 300 * self.clusters.len() as u64 {
                    return;
                }
                let cluster = Cluster::restored(&self.shared, self.clusters.len(), self.broken);
                self.clusters.push(cluster);
                self.clusters.len() - 1
            }
            false => return,
        };
        self.seen.two_runners += u64::from(self.runners.iter().any(|of| of.into == into));
        let is_scan = self.rng.chance(60);
        self.runners.push(Runner::new(into, is_scan, &self.shared, self.broken));
    }

    /// A runner goes on. Without one, a restore that has not ended is run again.
    fn restore(&mut self) -> Result<(), String> {
        if self.runners.is_empty() {
            let newest = self.clusters.last().expect("there is the first one");
            if newest.generation > 0 && !newest.is_restored() {
                let into = self.clusters.len() - 1;
                self.runners.push(Runner::new(into, true, &self.shared, self.broken));
                self.seen.again += 1;
            }
            return Ok(());
        }
        let at = self.rng.below(self.runners.len() as u64) as usize;
        let runner = &mut self.runners[at];
        let cluster = &mut self.clusters[runner.into];
        let is_over = runner.act(&mut self.rng, &self.shared, cluster, self.broken)?;
        if is_over {
            self.seen.restored += 1;
            self.seen.taken_unlisted += runner.unlisted;
            self.runners.swap_remove(at);
        }
        Ok(())
    }

    fn cut_off(&mut self) {
        if !self.runners.is_empty() {
            let at = self.rng.below(self.runners.len() as u64) as usize;
            let runner = self.runners.swap_remove(at);
            let cluster = &mut self.clusters[runner.into];
            cluster.pages_told = cluster.pages_told.max(runner.pages_told());
            self.seen.cut_off += 1;
        }
    }

    fn is_at_rest(&self) -> bool {
        let newest = self.clusters.last().expect("there is the first one");
        let is_done = newest.generation == 0 || newest.is_restored();
        self.runners.is_empty() && self.shared.late.is_empty() && is_done && self.clusters.iter().all(Cluster::is_idle)
    }

    /// What must hold at any time.
    fn check(&self) -> Result<(), String> {
        for cluster in &self.clusters {
            let name = cluster.generation;
            for (lease, object) in cluster.state.archive_objects() {
                if let ObjectState::Committed(stored) | ObjectState::Listed { stored, .. } = object.state {
                    let found = self.shared.objects.get(&crate::content::key_of(lease, object));
                    let is_there = found.is_some_and(|bytes| *blake3::hash(bytes).as_bytes() == stored.digest);
                    if !is_there {
                        return Err(format!(
                            "cluster {name} counts on lease {lease}, which is not in the store"
                        ));
                    }
                }
            }
            self.shared.check_chain(cluster)?;
        }
        Ok(())
    }

    /// What must hold in the end: the newest cluster has all that those before it had when it said that it goes on with
    /// the archive, beside its own.
    fn check_end(&mut self) -> Result<(), String> {
        self.seen.deleted += self.shared.deleted;
        self.check()?;
        for pair in self.clusters.windows(2) {
            let [old, new] = pair else { unreachable!("a pair") };
            let record = new.state.restore().expect("it began with one");
            if record.state != RestoreState::Complete {
                return Err(format!("cluster {} is {}", new.generation, record.state.name()));
            }
            let at = self
                .shared
                .markers
                .get(&new.generation)
                .map_or(u64::MAX, |marker| marker.at);
            for (id, _) in old.listed_at.iter().filter(|(_, listed_at)| **listed_at < at) {
                if !new.state.is_archived(*id) {
                    let (old, new) = (old.generation, new.generation);
                    return Err(format!(
                        "segment {id} was archived by cluster {old}, and cluster {new} has it not"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn run(seed: u64, broken: Option<Broken>) -> (Result<(), String>, Seen) {
    let mut world = World::new(seed, broken);
    let result = world.run();
    (result, world.seen)
}

#[test]
fn whatever_clusters_before_do_a_restored_one_has_all_that_was_archived_and_nothing_goes_that_it_counts_on() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        let (result, seen) = run(seed, None);
        if let Err(wrong) = result {
            panic!("seed {seed}: {wrong}");
        }
        all.restored += seen.restored;
        all.cut_off += seen.cut_off;
        all.two_runners += seen.two_runners;
        all.taken_unlisted += seen.taken_unlisted;
        all.kept_out += seen.kept_out;
        all.late += seen.late;
        all.deleted += seen.deleted;
        all.again += seen.again;
    }
    // A run counts only if what it is about has happened.
    for (what, count) in [
        ("restores", all.restored),
        ("runners cut off", all.cut_off),
        ("two runners", all.two_runners),
        ("objects that no manifest lists", all.taken_unlisted),
        ("clusters kept out", all.kept_out),
        ("late writes", all.late),
        ("duplicates deleted", all.deleted),
        ("restores gone on with", all.again),
    ] {
        assert!(count >= 10, "{what}: {count} times in {SEEDS} runs");
    }
}

#[test]
fn each_rule_of_a_restore_that_is_switched_off_is_caught() {
    for broken in Broken::ALL {
        let caught = (0..SEEDS).find_map(|seed| run(seed, Some(broken)).0.err().map(|wrong| (seed, wrong)));
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{broken:?} is caught by none of {SEEDS} seeds"));
        println!("{broken:?}: seed {seed}: {wrong}");
    }
}

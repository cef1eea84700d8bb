use gophership_catalogue::local::faulty_disk::{Fault, FaultyDisk};
use gophership_catalogue::testkit::apply_by_node;
use gophership_catalogue::testkit::{bytes, command};
use gophership_catalogue::{Actor, Command, Request, apply_request};
use openraft::EntryPayload;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::consensus::raft_types::Proposal;
use crate::consensus::testkit::{identity, state_of_one};
use crate::consensus::wire::tests::id;

/// A node's files: the catalogue on a disk that fails on demand, the mark in a folder that does not.
struct Files {
    disk: FaultyDisk,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self::with(&state_of_one())
    }

    /// The files of a node whose catalogue begins with `state`.
    fn with(state: &State) -> Self {
        let (disk, folder) = (FaultyDisk::default(), tempfile::tempdir().unwrap());
        let path = folder.path().join("catalogue.redb");
        disk.create(&path, &identity(1), state).unwrap();
        Self { disk, folder }
    }

    fn open(&self) -> Result<Arc<Core>, CatalogueError> {
        let path = self.folder.path().join("catalogue.redb");
        Core::over(self.disk.open(&path)?, &identity(1))
    }
}

/// What a node that never fails would hold.
#[derive(Clone, Debug)]
struct Model {
    vote: Option<Vote>,
    purged: Option<RaftLogId>,
    log: Vec<Entry>,
    applied: Option<RaftLogId>,
    state: State,
}

impl Model {
    fn last(&self) -> Option<RaftLogId> {
        self.log.last().map(|e| e.log_id).max(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    /// The entries of the log that are not applied yet.
    fn waiting(&self) -> Vec<Entry> {
        let waits = |e: &&Entry| Some(e.log_id) > self.applied;
        self.log.iter().filter(waits).cloned().collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Vote,
    /// Entries of a new term.
    Append(Vec<Command>),
    /// Cuts off so many entries at most that are not applied.
    Truncate(usize),
    /// Applies so many entries at most.
    Apply(usize),
    /// Cuts off what is applied, but for so many entries.
    Purge(u64),
    /// Gets a snapshot of what a leader has that applied this behind the log.
    Install(Box<Command>),
}

impl Step {
    /// Does it to the model; gives what to do to the node.
    fn model(self, model: &mut Model, term: u64) -> Do {
        match self {
            Self::Vote => {
                let vote = Vote::new(term, 1);
                model.vote = Some(vote);
                Do::Vote(vote)
            }
            Self::Append(commands) => {
                let next = model.next_index();
                let entries: Vec<_> = (next..)
                    .zip(commands)
                    .map(|(index, command)| entry(id(term, 1, index), command))
                    .collect();
                model.log.extend(entries.clone());
                Do::Append(entries)
            }
            Self::Truncate(most) => {
                let from = model.log.len() - model.waiting().len().min(most);
                let gone = model.log.split_off(from);
                gone.first().map_or(Do::Nothing, |first| Do::Truncate(first.log_id))
            }
            Self::Apply(most) => {
                let entries: Vec<_> = model.waiting().into_iter().take(most).collect();
                for entry in &entries {
                    let EntryPayload::Normal(proposal) = &entry.payload else {
                        continue;
                    };
                    let request = Request::decode(&proposal.request).unwrap();
                    let _outcome = apply_request(&mut model.state, &request);
                    model.applied = Some(entry.log_id);
                }
                Do::Apply(entries)
            }
            Self::Purge(kept) => {
                let upto = model.applied.map_or(0, |id| (id.index + 1).saturating_sub(kept));
                let mut log = std::mem::take(&mut model.log);
                model.log = log.split_off(log.iter().filter(|e| e.log_id.index < upto).count());
                match log.last() {
                    Some(last) => {
                        model.purged = Some(last.log_id);
                        Do::Purge(last.log_id)
                    }
                    None => Do::Nothing,
                }
            }
            Self::Install(command) => {
                let last = id(term, 1, model.next_index());
                let leader = Files::with(&model.state);
                let core = leader.open().unwrap();
                core.apply(&[entry(last, (*command).clone())]).unwrap();
                let (meta, file) = core.build_snapshot().unwrap();
                let _outcome = apply_by_node(&mut model.state, &command);
                model.log.clear();
                (model.purged, model.applied) = (Some(last), Some(last));
                Do::Install {
                    meta,
                    file,
                    _leader: leader,
                }
            }
        }
    }
}

/// What a node is told to do.
enum Do {
    Nothing,
    Vote(Vote),
    Append(Vec<Entry>),
    Truncate(RaftLogId),
    Apply(Vec<Entry>),
    Purge(RaftLogId),
    Install {
        meta: SnapshotMeta,
        file: SnapshotFile,
        /// The folder of the file.
        _leader: Files,
    },
}

impl Do {
    fn run(&self, core: &Core) -> Result<(), CatalogueError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Vote(vote) => core.save_vote(vote),
            Self::Append(entries) => core.append(entries),
            Self::Truncate(since) => core.truncate(*since),
            Self::Apply(entries) => {
                let answers = core.apply(entries)?;
                assert_eq!(answers.len(), entries.len(), "one answer for each entry");
                Ok(())
            }
            Self::Purge(upto) => core.purge(*upto),
            Self::Install { meta, file, .. } => {
                core.install(meta, file)?;
                core.purge(meta.last_log_id.unwrap())
            }
        }
    }
}

/// What openraft does first with a log that ends before the state.
fn begin(core: &Core) {
    let (last, applied) = (core.log().borrow().last, core.applied().borrow().last);
    if last < applied {
        core.purge(applied.unwrap()).unwrap();
    }
}

fn entry(log_id: RaftLogId, command: Command) -> Entry {
    let actor = Actor::Node;
    Entry {
        log_id,
        payload: EntryPayload::Normal(Proposal {
            ticket: Uuid::from_u128(log_id.index.into()),
            request: Request { actor, command }.encode(),
        }),
    }
}

/// The same as the model, or what differs.
fn difference(core: &Core, model: &Model) -> Option<String> {
    let mut state = None;
    core.read(&mut |s| state = Some(bytes(s)));
    let log = core.entries(0, u64::MAX, usize::MAX).unwrap();
    let status = *core.log().borrow();
    let applied = core.applied().borrow().last;
    let same = [
        ("vote", core.vote() == model.vote),
        ("ends", (status.purged, status.last) == (model.purged, model.last())),
        ("log", log == model.log),
        ("entries counted", status.entries == model.log.len() as u64),
        ("applied", applied == model.applied),
        ("state", state == Some(bytes(&model.state))),
    ];
    let differs = same.into_iter().find(|(_, same)| !same)?;
    Some(format!("{}: {status:?}, {applied:?}, {log:?}", differs.0))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Vote),
        4 => prop::collection::vec(command(), 1..4).prop_map(Step::Append),
        1 => (1..4usize).prop_map(Step::Truncate),
        3 => (1..6usize).prop_map(Step::Apply),
        1 => (0..4u64).prop_map(Step::Purge),
        1 => command().prop_map(|command| Step::Install(Box::new(command))),
    ]
}

#[derive(Clone, Debug)]
enum Fails {
    No,
    /// The node ends after the step.
    End,
    /// Power is cut after so many changes of the disk.
    PowerCut {
        after: u32,
        seed: u64,
    },
}

fn fails() -> impl Strategy<Value = Fails> {
    prop_oneof![
        6 => Just(Fails::No),
        1 => Just(Fails::End),
        3 => (0..20u32, any::<u64>()).prop_map(|(after, seed)| Fails::PowerCut { after, seed }),
    ]
}

/// Says of each sector that was not synced whether it survives.
fn survivors(mut seed: u64) -> impl FnMut() -> bool {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 40 & 1 == 1
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i1_i3_i4_what_was_answered_is_there_after_any_power_cut_and_the_file_is_never_behind_its_mark(
        steps in prop::collection::vec((step(), fails()), 1..30)
    ) {
        let files = Files::new();
        let mut model = Model { vote: None, purged: None, log: vec![], applied: None, state: state_of_one() };
        let mut core = files.open().unwrap();
        for (term, (step, fails)) in (1..).zip(steps) {
            let before = model.clone();
            let act = step.model(&mut model, term);
            if let Fails::PowerCut { after, .. } = fails {
                files.disk.fault(Fault::PowerCut { after });
            }
            let done = act.run(&core);
            if let Fails::No = fails {
                prop_assert!(done.is_ok(), "{:?}", done);
            } else {
                core.end();
                drop(core);
                if let Fails::PowerCut { seed, .. } = fails {
                    files.disk.crash(survivors(seed));
                    files.disk.fault(Fault::Nothing);
                }
                core = files.open().map_err(|e| TestCaseError::fail(e.to_string()))?;
                begin(&core);
                if done.is_err() && difference(&core, &model).is_some() {
                    model = before;
                }
            }
            prop_assert_eq!(difference(&core, &model), None);
        }
    }
}

fn setting(value: &str) -> Command {
    Command::SetConfig {
        key: "k".to_owned(),
        value: Some(value.to_owned()),
        seen: None,
        at_ns: 1,
    }
}

#[test]
fn i5_a_full_disk_is_waited_for_and_nothing_is_done_twice() {
    let files = Files::new();
    let core = files.open().unwrap();
    core.append(&[entry(id(1, 1, 0), setting("1")), entry(id(1, 1, 1), setting("2"))])
        .unwrap();
    core.apply(&core.entries(0, 1, usize::MAX).unwrap()).unwrap();
    files.disk.fault(Fault::Full);
    let waiting = {
        let core = Arc::clone(&core);
        std::thread::spawn(move || {
            let second = core.entries(1, 2, usize::MAX)?;
            core.apply(&second)?;
            core.append(&[entry(id(1, 1, 2), setting("3"))])
        })
    };
    // Long enough that it fails once; however long, it must not be done.
    std::thread::sleep(FULL_DISK_PAUSE / 2);
    assert!(!waiting.is_finished());
    assert_eq!(core.applied().borrow().last, Some(id(1, 1, 0)));
    files.disk.fault(Fault::Nothing);
    waiting.join().unwrap().unwrap();
    assert_eq!(core.applied().borrow().last, Some(id(1, 1, 1)));
    assert_eq!(core.log().borrow().entries, 3);
    let mut version = 0;
    core.read(&mut |s| version = s.setting("k").unwrap().version);
    assert_eq!(version, 2, "each set has a version of its own");
}

#[test]
fn i5_i6_who_waits_for_room_ends_with_the_node() {
    let files = Files::new();
    let core = files.open().unwrap();
    files.disk.fault(Fault::Full);
    let waiting = {
        let core = Arc::clone(&core);
        std::thread::spawn(move || core.save_vote(&Vote::new(1, 1)))
    };
    core.set_ending();
    let ended = waiting.join().unwrap().unwrap_err();
    assert!(matches!(ended, CatalogueError::DiskFull { .. }), "{ended}");
    files.disk.fault(Fault::Nothing);
    core.end();
    assert!(core.append(&[entry(id(1, 1, 0), setting("1"))]).is_err());
}

#[test]
fn i1_after_a_failed_sync_nothing_is_promised_any_more() {
    let files = Files::new();
    let core = files.open().unwrap();
    files.disk.fault(Fault::SyncFails);
    let failed = core.save_vote(&Vote::new(1, 1)).unwrap_err();
    assert!(matches!(failed, CatalogueError::SyncFailed { .. }), "{failed}");
    files.disk.fault(Fault::Nothing);
    let failed = core.save_vote(&Vote::new(1, 1)).unwrap_err();
    assert!(matches!(failed, CatalogueError::SyncFailed { .. }), "{failed}");
}

#[test]
fn i4_an_older_backup_is_refused_for_what_it_lacks() {
    let files = Files::new();
    let core = files.open().unwrap();
    core.append(&[entry(id(1, 1, 0), setting("1"))]).unwrap();
    let copies = [
        ("last entry T1-N1-0", files.disk.bytes()),
        ("last entry T1-N1-0", {
            core.save_vote(&Vote::new(2, 1)).unwrap();
            files.disk.bytes()
        }),
    ];
    core.append(&[entry(id(2, 1, 1), setting("2"))]).unwrap();
    let newest = files.disk.bytes();
    core.end();
    drop(core);
    // The first lacks the vote too, which is named first.
    let named = ["vote none", copies[1].0];
    for ((_, copy), named) in copies.iter().zip(named) {
        let older = Files {
            disk: FaultyDisk::holding(copy.clone()),
            folder: tempfile::tempdir().unwrap(),
        };
        let mark = |files: &Files| files.folder.path().join("raft.mark");
        std::fs::copy(mark(&files), mark(&older)).unwrap();
        let failed = older.open().unwrap_err().to_string();
        assert!(failed.contains(&format!("it has {named}, but")), "{failed}");
    }
    let same = Files {
        disk: FaultyDisk::holding(newest),
        ..files
    };
    same.open().unwrap();
}

#[test]
fn a_snapshot_replaces_the_whole_state() {
    let (leader, follower) = (Files::new(), Files::new());
    let (from, to) = (leader.open().unwrap(), follower.open().unwrap());
    from.append(&[entry(id(1, 1, 0), setting("1")), entry(id(1, 1, 1), setting("2"))])
        .unwrap();
    from.apply(&from.entries(0, 2, usize::MAX).unwrap()).unwrap();
    let (meta, file) = from.build_snapshot().unwrap();
    let exporter = Command::SetExporter {
        exporter: "of the former state".to_owned(),
        paused: false,
        at_ns: 1,
    };
    to.append(&[entry(id(1, 1, 0), exporter)]).unwrap();
    to.apply(&to.entries(0, 1, usize::MAX).unwrap()).unwrap();
    to.install(&meta, &file).unwrap();
    to.end();
    let to = follower.open().unwrap();
    let state_of = |core: &Core| {
        let mut state = None;
        core.read(&mut |s| state = Some(bytes(s)));
        state.unwrap()
    };
    assert_eq!(state_of(&to), state_of(&from));
    assert_eq!(to.applied().borrow().last, Some(id(1, 1, 1)));
    let damaged = SnapshotMeta {
        last_log_id: Some(id(1, 1, 7)),
        ..meta
    };
    assert!(
        to.install(&damaged, &file).is_err(),
        "another snapshot than was announced"
    );
    assert_eq!(state_of(&to), state_of(&from));
}

#[test]
fn reads_of_the_log_stop_at_their_bytes_and_give_one_entry_at_least() {
    let files = Files::new();
    let core = files.open().unwrap();
    let entries: Vec<_> = (0..5).map(|n| entry(id(1, 1, n), setting(&"x".repeat(100)))).collect();
    core.append(&entries).unwrap();
    let count = |from, to, bytes| core.entries(from, to, bytes).unwrap().len();
    assert_eq!(count(0, 5, usize::MAX), 5);
    assert_eq!(count(1, 3, usize::MAX), 2);
    assert_eq!(count(0, 5, 1), 1);
    assert_eq!(count(0, 5, 2 * stored_entry(&entries[0]).len()), 2);
    assert_eq!(count(5, 9, usize::MAX), 0);
}

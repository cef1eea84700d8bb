use std::thread;

use gophership_vault::ids::{ClusterId, ShardId};
use proptest::prelude::*;

use super::faulty_disk::{Fault, FaultyDisk};
use super::*;
use crate::actor::Actor;
use crate::apply::{apply, decide};
use crate::command::Command;
use crate::conformance::{self, Fixture, identity};
use crate::error::Disposition;
use crate::refusal::Refusal;
use crate::row::tests::{golden_exporters, golden_identity, golden_state};
use crate::segment::SegmentState;
use crate::testkit::{apply_by_node, command, epoch, node, open, register, seal_record, segment, up, uuid};

/// A new catalogue of node 1 on a disk of its own.
fn made() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let mut state = State::default();
    apply(&mut state, &register(1)).unwrap();
    Store::create_on(Path::new("made"), &disk.backend(), &identity(), &state).unwrap();
    disk
}

fn opened(disk: &FaultyDisk) -> Result<LocalCatalogue, CatalogueError> {
    let (store, stored, state) = Store::open_on(Path::new("made"), disk.backend())?;
    open::check_identity(Path::new("made"), &stored, &identity(), &state)?;
    Ok(LocalCatalogue::new(stored, store, state))
}

fn state_of(catalogue: &dyn Catalogue) -> State {
    catalogue.read(State::clone)
}

fn next_index(catalogue: &dyn Catalogue) -> u32 {
    catalogue.read(|s| s.shard(node(1), ShardId::new(0)).next_index.get())
}

/// The sectors that survive a crash: all, none, or some. They follow from the seed alone, so that a failing case can be
/// repeated.
fn survivors(mut seed: u64) -> impl FnMut() -> bool {
    let some = seed % 3;
    move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match some {
            0 => true,
            1 => false,
            _ => seed >> 40 & 1 == 1,
        }
    }
}

/// A command that mostly changes something.
fn effective() -> impl Strategy<Value = Command> {
    let set = any::<u64>().prop_map(|n| Command::SetConfig {
        key: "k".to_owned(),
        value: Some(n.to_string()),
        at_ns: n,
        seen: None,
    });
    prop_oneof![1 => command(), 3 => set]
}

#[derive(Clone, Debug)]
enum Event {
    Say(Command),
    /// The catalogue is closed and opened again.
    Reopen,
    /// Power is cut between commands.
    Crash(u64),
    /// Power is cut during a command.
    CrashWhile {
        command: Command,
        after: u32,
        seed: u64,
    },
    /// The disk is full during a command, then has room again.
    FullWhile(Command),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => command().prop_map(Event::Say),
        1 => Just(Event::Reopen),
        1 => any::<u64>().prop_map(Event::Crash),
        3 => (effective(), 0..14u32, any::<u64>()).prop_map(|(command, after, seed)| Event::CrashWhile {
            command, after, seed
        }),
        2 => effective().prop_map(Event::FullWhile),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn i1_i2_i3_the_file_equals_the_model_through_crashes_and_a_full_disk(
        events in prop::collection::vec(event(), 1..60)
    ) {
        let disk = made();
        let mut model = State::default();
        apply(&mut model, &register(1)).unwrap();
        let mut catalogue = Some(opened(&disk).unwrap());
        let before = vec![Event::Say(register(2)), Event::Say(up(1, 1)), Event::Say(up(2, 1))];
        for event in before.into_iter().chain(events) {
            let open = catalogue.take().unwrap();
            let open = match event {
                Event::Say(command) => {
                    let said = open.submit(Actor::Node, command.clone());
                    match apply_by_node(&mut model, &command) {
                        Ok(reply) => prop_assert_eq!(said.unwrap(), reply),
                        Err(refusal) => match said {
                            Err(CatalogueError::Refused(r)) => prop_assert_eq!(r, refusal),
                            other => prop_assert!(false, "{:?}", other),
                        },
                    }
                    open
                }
                Event::Reopen => {
                    drop(open);
                    opened(&disk).unwrap()
                }
                Event::Crash(seed) => {
                    disk.fault(Fault::PowerCut { after: 0 });
                    drop(open);
                    disk.crash(survivors(seed));
                    opened(&disk).unwrap()
                }
                Event::CrashWhile { command, after, seed } => {
                    disk.fault(Fault::PowerCut { after });
                    let said = open.submit(Actor::Node, command.clone());
                    // No reader may see it before it is durable.
                    let undone = model.clone();
                    let unknown = said.as_ref().is_err_and(|e| e.disposition() == Disposition::Retry
                        || matches!(e, CatalogueError::SyncFailed { .. }));
                    let _outcome = apply_by_node(&mut model, &command);
                    if !unknown {
                        prop_assert_eq!(&state_of(&open), &model);
                    }
                    drop(open);
                    disk.crash(survivors(seed));
                    let open = opened(&disk).unwrap();
                    if unknown && state_of(&open) == undone {
                        model = undone;
                    }
                    open
                }
                Event::FullWhile(command) => {
                    disk.fault(Fault::Full);
                    let said = open.submit(Actor::Node, command.clone());
                    disk.fault(Fault::Nothing);
                    let mut after = model.clone();
                    let outcome = apply_by_node(&mut after, &command);
                    match said {
                        Err(CatalogueError::DiskFull { .. }) => {
                            prop_assert_eq!(&state_of(&open), &model);
                            let again = open.submit(Actor::Node, command).map_err(|e| e.to_string());
                            prop_assert_eq!(again, outcome.map_err(|e| e.to_string()));
                        }
                        said => prop_assert_eq!(said.map_err(|e| e.to_string()), outcome.map_err(|e| e.to_string())),
                    }
                    model = after;
                    open
                }
            };
            prop_assert_eq!(&state_of(&open), &model);
            catalogue = Some(open);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i1_what_consensus_keeps_and_the_state_are_there_together_or_not_at_all(
        crashes in prop::collection::vec((0..16u32, any::<u64>()), 1..12)
    ) {
        let disk = made();
        let (mut store, _, mut state) = Store::open_on(Path::new("made"), disk.backend()).unwrap();
        prop_assert_eq!(store.view().unwrap().consensus("last_applied").unwrap(), None);
        let mut durable = 0;
        for (after, seed) in crashes {
            let entry = durable + 1;
            let set = Command::SetConfig {
                key: "k".to_owned(),
                value: Some(entry.to_string()),
                seen: None,
                at_ns: 1,
            };
            let (_, changes) = decide(&state, &set).unwrap();
            disk.fault(Fault::PowerCut { after });
            let applied = [("last_applied", entry.to_string()), ("membership", format!("as of {entry}"))];
            let committed = store.write(|txn| {
                txn.put_rows(changes.iter().map(row_of))?;
                txn.put_entry(entry, entry.to_string().as_bytes())?;
                txn.remove_entries(..entry)?;
                applied.iter().try_for_each(|(name, value)| txn.keep(name, value.as_bytes()))
            });
            drop(store);
            disk.crash(survivors(seed));
            (store, _, state) = Store::open_on(Path::new("made"), disk.backend()).unwrap();
            let view = store.view().unwrap();
            let found = |name| view.consensus(name).unwrap().map(|value| String::from_utf8(value).unwrap());
            let now = found("last_applied").map_or(0, |n| n.parse().unwrap());
            prop_assert!(now == entry || committed.is_err() && now == durable, "{} of {}", now, entry);
            prop_assert_eq!(found("membership"), (now > 0).then(|| format!("as of {now}")));
            let value = state.setting("k").map(|s| s.value.clone());
            prop_assert_eq!(value, (now > 0).then(|| now.to_string()));
            let log = view.entries(0, u64::MAX, usize::MAX).unwrap();
            let expected = (now > 0).then(|| (now, now.to_string().into_bytes()));
            prop_assert_eq!(log, expected.into_iter().collect::<Vec<_>>());
            durable = now;
        }
    }
}

#[test]
fn i3_after_a_failed_sync_nothing_is_taken_until_the_file_is_opened_anew() {
    let disk = made();
    let catalogue = opened(&disk).unwrap();
    disk.fault(Fault::SyncFails);
    let failed = catalogue.node_up(uuid(7), None).unwrap_err();
    assert!(matches!(failed, CatalogueError::SyncFailed { .. }), "{failed}");
    disk.fault(Fault::Nothing);
    let failed = catalogue.node_up(uuid(7), None).unwrap_err();
    assert_eq!(failed.disposition(), Disposition::Fatal);
    drop(catalogue);
    assert_eq!(opened(&disk).unwrap().node_up(uuid(7), None).unwrap(), epoch(1));
}

#[test]
fn a_full_disk_is_said_and_passes() {
    let disk = made();
    let catalogue = opened(&disk).unwrap();
    catalogue.node_up(uuid(7), None).unwrap();
    disk.fault(Fault::Full);
    for _ in 0..3 {
        let failed = catalogue.submit(Actor::Node, open(segment(1, 0, 1), 1)).unwrap_err();
        assert_eq!(failed.disposition(), Disposition::Overloaded, "{failed}");
        assert_eq!(next_index(&catalogue), 1);
    }
    disk.fault(Fault::Nothing);
    catalogue.submit(Actor::Node, open(segment(1, 0, 1), 1)).unwrap();
    assert_eq!(next_index(&catalogue), 2);
}

#[test]
fn commands_that_come_during_a_commit_share_the_next_one() {
    let disk = made();
    let catalogue = Arc::new(opened(&disk).unwrap());
    catalogue.node_up(uuid(7), None).unwrap();
    let one = disk.syncs();
    catalogue.submit(Actor::Node, open(segment(1, 99, 1), 1)).unwrap();
    let syncs_of_a_commit = disk.syncs() - one;

    let busy = catalogue.writer();
    let before = disk.syncs();
    let threads: Vec<_> = (0..8u16)
        .map(|shard| {
            let catalogue = Arc::clone(&catalogue);
            thread::spawn(move || catalogue.submit(Actor::Node, open(segment(1, shard, 1), 1)))
        })
        .collect();
    while catalogue.queue().len() < threads.len() {
        thread::yield_now();
    }
    drop(busy);
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), Reply::Done);
    }
    // A commit whose file grows syncs once more.
    assert!(
        disk.syncs() - before < 2 * syncs_of_a_commit,
        "{} syncs for all",
        disk.syncs() - before
    );
    drop(catalogue);
    assert_eq!(state_of(&opened(&disk).unwrap()).counts().open, 9);
}

#[test]
fn i3_after_a_panic_in_a_commit_the_state_is_read_again() {
    let disk = made();
    let catalogue = opened(&disk).unwrap();
    catalogue.node_up(uuid(7), None).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut writer = catalogue.writer();
        apply(&mut writer.ahead, &open(segment(1, 0, 5), 1)).unwrap();
        panic!("in the middle of a commit");
    }));
    assert!(panicked.is_err());
    catalogue.submit(Actor::Node, open(segment(1, 0, 1), 1)).unwrap();
    assert_eq!(next_index(&catalogue), 2);
}

#[test]
fn commands_of_one_batch_see_each_other() {
    let disk = made();
    let catalogue = opened(&disk).unwrap();
    catalogue.node_up(uuid(7), None).unwrap();
    let id = segment(1, 0, 1);
    let by_node = |command| Pending {
        request: Request {
            actor: Actor::Node,
            command,
        },
        answer: Arc::default(),
    };
    let lost = Command::SegmentLost { id, at_ns: 1 };
    let seal = Command::Seal {
        seal: seal_record(id, 1, 2),
    };
    let batch = [by_node(open(id, 1)), by_node(lost), by_node(seal)];
    catalogue.commit(&mut catalogue.writer(), &batch);
    let answers: Vec<_> = batch.iter().map(|p| p.answer.get().unwrap().is_ok()).collect();
    assert_eq!(answers, [true, true, false]);
    assert_eq!(state_of(&catalogue).segment_state(id), SegmentState::Lost);
}

#[test]
fn a_damaged_newest_commit_is_an_error_and_never_the_commit_before() {
    let set = |value: &str| Command::SetConfig {
        key: "k".to_owned(),
        value: Some(value.to_owned()),
        at_ns: 1,
        seen: None,
    };
    let disk = made();
    let catalogue = opened(&disk).unwrap();
    catalogue.submit(Actor::Node, set("A")).unwrap();
    let after_a = disk.bytes();
    catalogue.submit(Actor::Node, set("B")).unwrap();
    let (after_b, state_b) = (disk.bytes(), state_of(&catalogue));
    // The process ends without closing the file, as in a power cut.
    disk.fault(Fault::PowerCut { after: 0 });
    drop(catalogue);
    let written: Vec<usize> = (0..after_b.len())
        .filter(|at| after_a.get(*at) != after_b.get(*at))
        .collect();
    assert!(written.len() > 64, "{}", written.len());
    let mut refused = 0;
    for at in written.iter().step_by(written.len().div_ceil(400)) {
        let mut torn = after_b.clone();
        torn[*at] ^= 1 << (at % 8);
        match opened(&FaultyDisk::holding(torn)) {
            Ok(catalogue) => assert_eq!(state_of(&catalogue), state_b, "a bit of byte {at}"),
            Err(CatalogueError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("a bit of byte {at}: {other}"),
        }
    }
    assert!(refused > 0, "no flip was noticed");
}

/// A file with a hundred segments, and its state.
fn filled() -> (Vec<u8>, State) {
    let mut state = State::default();
    for command in [register(1), up(1, 7)] {
        apply(&mut state, &command).unwrap();
    }
    for index in 1..100 {
        apply(&mut state, &open(segment(1, 0, index), 1)).unwrap();
        apply(
            &mut state,
            &Command::Seal {
                seal: seal_record(segment(1, 0, index), 1, 2),
            },
        )
        .unwrap();
    }
    let disk = FaultyDisk::default();
    Store::create_on(Path::new("made"), &disk.backend(), &identity(), &state).unwrap();
    (disk.bytes(), state)
}

#[test]
fn a_flipped_bit_is_an_error_or_does_not_matter_but_never_another_state() {
    let (good, state) = filled();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    for at in used.iter().step_by(used.len() / 400) {
        let mut bad = good.clone();
        bad[*at] ^= 1 << (at % 8);
        match opened(&FaultyDisk::holding(bad)) {
            Ok(catalogue) => assert_eq!(state_of(&catalogue), state, "byte {at}"),
            Err(CatalogueError::Corrupt { .. } | CatalogueError::OtherVersion { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn a_flipped_bit_of_a_row_is_always_noticed() {
    let (good, state) = filled();
    for (key, value) in crate::testkit::bytes(&state)
        .into_iter()
        .filter(|(_, value)| value.len() > 20)
    {
        let mut bad = good.clone();
        let copies: Vec<usize> = (0..good.len() - value.len())
            .filter(|at| good[*at..].starts_with(&value))
            .collect();
        assert!(!copies.is_empty(), "row {key:?} is not in the file");
        copies.iter().for_each(|at| bad[at + 19] ^= 4);
        let failed = opened(&FaultyDisk::holding(bad)).unwrap_err();
        assert_eq!(failed.disposition(), Disposition::Corrupt, "{failed}");
    }
}

#[test]
fn a_file_cut_short_is_damaged() {
    let disk = made();
    let good = disk.bytes();
    for len in [1, 100, 4_096, good.len() / 2, good.len() - 1] {
        let failed = opened(&FaultyDisk::holding(good[..len].to_vec())).unwrap_err();
        assert_eq!(failed.disposition(), Disposition::Corrupt, "{len}: {failed}");
    }
}

/// A catalogue on a disk of its own, which is taken from the process that had it.
struct InAFile(FaultyDisk);

impl Fixture for InAFile {
    fn create(&mut self) -> Arc<dyn Catalogue> {
        self.0 = made();
        Arc::new(opened(&self.0).unwrap())
    }

    fn reopen(&mut self, catalogue: Arc<dyn Catalogue>) -> Arc<dyn Catalogue> {
        self.0.fault(Fault::PowerCut { after: 0 });
        drop(catalogue);
        self.0.crash(|| false);
        Arc::new(opened(&self.0).unwrap())
    }

    fn histories(&self) -> u32 {
        32
    }
}

#[test]
fn a_catalogue_in_a_file_does_what_every_catalogue_must() {
    conformance::run(&mut InAFile(FaultyDisk::default()));
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/catalogue.redb")
}

#[test]
fn a_file_of_version_1_is_read_as_ever() {
    let disk = FaultyDisk::holding(std::fs::read(golden_path()).unwrap());
    let (_, identity, state) = Store::open_on(Path::new("golden"), disk.backend()).unwrap();
    assert_eq!(identity, golden_identity());
    assert_eq!(state, golden_state());
}

#[test]
fn exporters_are_read_again_from_the_file() {
    let disk = FaultyDisk::default();
    Store::create_on(
        Path::new("made"),
        &disk.backend(),
        &golden_identity(),
        &golden_exporters(),
    )
    .unwrap();
    let (_, _, state) = Store::open_on(Path::new("made"), disk.backend()).unwrap();
    assert_eq!(state, golden_exporters());
}

#[test]
#[ignore = "writes the golden file of a new version; that of an old one is never written again"]
fn write_golden_file() {
    let disk = FaultyDisk::default();
    Store::create_on(
        Path::new("golden"),
        &disk.backend(),
        &golden_identity(),
        &golden_state(),
    )
    .unwrap();
    std::fs::write(golden_path(), disk.bytes()).unwrap();
}

mod on_disk {
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.redb");
        (folder, path)
    }

    #[test]
    fn a_new_one_is_made_for_node_1_and_opened_again() {
        let (_folder, path) = folder();
        let catalogue = LocalCatalogue::open(&path, identity()).unwrap();
        assert_eq!(catalogue.node_up(uuid(7), None).unwrap(), epoch(1));
        let state = state_of(&catalogue);
        drop(catalogue);
        let catalogue = LocalCatalogue::open(&path, identity()).unwrap();
        assert_eq!(state_of(&catalogue), state);
        assert_eq!(catalogue.node_up(uuid(7), None).unwrap(), epoch(1));
        assert_eq!(catalogue.node_up(uuid(8), None).unwrap(), epoch(2));
    }

    #[test]
    fn i1_one_that_was_never_finished_is_made_anew() {
        let (folder, path) = folder();
        fs::write(folder.path().join("catalogue.redb.new"), b"half of it").unwrap();
        LocalCatalogue::open(&path, identity()).unwrap();
        assert!(!folder.path().join("catalogue.redb.new").exists());
    }

    #[test]
    fn i2_none_is_made_where_there_is_a_log() {
        for file in [
            "wal/0000000001/0000/000000000001.wal",
            "segments/0000000001/0000/000000000001.seg",
        ] {
            let (folder, path) = folder();
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, b"x").unwrap();
            let failed = LocalCatalogue::open(&path, identity()).unwrap_err();
            assert!(
                matches!(&failed, CatalogueError::Lost { found, .. } if *found == file),
                "{failed}"
            );
            assert!(!path.exists());
        }
    }

    #[test]
    fn i2_folders_with_a_storage_mark_alone_hold_no_log() {
        let (folder, path) = folder();
        for name in ["wal", "segments"] {
            fs::create_dir_all(folder.path().join(name).join("0000")).unwrap();
            fs::write(folder.path().join(name).join("storage_uuid"), b"x").unwrap();
        }
        LocalCatalogue::open(&path, identity()).unwrap();
    }

    #[test]
    fn i3_one_of_another_storage_node_or_cluster_is_refused() {
        let (_folder, path) = folder();
        drop(LocalCatalogue::open(&path, identity()).unwrap());
        let others = [
            (
                "cluster",
                Identity {
                    cluster_id: ClusterId(uuid(9)),
                    ..identity()
                },
            ),
            (
                "node",
                Identity {
                    node_id: node(2),
                    ..identity()
                },
            ),
            (
                "storage",
                Identity {
                    storage_uuid: uuid(9),
                    ..identity()
                },
            ),
        ];
        for (part, other) in others {
            let failed = LocalCatalogue::open(&path, other).unwrap_err();
            assert!(
                matches!(failed, CatalogueError::OtherIdentity { what, .. } if what == part),
                "{failed}"
            );
        }
    }

    #[test]
    fn a_missing_one_is_not_made_for_a_node_that_a_cluster_numbered() {
        let (_folder, path) = folder();
        let failed = LocalCatalogue::open(
            &path,
            Identity {
                node_id: node(3),
                ..identity()
            },
        )
        .unwrap_err();
        assert!(matches!(failed, CatalogueError::NotFirstNode { .. }), "{failed}");
    }

    #[test]
    fn what_is_no_catalogue_is_damaged_and_the_error_names_it() {
        for bytes in [&b""[..], b"not a catalogue", &[0; 8_192]] {
            let (_folder, path) = folder();
            fs::write(&path, bytes).unwrap();
            let failed = LocalCatalogue::open(&path, identity()).unwrap_err();
            assert_eq!(failed.disposition(), Disposition::Corrupt, "{failed}");
            assert!(failed.to_string().contains(path.to_str().unwrap()));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn one_in_use_is_refused() {
        let (_folder, path) = folder();
        let _first = LocalCatalogue::open(&path, identity()).unwrap();
        let failed = LocalCatalogue::open(&path, identity()).unwrap_err();
        assert!(matches!(failed, CatalogueError::InUse { .. }), "{failed}");
    }

    #[test]
    fn a_file_that_is_mostly_free_gives_its_space_back() {
        let (_folder, path) = folder();
        let catalogue = LocalCatalogue::open(&path, identity()).unwrap();
        let set = |n: u32, value| {
            catalogue.submit(
                Actor::Node,
                Command::SetConfig {
                    key: n.to_string(),
                    value,
                    at_ns: 1,
                    seen: None,
                },
            )
        };
        let big = "x".repeat(64 << 10);
        for n in 0..300 {
            set(n, Some(big.clone())).unwrap();
        }
        for n in (0..300).filter(|n| n % 100 != 99) {
            set(n, None).unwrap();
        }
        let state = state_of(&catalogue);
        drop(catalogue);
        let before = fs::metadata(&path).unwrap().len();
        let catalogue = LocalCatalogue::open(&path, identity()).unwrap();
        assert_eq!(state_of(&catalogue), state);
        drop(catalogue);
        let after = fs::metadata(&path).unwrap().len();
        assert!(
            before > crate::limits::COMPACT_ABOVE_BYTES && after * 4 < before,
            "{before} to {after}"
        );
    }

    #[test]
    fn a_refusal_reaches_the_caller() {
        let (_folder, path) = folder();
        let catalogue = LocalCatalogue::open(&path, identity()).unwrap();
        let failed = catalogue.submit(Actor::Node, up(2, 1)).unwrap_err();
        assert!(
            matches!(failed, CatalogueError::Refused(Refusal::UnknownNode { .. })),
            "{failed}"
        );
    }
}

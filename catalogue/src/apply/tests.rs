use std::collections::{BTreeMap, HashSet};

use gophership_vault::ids::{SegmentId, ShardId};
use gophership_vault::ledger::{OpenRecord, SealRecord, TrimReason};
use gophership_vault::limits::SET_NODES_MAX;
use gophership_vault::{NodeSet, ReplicaSet};
use proptest::prelude::*;

use super::*;
use crate::archive::ObjectState;
use crate::job::{JobId, JobLoss, JobPosition, JobResult, LossNames};
use crate::limits::{
    ACTOR_BYTES_MAX, DROPPED_RANGES_MAX, JOB_LOSS_NAME_BYTES_MAX, JOB_LOSS_NAMES_MAX, JOB_POSITIONS_MAX,
    JOB_REASON_BYTES_MAX, JOB_SPEC_BYTES_MAX, JOBS_MAX, LOSS_BYTES_MAX, SEAL_AHEAD_MAX_NS, SETTING_KEY_BYTES_MAX,
    SETTING_VALUE_BYTES_MAX, SETTINGS_MAX, UNLINKED_MAX,
};
use crate::node::NodeState;
use crate::refusal::Refusal;
use crate::segment::{Rule, SegmentRecord, SegmentState, Step, rule};
use crate::state::Counts;
use crate::testkit::{
    accepted_loss, archive_lease, bytes, describe, epoch, history, lsn, node, open, register, seal_record, segment, up,
    uuid,
};
use uuid::Uuid;

fn booted() -> State {
    let mut state = State::default();
    apply_all(&mut state, &[register(1), up(1, 1)]);
    state
}

fn apply_all(state: &mut State, commands: &[Command]) {
    for command in commands {
        apply(state, command).unwrap();
    }
}

/// A state in which segment 1/0/1 has this state.
fn with_segment(at: SegmentState) -> State {
    let id = segment(1, 0, 1);
    let trim = Command::Trim {
        id,
        why: TrimReason::Retention,
    };
    let seal = Command::Seal {
        seal: seal_record(id, 1, 2),
    };
    let path = match at {
        SegmentState::Unopened => vec![],
        SegmentState::Open => vec![open(id, 1)],
        SegmentState::Recovering => vec![
            open(id, 1),
            Command::BeginRecovery {
                id,
                request: Uuid::nil(),
                at_ns: 7,
            },
        ],
        SegmentState::Sealed => vec![open(id, 1), seal],
        SegmentState::Trimmed => vec![open(id, 1), seal, trim],
        SegmentState::Gone => vec![open(id, 1), seal, trim, Command::Unlinked { segments: vec![id] }],
        SegmentState::Lost => vec![open(id, 1), Command::SegmentLost { id, at_ns: 7 }],
    };
    let mut state = booted();
    apply_all(&mut state, &path);
    assert_eq!(state.segment_state(id), at);
    state
}

#[test]
fn every_pair_of_state_and_command_does_what_the_table_says() {
    let id = segment(1, 0, 1);
    for from in SegmentState::ALL {
        for step in Step::ALL {
            let command = match step {
                Step::Open => open(id, 1),
                Step::BeginRecovery => Command::BeginRecovery {
                    id,
                    request: Uuid::nil(),
                    at_ns: 9,
                },
                Step::Seal if from == SegmentState::Recovering => Command::SealRecovered {
                    seal: seal_record(id, 1, 2),
                    number: 1,
                },
                Step::Seal => Command::Seal {
                    seal: seal_record(id, 1, 2),
                },
                Step::TrimEmpty => Command::Trim {
                    id,
                    why: TrimReason::Empty,
                },
                Step::TrimRetention => Command::Trim {
                    id,
                    why: TrimReason::Retention,
                },
                Step::TrimDropped => Command::Trim {
                    id,
                    why: TrimReason::Dropped,
                },
                Step::Unlinked => Command::Unlinked { segments: vec![id] },
                Step::SegmentLost => Command::SegmentLost { id, at_ns: 9 },
                Step::AddReplica => Command::ReplicaAdded {
                    id,
                    node: node(1),
                    digest: seal_record(id, 1, 2).digest,
                },
                Step::PlanCopy => Command::CopyPlanned { id, node: node(1) },
                Step::AcceptLoss => Command::AcceptLoss {
                    id,
                    loss: accepted_loss("a", 9, 0),
                },
                Step::AcceptCopyLoss => Command::AcceptCopyLoss {
                    id,
                    loss: accepted_loss("a", 9, 2),
                    asked: None,
                },
                Step::Archive => archive_lease(1, 1, &[id]),
            };
            let before = with_segment(from);
            let mut after = before.clone();
            let outcome = apply(&mut after, &command);
            let taken = match step {
                Step::BeginRecovery => Reply::Recovering(1),
                _ => Reply::Done,
            };
            match rule(from, step) {
                Rule::To(_) if (from, step) == (SegmentState::Sealed, Step::TrimEmpty) => {
                    assert_eq!(outcome, Err(Refusal::NotEmpty { id, entries: 2 }));
                }
                Rule::To(_) if step == Step::AcceptLoss => {
                    assert_eq!(outcome, Err(Refusal::OwnerNotReplaced { id }));
                }
                Rule::To(to) => {
                    assert_eq!(outcome, Ok(taken), "{from} {step}");
                    assert_eq!(after.segment_state(id), to, "{from} {step}");
                }
                Rule::Same => {
                    assert_eq!(outcome, Ok(taken), "{from} {step}");
                    assert_eq!(after, before, "{from} {step}");
                }
                Rule::Refuse => {
                    assert_eq!(outcome, Err(Refusal::Transition { id, from, step }));
                    assert_eq!(after, before, "{from} {step}");
                }
            }
        }
    }
}

#[test]
fn a_refused_transition_names_state_and_command() {
    let mut state = with_segment(SegmentState::Trimmed);
    let e = apply(&mut state, &open(segment(1, 0, 1), 1)).unwrap_err();
    assert_eq!(e.to_string(), "Open does not apply to segment 1/0/1, which is Trimmed");
}

#[test]
fn i4_only_the_newest_epoch_opens_and_a_fenced_one_is_told_so() {
    let mut state = booted();
    apply_all(&mut state, &[open(segment(1, 0, 1), 1), up(1, 2)]);
    let fenced = |id| {
        Err(Refusal::Fenced {
            id,
            epoch: epoch(1),
            current: epoch(2),
        })
    };
    // Segments that it opened before are refused too: it must not go on writing there.
    for index in [1, 2] {
        let id = segment(1, 0, index);
        assert_eq!(apply(&mut state, &open(id, 1)), fenced(id));
    }
    let id = segment(1, 0, 2);
    assert_eq!(
        apply(&mut state, &open(id, 3)),
        Err(Refusal::EpochNotGranted { id, epoch: epoch(3) })
    );
    assert_eq!(apply(&mut state, &open(id, 2)), Ok(Reply::Done));
}

#[test]
fn i4_recovery_seals_what_an_older_epoch_left_under_that_epoch() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Recovering);
    apply_all(&mut state, &[up(1, 2)]);
    let other = Err(Refusal::OtherWriter {
        id,
        writer: epoch(1),
        epoch: epoch(2),
    });
    assert_eq!(
        apply(
            &mut state,
            &Command::SealRecovered {
                seal: seal_record(id, 2, 2),
                number: 1
            }
        ),
        other
    );
    assert_eq!(
        apply(
            &mut state,
            &Command::SealRecovered {
                seal: seal_record(id, 1, 2),
                number: 1
            }
        ),
        Ok(Reply::Done)
    );
}

#[test]
fn a_second_seal_of_other_content_is_refused_and_of_equal_content_changes_nothing() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Sealed);
    let before = state.clone();
    let later = SealRecord {
        sealed_ns: 99,
        ..seal_record(id, 1, 2)
    };
    assert_eq!(apply(&mut state, &Command::Seal { seal: later }), Ok(Reply::Done));
    let other = SealRecord {
        digest: [9; 32],
        ..later
    };
    let differs = Err(Refusal::Differs { id, step: Step::Seal });
    assert_eq!(apply(&mut state, &Command::Seal { seal: other }), differs);
    assert_eq!(state, before);
}

#[test]
fn a_seal_that_names_an_entry_of_another_segment_is_refused() {
    let id = segment(1, 0, 1);
    let mut seal = seal_record(id, 1, 2);
    seal.stats.last_lsn = Some(lsn(2, 1));
    let outcome = apply(&mut with_segment(SegmentState::Open), &Command::Seal { seal });
    assert_eq!(outcome, Err(Refusal::LsnOutside { id, lsn: lsn(2, 1) }));
}

#[test]
fn an_index_that_was_passed_over_is_never_used() {
    let mut state = booted();
    apply_all(&mut state, &[open(segment(1, 0, 3), 1)]);
    let id = segment(1, 0, 2);
    let refused = Refusal::Transition {
        id,
        from: SegmentState::Gone,
        step: Step::Open,
    };
    assert_eq!(apply(&mut state, &open(id, 1)), Err(refused));
}

#[test]
fn the_last_index_is_refused_rather_than_begun_again() {
    let outcome = apply(&mut booted(), &open(segment(1, 0, u32::MAX), 1));
    assert_eq!(outcome, Err(Refusal::NumbersUsedUp { what: "segment" }));
}

#[test]
fn trimmed_segments_leave_no_rows() {
    let mut state = booted();
    apply_all(&mut state, &[open(segment(1, 0, 1), 1)]);
    let rows = bytes(&state).len();
    for index in 2..1_000 {
        let id = segment(1, 0, index - 1);
        apply_all(
            &mut state,
            &[
                open(segment(1, 0, index), 1),
                Command::Trim {
                    id,
                    why: TrimReason::Empty,
                },
                Command::Unlinked { segments: vec![id] },
            ],
        );
    }
    assert_eq!(bytes(&state).len(), rows);
    assert_eq!(state.counts().trimmed, 998);
}

#[test]
fn an_epoch_is_above_every_one_seen_on_the_disk() {
    let mut state = State::default();
    apply_all(&mut state, &[register(1), up(1, 1)]);
    let seen = |boot, seen| Command::NodeUp {
        node: node(1),
        storage_uuid: uuid(1),
        boot_uuid: uuid(boot),
        seen: Some(epoch(seen)),
        at_ns: 2,
    };
    assert_eq!(
        apply(&mut state, &seen(2, 7)),
        Ok(Reply::Up(epoch(8))),
        "the catalogue is an older backup"
    );
    assert_eq!(apply(&mut state, &seen(3, 2)), Ok(Reply::Up(epoch(9))));
    assert_eq!(
        apply(&mut state, &seen(3, 99)),
        Ok(Reply::Up(epoch(9))),
        "the same boot"
    );
}

#[test]
fn a_clock_never_goes_back() {
    let mut state = booted();
    let keep = |now_ns, credit_ns| Command::KeepClock {
        node: node(1),
        mark: KeptClock { now_ns, credit_ns },
    };
    apply_all(&mut state, &[keep(100, 5), keep(90, 50), keep(100, 50)]);
    let kept = KeptClock {
        now_ns: 100,
        credit_ns: 5,
    };
    assert_eq!(state.clock(node(1)), Some(kept));
}

#[test]
fn a_storage_keeps_its_node_and_a_node_keeps_its_storage() {
    let mut state = State::default();
    assert_eq!(apply(&mut state, &register(1)), Ok(Reply::Registered(node(1))));
    assert_eq!(apply(&mut state, &register(2)), Ok(Reply::Registered(node(2))));
    assert_eq!(apply(&mut state, &register(1)), Ok(Reply::Registered(node(1))));
    let stranger = Command::NodeUp {
        node: node(1),
        storage_uuid: uuid(2),
        boot_uuid: uuid(1),
        seen: None,
        at_ns: 1,
    };
    let refused = Refusal::OtherStorage {
        node: node(1),
        registered: uuid(1),
        given: uuid(2),
    };
    assert_eq!(apply(&mut state, &stranger), Err(refused));
    assert_eq!(
        apply(&mut state, &up(3, 1)),
        Err(Refusal::UnknownNode { node: node(3) })
    );
    assert_eq!(apply(&mut state, &up(1, 1)), Ok(Reply::Up(epoch(1))));
    assert_eq!(apply(&mut state, &up(1, 1)), Ok(Reply::Up(epoch(1))));
    assert_eq!(apply(&mut state, &up(1, 2)), Ok(Reply::Up(epoch(2))));
}

fn create(n: u128) -> Command {
    Command::CreateJob {
        request: Uuid::from_u128(n),
        spec: "{}".to_owned(),
        at_ns: 1,
    }
}

fn job(n: u64) -> JobId {
    JobId::new(n).unwrap()
}

#[test]
fn the_same_request_is_the_same_job_and_another_specification_is_refused() {
    let mut state = State::default();
    assert_eq!(apply(&mut state, &create(7)), Ok(Reply::Job(job(1))));
    assert_eq!(apply(&mut state, &create(7)), Ok(Reply::Job(job(1))));
    let other = Command::CreateJob {
        request: Uuid::from_u128(7),
        spec: "other".to_owned(),
        at_ns: 1,
    };
    assert_eq!(apply(&mut state, &other), Err(Refusal::JobDiffers { job: job(1) }));
}

#[test]
fn the_oldest_ended_job_makes_room_and_a_running_one_never_does() {
    let mut state = State::default();
    (0..JOBS_MAX as u128).for_each(|n| apply_all(&mut state, &[create(n)]));
    assert_eq!(
        apply(&mut state, &create(9_999)),
        Err(Refusal::TooManyJobs { limit: JOBS_MAX })
    );
    apply_all(&mut state, &[Command::CancelJob { job: job(3), at_ns: 2 }]);
    assert_eq!(
        apply(&mut state, &create(9_999)),
        Ok(Reply::Job(job(JOBS_MAX as u64 + 1)))
    );
    assert_eq!((state.job(job(3)), state.jobs.len()), (None, JOBS_MAX));
}

#[test]
fn a_job_is_moved_by_the_node_that_took_it_over_last() {
    let mut state = booted();
    let create = Command::CreateJob {
        request: uuid(1),
        spec: "x".to_owned(),
        at_ns: 1,
    };
    apply_all(&mut state, &[create]);
    let at = |entries| JobPosition {
        done_lsn: lsn(1, entries),
        entries,
        records: entries,
        bytes: entries,
        archived: Default::default(),
        loss: JobLoss::default(),
    };
    let progress = |term, entries| Command::JobProgress {
        job: job(1),
        term,
        positions: vec![(node(1), ShardId::new(0), at(entries))],
        loss_names: LossNames::default(),
    };
    let take = |n, seen| Command::TakeJob {
        job: job(1),
        node: node(n),
        seen,
    };
    let finish = |term| Command::FinishJob {
        job: job(1),
        term,
        result: JobResult::Done,
        at_ns: 3,
    };
    let taken = |term, latest| {
        Err(Refusal::JobTaken {
            job: job(1),
            term,
            latest,
        })
    };
    assert_eq!(apply(&mut state, &progress(1, 1)), taken(1, 0));
    apply_all(&mut state, &[progress(0, 1)]);
    for _ in 0..2 {
        assert_eq!(apply(&mut state, &take(1, 0)), Ok(Reply::Done));
        assert_eq!(state.job(job(1)).unwrap().term(), 1);
    }
    assert_eq!(
        apply(&mut state, &take(9, 1)),
        Err(Refusal::UnknownNode { node: node(9) })
    );
    assert_eq!(
        apply(&mut state, &progress(0, 2)),
        taken(0, 1),
        "it was taken from that runner"
    );
    assert_eq!(apply(&mut state, &finish(0)), taken(0, 1));
    apply_all(&mut state, &[progress(1, 3)]);
    assert_eq!(state.job(job(1)).unwrap().positions[&(node(1), ShardId::new(0))], at(3));
    apply_all(&mut state, &[finish(1)]);
    let state_of = "Done";
    assert_eq!(
        apply(&mut state, &take(1, 1)),
        Err(Refusal::JobEnded {
            job: job(1),
            state: state_of
        })
    );
}

#[test]
fn i5_the_loss_up_to_a_position_is_on_record_with_it_and_a_late_word_takes_nothing_back() {
    let mut state = booted();
    apply_all(&mut state, &[create(1)]);
    let at = |entry, ranges| JobPosition {
        done_lsn: lsn(1, entry),
        entries: entry,
        records: entry,
        bytes: entry,
        archived: Default::default(),
        loss: JobLoss {
            ranges,
            ..JobLoss::default()
        },
    };
    let names = |missing: &[&str], rejected: Option<&str>| LossNames {
        missing: missing.iter().map(|name| (*name).to_owned()).collect(),
        rejected: rejected.map(str::to_owned),
    };
    let progress = |shard, position, loss_names| Command::JobProgress {
        job: job(1),
        term: 0,
        positions: vec![(node(1), ShardId::new(shard), position)],
        loss_names,
    };
    apply_all(
        &mut state,
        &[
            progress(0, at(5, 2), names(&["a", "b"], Some("first"))),
            progress(1, at(3, 1), names(&["b", "c"], Some("second"))),
            progress(0, at(4, 1), names(&["a"], None)),
        ],
    );
    let record = state.job(job(1)).unwrap();
    let loss = |shard| record.positions[&(node(1), ShardId::new(shard))].loss.ranges;
    assert_eq!((loss(0), loss(1)), (2, 1));
    assert_eq!(record.loss_names, names(&["a", "b", "c"], Some("first")));

    let many: Vec<String> = (0..JOB_LOSS_NAMES_MAX).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    apply_all(&mut state, &[progress(0, at(6, 20), names(&many, None))]);
    let kept = &state.job(job(1)).unwrap().loss_names.missing;
    assert_eq!((kept.len(), kept[0].as_str()), (JOB_LOSS_NAMES_MAX, "a"));

    let long = "x".repeat(JOB_LOSS_NAME_BYTES_MAX + 1);
    for too_much in [
        names(&[many, vec!["more"]].concat(), None),
        names(&[&long], None),
        names(&[], Some(&long)),
    ] {
        let refused = apply(&mut state, &progress(0, at(7, 20), too_much));
        assert!(matches!(refused, Err(Refusal::TooLong { .. })), "{refused:?}");
    }
}

#[test]
fn an_ended_job_stays_as_it_ended() {
    let finish = |n, result: &JobResult| Command::FinishJob {
        job: job(n),
        term: 0,
        result: result.clone(),
        at_ns: 3,
    };
    let cancel = |n| Command::CancelJob { job: job(n), at_ns: 4 };
    let failed = JobResult::Failed("sink gone".to_owned());
    let mut state = State::default();
    apply_all(
        &mut state,
        &[create(1), create(2), finish(1, &JobResult::Done), cancel(2)],
    );
    apply_all(&mut state, &[finish(1, &JobResult::Done), cancel(2)]);
    let ended = |n, state| Err(Refusal::JobEnded { job: job(n), state });
    assert_eq!(apply(&mut state, &cancel(1)), ended(1, "Done"));
    assert_eq!(apply(&mut state, &finish(1, &failed)), ended(1, "Done"));
    assert_eq!(apply(&mut state, &finish(2, &JobResult::Done)), ended(2, "Cancelled"));
    let progress = Command::JobProgress {
        job: job(2),
        term: 0,
        positions: vec![],
        loss_names: LossNames::default(),
    };
    assert_eq!(apply(&mut state, &progress), ended(2, "Cancelled"));
    assert_eq!(apply(&mut state, &cancel(5)), Err(Refusal::UnknownJob { job: job(5) }));
}

#[test]
fn what_is_too_long_or_too_many_is_refused() {
    let long = |n: usize| "x".repeat(n);
    let set = |key: String, value: String| Command::SetConfig {
        key,
        value: Some(value),
        at_ns: 1,
        seen: None,
    };
    let mut state = State::default();
    apply_all(&mut state, &[create(1)]);
    let position = JobPosition {
        done_lsn: lsn(1, 1),
        entries: 1,
        records: 1,
        bytes: 1,
        archived: Default::default(),
        loss: JobLoss::default(),
    };
    let positions = (0..=JOB_POSITIONS_MAX as u16)
        .map(|s| (node(1), ShardId::new(s), position))
        .collect();
    let failed = JobResult::Failed(long(JOB_REASON_BYTES_MAX + 1));
    for command in [
        Command::CreateJob {
            request: uuid(9),
            spec: long(JOB_SPEC_BYTES_MAX + 1),
            at_ns: 1,
        },
        Command::JobProgress {
            job: job(1),
            term: 0,
            positions,
            loss_names: LossNames::default(),
        },
        Command::FinishJob {
            job: job(1),
            term: 0,
            result: failed,
            at_ns: 1,
        },
        set(long(SETTING_KEY_BYTES_MAX + 1), String::new()),
        set("k".to_owned(), long(SETTING_VALUE_BYTES_MAX + 1)),
        Command::Unlinked {
            segments: vec![segment(1, 0, 1); UNLINKED_MAX + 1],
        },
    ] {
        assert!(
            matches!(apply(&mut state, &command), Err(Refusal::TooLong { .. })),
            "{command:.80?}"
        );
    }
    (0..SETTINGS_MAX).for_each(|n| apply_all(&mut state, &[set(n.to_string(), "v".to_owned())]));
    let one_more = set("more".to_owned(), "v".to_owned());
    assert_eq!(
        apply(&mut state, &one_more),
        Err(Refusal::TooManySettings { limit: SETTINGS_MAX })
    );
    apply_all(&mut state, &[set("0".to_owned(), "w".to_owned())]);
    apply_all(
        &mut state,
        &[
            Command::SetConfig {
                key: "1".to_owned(),
                value: None,
                at_ns: 2,
                seen: None,
            },
            one_more,
        ],
    );
}

#[test]
fn what_was_decided_by_an_older_version_is_refused_and_both_versions_are_named() {
    let mut state = booted();
    apply_all(&mut state, &[register(2), register(3)]);
    let set = |value: Option<&str>, seen| Command::SetConfig {
        key: "k".to_owned(),
        value: value.map(str::to_owned),
        seen,
        at_ns: 1,
    };
    let drain = |state, seen| Command::SetNodeState {
        node: node(1),
        state,
        seen,
    };
    let first = [
        set(Some("a"), Some(0)),
        set(Some("b"), Some(1)),
        drain(NodeState::Draining, Some(0)),
        drain(NodeState::Active, Some(1)),
    ];
    apply_all(&mut state, &first);
    assert_eq!(state.setting("k").unwrap().version, 2);
    assert_eq!(state.node(node(1)).unwrap().version, 2);
    let refused = apply(&mut state, &set(Some("c"), Some(1))).unwrap_err().to_string();
    assert_eq!(
        refused,
        "setting k is at version 2 by now, and the command was made from version 1: look at it again"
    );
    let refused = apply(&mut state, &drain(NodeState::Draining, Some(1)))
        .unwrap_err()
        .to_string();
    assert!(refused.starts_with("node 1 is at version 2 by now"), "{refused}");
    // A command that was submitted before has the same answer as before, though it changed the version itself.
    apply_all(&mut state, &first[1..2]);
    apply_all(&mut state, &first[3..]);
    // A setting that was removed and set again has another version than before, and none has version 0.
    apply_all(&mut state, &[set(None, Some(2)), set(Some("b"), Some(0))]);
    assert_eq!(state.setting("k").unwrap().version, 4);
    assert!(apply(&mut state, &set(None, Some(2))).is_err());
    apply_all(&mut state, &[set(None, None)]);
}

#[test]
fn a_seal_lies_not_before_another_of_its_shard_and_not_far_ahead_of_the_kept_clock() {
    const AHEAD: u64 = SEAL_AHEAD_MAX_NS;
    // The clock as it was kept, other seals of the shard, the given time, the resulting time.
    let table: [(Option<u64>, &[u64], u64, u64); 9] = [
        (None, &[], u64::MAX, u64::MAX),
        (None, &[], 0, 0),
        (None, &[500], 499, 500),
        (None, &[500, 400], 501, 501),
        (Some(100), &[], 100 + AHEAD, 100 + AHEAD),
        (Some(100), &[], 101 + AHEAD, 100 + AHEAD),
        (Some(100), &[], 5, 5),
        (Some(100), &[AHEAD], u64::MAX, 100 + AHEAD),
        (Some(u64::MAX), &[], u64::MAX, u64::MAX),
    ];
    for (kept, others, given, stands) in table {
        let mut state = booted();
        let other_shard = segment(1, 9, 1);
        let mut elsewhere = seal_record(other_shard, 1, 1);
        elsewhere.sealed_ns = 9_999;
        apply_all(&mut state, &[open(other_shard, 1), Command::Seal { seal: elsewhere }]);
        let seal_at = |index: usize, sealed_ns| SealRecord {
            sealed_ns,
            ..seal_record(segment(1, 0, index as u32 + 1), 1, 1)
        };
        for (index, at) in others.iter().enumerate() {
            let seal = seal_at(index, *at);
            apply_all(&mut state, &[open(seal.id, 1), Command::Seal { seal }]);
        }
        if let Some(now_ns) = kept {
            let mark = KeptClock { now_ns, credit_ns: 0 };
            apply_all(&mut state, &[Command::KeepClock { node: node(1), mark }]);
        }
        let seal = seal_at(others.len(), given);
        let next = segment(1, 0, others.len() as u32 + 2);
        let Command::Roll { open: next, at_ns, .. } = open(next, 1) else {
            panic!("it is a roll");
        };
        let roll = Command::Roll {
            seal: Some(seal),
            open: next,
            at_ns,
        };
        // The second seal has the same content.
        apply_all(
            &mut state,
            &[open(seal.id, 1), Command::Seal { seal }, Command::Seal { seal }],
        );
        let of = |state: &State| match state.segment(seal.id) {
            Some(SegmentRecord::Sealed(known)) => known.sealed_ns,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(&state), stands, "{kept:?} {others:?} {given}");
        apply_all(&mut state, &[roll]);
        assert_eq!(of(&state), stands);
    }
}

#[test]
fn a_recovered_seal_lies_not_before_the_clock_that_the_owner_kept() {
    // The clock as it was kept, the given time, the resulting time.
    for (kept, given, stands) in [
        (None, 40, 40),
        (Some(100), 40, 100),
        (Some(100), 150, 150),
        (Some(100), 101 + SEAL_AHEAD_MAX_NS, 100 + SEAL_AHEAD_MAX_NS),
    ] {
        let id = segment(1, 0, 1);
        let mut state = with_segment(SegmentState::Open);
        if let Some(now_ns) = kept {
            let mark = KeptClock { now_ns, credit_ns: 0 };
            apply_all(&mut state, &[Command::KeepClock { node: node(1), mark }]);
        }
        let begin = Command::BeginRecovery {
            id,
            request: Uuid::nil(),
            at_ns: 6,
        };
        let seal = SealRecord {
            sealed_ns: given,
            ..seal_record(id, 1, 2)
        };
        apply_all(&mut state, &[begin, Command::SealRecovered { seal, number: 1 }]);
        match state.segment(id) {
            Some(SegmentRecord::Sealed(seal)) => assert_eq!(seal.sealed_ns, stands, "{kept:?} {given}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The counts of a state as a walk over its segments gives them.
fn counted(state: &State) -> Counts {
    let mut counts = Counts {
        open: 0,
        recovering: 0,
        sealed: 0,
        lost: 0,
        sealed_entries: 0,
        sealed_records: 0,
        sealed_stored_bytes: 0,
        oldest_recovering_ns: None,
        ..state.counts()
    };
    for segment in state.segments() {
        match segment {
            SegmentRecord::Open { .. } => counts.open += 1,
            SegmentRecord::Recovering { since_ns, .. } => {
                counts.recovering += 1;
                let oldest = counts.oldest_recovering_ns.unwrap_or(u64::MAX);
                counts.oldest_recovering_ns = Some(oldest.min(since_ns));
            }
            SegmentRecord::Sealed(seal) => {
                counts.sealed += 1;
                counts.sealed_entries += seal.stats.entries;
                counts.sealed_records += seal.stats.records;
                counts.sealed_stored_bytes += seal.stats.stored_bytes;
            }
            SegmentRecord::Lost { .. } => counts.lost += 1,
            SegmentRecord::Trimmed { .. } => {}
        }
    }
    for ((node, shard), _) in state.shards() {
        let newest = state.newest_seal_ns(node, shard);
        let of_shard = state.segments_of(node, shard).filter_map(|segment| match segment {
            SegmentRecord::Sealed(seal) => Some(seal.sealed_ns),
            SegmentRecord::Open { .. }
            | SegmentRecord::Recovering { .. }
            | SegmentRecord::Trimmed { .. }
            | SegmentRecord::Lost { .. } => None,
        });
        assert_eq!(newest, of_shard.max(), "{node}/{shard}");
    }
    let mut held = BTreeMap::new();
    for segment in state.segments() {
        if let SegmentRecord::Sealed(seal) = segment
            && seal.stats.entries > 0
        {
            *held.entry(seal.holders).or_insert(0) += 1;
        }
    }
    assert_eq!(state.sealed_by_holders().collect::<BTreeMap<_, _>>(), held);
    let not_sealed = state
        .segments()
        .filter(|segment| !matches!(segment, SegmentRecord::Sealed(_)));
    assert!(state.not_sealed().copied().eq(not_sealed));
    archive_as_walked(state);
    counts
}

/// What is not done of the archive is what a walk over segments and objects gives.
fn archive_as_walked(state: &State) {
    let owed = state.segments().filter_map(|segment| match segment {
        SegmentRecord::Sealed(seal) => Some(seal).filter(|seal| state.is_to_be_archived(seal)),
        SegmentRecord::Open { .. }
        | SegmentRecord::Recovering { .. }
        | SegmentRecord::Trimmed { .. }
        | SegmentRecord::Lost { .. } => None,
    });
    assert!(state.unarchived().eq(owed));
    let (mut unlisted, mut listed) = (Vec::new(), (0, 0));
    for (lease, object) in state.archive_objects() {
        match object.state {
            ObjectState::Leased | ObjectState::Committed(_) => unlisted.push(lease),
            ObjectState::Listed { stored, .. } => listed = (listed.0 + 1, listed.1 + stored.bytes),
            ObjectState::Doomed => {}
        }
    }
    assert!(state.unlisted_objects().map(|(lease, _)| lease).eq(unlisted));
    assert_eq!(state.listed_objects(), listed);
}

/// What every command must leave true of cursors and dead letters.
fn export_invariants(before: &State, command: &Command, after: &State) -> Result<(), TestCaseError> {
    let sought = matches!(command, Command::SeekExporter { .. } | Command::ForgetExporter { .. });
    for (name, old) in before.exporters() {
        if let Some(new) = after.exporter(name) {
            prop_assert!(old.generation <= new.generation);
        }
        for (at, done) in before.cursors(name).filter(|(at, _)| !sought && !after.is_past(at.0)) {
            prop_assert!(after.cursor(name, at.0, at.1) >= Some(done), "{name} went back");
        }
    }
    for node in after.nodes().map(|node| node.id).filter(|node| after.is_past(*node)) {
        prop_assert!(!after.configured.contains_key(&node), "{node} is replaced");
        if before.is_past(node) {
            let of_node = |state: &State| {
                state
                    .cursors
                    .values()
                    .flat_map(|all| all.keys())
                    .filter(|at| at.0 == node)
                    .count()
            };
            prop_assert!(of_node(after) <= of_node(before), "cursors of {node} came back");
        }
    }
    for name in after.cursors.keys().chain(after.dead_letters.keys()) {
        prop_assert!(after.exporter(name).is_some(), "{name} is not known");
    }
    for letter in after.dead_letters(None, None, usize::MAX) {
        prop_assert!(
            after.segment(letter.segment()).is_some(),
            "{letter:?} lies in no segment"
        );
    }
    for (name, _) in before.exporters() {
        let stays = after.exporter(name).is_some() || !before.is_configured(name);
        prop_assert!(stays, "{name} was configured");
    }
    if let Command::Trim {
        id,
        why: TrimReason::Retention,
    } = command
    {
        trimmed_as_released(before, *id, after)?;
    }
    Ok(())
}

/// Checks that every segment which was trimmed as released was owed to no exporter.
fn trimmed_as_released(before: &State, id: SegmentId, after: &State) -> Result<(), TestCaseError> {
    let Some(SegmentRecord::Sealed(seal)) = before.segment(id) else {
        return Ok(());
    };
    if after.segment_state(id) != SegmentState::Trimmed {
        return Ok(());
    }
    prop_assert!(!before.is_held(id), "{id} was held");
    let configured = before.configured.values().flatten().chain(&before.configured_somewhere);
    for name in before.exporters.keys().chain(configured) {
        let done = before.cursor(name, id.node, id.shard);
        prop_assert!(done >= seal.stats.last_lsn, "{name} has not got all of {id}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn i1_i2_i3_hold_over_any_history(history in history(120)) {
        let mut state = State::default();
        let mut twice = State::default();
        let mut opened = HashSet::new();
        let mut gone = HashSet::new();
        for command in &history {
            let before = state.clone();
            let outcome = apply(&mut state, command);

            // I1, I2
            if outcome.is_err() {
                prop_assert_eq!(&state, &before);
            }
            prop_assert_eq!(&apply(&mut twice, command), &outcome);
            prop_assert_eq!(&apply(&mut twice, command), &outcome);
            prop_assert_eq!(&twice, &state);

            // I3
            for old in before.nodes() {
                let new = state.node(old.id).unwrap();
                prop_assert!(old.epoch() <= new.epoch());
                prop_assert_eq!(old.storage_uuid, new.storage_uuid);
            }
            for (key, old) in before.shards() {
                prop_assert!(old.next_index <= state.shard(key.0, key.1).next_index);
            }
            for (id, old) in before.jobs() {
                for (at, position) in &old.positions {
                    prop_assert!(position.done_lsn <= state.job(id).unwrap().positions[at].done_lsn);
                }
            }

            export_invariants(&before, command, &state)?;
            prop_assert_eq!(state.counts(), counted(&state));

            // An index is opened once, and an index that is gone is never used again.
            let is_open = |s: &SegmentRecord| s.state() == SegmentState::Open;
            for new in state.segments().filter(is_open).filter(|s| before.segment(s.id()).is_none()) {
                prop_assert!(opened.insert(new.id()), "{} was opened twice", new.id());
            }
            gone.extend(before.segments().map(|record| record.id()).filter(|id| state.segment(*id).is_none()));
            for id in &gone {
                let now = state.segment_state(*id);
                prop_assert!(matches!(now, SegmentState::Gone | SegmentState::Lost), "{} is {}", id, now);
            }
        }
        let mut again = State::default();
        for command in &history {
            let _outcome = apply(&mut again, command);
        }
        prop_assert_eq!(bytes(&again), bytes(&state));
    }
}

#[test]
fn what_is_dropped_is_on_record_and_beyond_the_bound_the_oldest_become_one() {
    let mut state = booted();
    let total = DROPPED_RANGES_MAX as u32 + 10;
    for index in 1..=total {
        let id = segment(1, 0, index);
        let mut seal = seal_record(id, 1, 2);
        seal.sealed_ns = u64::from(index);
        let why = TrimReason::Dropped;
        let trim = Command::Trim { id, why };
        apply_all(&mut state, &[open(id, 1), Command::Seal { seal }, trim.clone(), trim]);
    }
    let dropped: Vec<_> = state.dropped(node(1), ShardId::new(0)).copied().collect();
    assert_eq!(dropped.len(), DROPPED_RANGES_MAX);
    assert_eq!((dropped[0].first.get(), dropped[0].last.get()), (1, 11));
    assert_eq!((dropped[0].entries, dropped[0].sealed_ns), (22, 11));
    assert_eq!(dropped.iter().map(|d| d.entries).sum::<u64>(), u64::from(total) * 2);
    assert_eq!(dropped.last().unwrap().first.get(), total);
}

/// Opens segment 2 of shard 0, and seals segment 1 in the same step.
fn roll_on(seal: SealRecord, open: OpenRecord) -> Command {
    let seal = Some(seal);
    Command::Roll { seal, open, at_ns: 9 }
}

fn opening(id: SegmentId, replicas: ReplicaSet) -> OpenRecord {
    match open(id, 1) {
        Command::Roll { open, .. } => OpenRecord { replicas, ..open },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_roll_seals_and_opens_both_or_neither() {
    let (first, second) = (segment(1, 0, 1), segment(1, 0, 2));
    let mut state = with_segment(SegmentState::Open);
    let opening = opening(second, ReplicaSet::ALONE);
    let before = state.clone();
    let not_granted = OpenRecord {
        epoch: epoch(7),
        ..opening
    };
    let other_writer = seal_record(first, 7, 2);
    for refused in [
        roll_on(seal_record(first, 1, 2), not_granted),
        roll_on(other_writer, opening),
        roll_on(seal_record(segment(1, 1, 1), 1, 2), opening),
        roll_on(seal_record(second, 1, 2), opening),
    ] {
        assert!(apply(&mut state, &refused).is_err(), "{refused:?}");
        assert_eq!(state, before, "{refused:?}");
    }
    let rolled = roll_on(seal_record(first, 1, 2), opening);
    assert_eq!(apply(&mut state, &rolled), Ok(Reply::Done));
    assert_eq!(state.segment_state(first), SegmentState::Sealed);
    assert_eq!(state.segment_state(second), SegmentState::Open);
    let once = state.clone();
    assert_eq!(apply(&mut state, &rolled), Ok(Reply::Done));
    assert_eq!(state, once);
}

#[test]
fn a_seal_needs_as_many_holders_as_an_acknowledgement_needs_copies() {
    let id = segment(1, 0, 1);
    let of_two = ReplicaSet::new(NodeSet::from_nodes([node(2), node(3)]).unwrap(), 2).unwrap();
    let mut state = booted();
    apply_all(&mut state, &[register(2), register(3)]);
    let open = opening(id, of_two);
    let roll = Command::Roll {
        seal: None,
        open,
        at_ns: 5,
    };
    apply(&mut state, &roll).unwrap();
    let seal = |holders: &[u32]| Command::Seal {
        seal: SealRecord {
            holders: NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap(),
            ..seal_record(id, 1, 2)
        },
    };
    assert!(apply(&mut state, &seal(&[1])).is_err());
    apply(
        &mut state,
        &Command::BeginRecovery {
            id,
            request: Uuid::nil(),
            at_ns: 6,
        },
    )
    .unwrap();
    for (entries, holders, taken) in [
        (2, &[][..], false),
        (2, &[3], false),
        (2, &[2, 9], true),
        (0, &[], true),
    ] {
        let seal = SealRecord {
            holders: NodeSet::from_nodes(holders.iter().map(|n| node(*n))).unwrap(),
            ..seal_record(id, 1, entries)
        };
        let outcome = apply(&mut state.clone(), &Command::SealRecovered { seal, number: 1 });
        assert_eq!(outcome.is_ok(), taken, "{entries} {holders:?}");
    }
}

#[test]
fn only_the_latest_recovery_seals_a_segment_that_is_recovered() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Open);
    let begin = |request| Command::BeginRecovery {
        id,
        request: uuid(request),
        at_ns: 6,
    };
    let by = |number, entries| Command::SealRecovered {
        seal: seal_record(id, 1, entries),
        number,
    };
    let refused = |recovery, latest| Err(Refusal::Recovered { id, recovery, latest });
    assert_eq!(apply(&mut state, &by(1, 2)), refused(Some(1), None));
    for (request, number) in [(11, 1), (11, 1), (12, 2), (11, 3), (11, 3)] {
        assert_eq!(apply(&mut state, &begin(request)), Ok(Reply::Recovering(number)));
    }
    let seal = seal_record(id, 1, 2);
    assert_eq!(apply(&mut state, &Command::Seal { seal }), refused(None, Some(3)));
    for number in [1, 2, 4] {
        assert_eq!(apply(&mut state, &by(number, 2)), refused(Some(number), Some(3)));
    }
    assert_eq!(apply(&mut state, &by(3, 2)), Ok(Reply::Done));
    let sealed = state.clone();
    // A command that is repeated, or late, is answered by the present record.
    assert_eq!(apply(&mut state, &by(3, 2)), Ok(Reply::Done));
    assert_eq!(apply(&mut state, &Command::Seal { seal }), Ok(Reply::Done));
    let differs = Err(Refusal::Differs { id, step: Step::Seal });
    assert_eq!(apply(&mut state, &by(2, 1)), differs);
    assert!(apply(&mut state, &begin(13)).is_err());
    assert_eq!(state, sealed);
}

#[test]
fn a_sealed_segment_gains_holders_of_equal_copies() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Sealed);
    let digest = seal_record(id, 1, 2).digest;
    let added = |to: u32, digest| Command::ReplicaAdded {
        id,
        node: node(to),
        digest,
    };
    apply_all(&mut state, &[register(2)]);
    let differs = Err(Refusal::Differs {
        id,
        step: Step::AddReplica,
    });
    let unknown = Err(Refusal::UnknownNode { node: node(9) });
    assert_eq!(apply(&mut state, &added(2, [9; 32])), differs);
    assert_eq!(apply(&mut state, &added(9, digest)), unknown);
    for _ in 0..2 {
        assert_eq!(apply(&mut state, &added(2, digest)), Ok(Reply::Done));
        let Some(SegmentRecord::Sealed(seal)) = state.segment(id) else {
            panic!("it stays sealed");
        };
        assert_eq!(seal.holders, NodeSet::from_nodes([node(1), node(2)]).unwrap());
    }
}

#[test]
fn a_full_list_of_holders_gains_one_where_others_were_replaced() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Sealed);
    let digest = seal_record(id, 1, 2).digest;
    let added = |to: u32| Command::ReplicaAdded {
        id,
        node: node(to),
        digest,
    };
    let most = SET_NODES_MAX as u8;
    (2..=most + 2).for_each(|to| apply_all(&mut state, &[register(to)]));
    let most = u32::from(most);
    (2..=most).for_each(|to| apply_all(&mut state, &[added(to)]));
    assert!(matches!(
        apply(&mut state, &added(most + 1)),
        Err(Refusal::TooLong { .. })
    ));
    let describe = |n, name: &str, replaces| Command::DescribeNode {
        node: node(n),
        name: name.to_owned(),
        address: format!("{name}:1"),
        failure_domain: String::new(),
        replaces,
    };
    apply_all(
        &mut state,
        &[
            describe(3, "c", None),
            describe(most + 2, "c", Some(node(3))),
            added(most + 1),
        ],
    );
    let Some(SegmentRecord::Sealed(seal)) = state.segment(id) else {
        panic!("it stays sealed");
    };
    let expected = (1..=most + 1).filter(|n| *n != 3).map(node);
    assert_eq!(Some(seal.holders), NodeSet::from_nodes(expected));
}

#[test]
fn a_segment_is_not_opened_with_its_owner_as_a_replica() {
    let mut state = booted();
    let id = segment(1, 0, 1);
    let open = opening(id, ReplicaSet::new(NodeSet::of(node(1)), 2).unwrap());
    let roll = Command::Roll {
        seal: None,
        open,
        at_ns: 5,
    };
    assert_eq!(apply(&mut state, &roll), Err(Refusal::OwnReplica { id }));
}

#[test]
fn a_segment_with_replicas_ends_as_empty_by_a_recovery_alone() {
    let id = segment(1, 0, 1);
    let of_two = ReplicaSet::new(NodeSet::from_nodes([node(2), node(3)]).unwrap(), 2).unwrap();
    let mut state = booted();
    apply_all(&mut state, &[register(2), register(3)]);
    let roll = Command::Roll {
        seal: None,
        open: opening(id, of_two),
        at_ns: 5,
    };
    let trim = Command::Trim {
        id,
        why: TrimReason::Empty,
    };
    let seal = seal_record(id, 1, 0);
    apply(&mut state, &roll).unwrap();
    assert!(
        apply(&mut state, &trim).is_err(),
        "its owner's disk may be an older backup"
    );
    assert!(apply(&mut state, &Command::Seal { seal }).is_err());
    let begin = Command::BeginRecovery {
        id,
        request: uuid(3),
        at_ns: 6,
    };
    apply_all(&mut state, &[begin, Command::SealRecovered { seal, number: 1 }, trim]);
    assert_eq!(state.segment_state(id), SegmentState::Trimmed);
}

#[test]
fn the_loss_of_a_sealed_segment_that_another_node_holds_is_accepted_only_when_that_node_was_wiped() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Sealed);
    apply_all(&mut state, &[register(2), register(3)]);
    let digest = seal_record(id, 1, 2).digest;
    apply_all(
        &mut state,
        &[Command::ReplicaAdded {
            id,
            node: node(2),
            digest,
        }],
    );
    let lost = Command::SegmentLost { id, at_ns: 9 };
    let before = state.clone();
    let refused = apply(&mut state, &lost).unwrap_err();
    assert_eq!(
        refused,
        Refusal::HeldByOthers {
            id,
            holders: NodeSet::of(node(2))
        }
    );
    assert!(refused.to_string().contains("nodes {2} have it"), "{refused}");
    assert_eq!(state, before);
    let describe = |n, replaces| Command::DescribeNode {
        node: node(n),
        name: "b".to_owned(),
        address: "b:1".to_owned(),
        failure_domain: String::new(),
        replaces,
    };
    apply_all(&mut state, &[describe(2, None), describe(3, Some(node(2))), lost]);
    assert_eq!(state.segment_state(id), SegmentState::Lost);
}

#[test]
fn the_loss_of_what_no_holder_can_read_is_accepted_and_of_all_of_it_where_none_has_a_part() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Sealed);
    apply_all(&mut state, &[register(2)]);
    let digest = seal_record(id, 1, 2).digest;
    let added = Command::ReplicaAdded {
        id,
        node: node(2),
        digest,
    };
    let accept = |reporting| Command::AcceptCopyLoss {
        id,
        loss: accepted_loss("jo", 9, reporting),
        asked: None,
    };
    let lost = Command::SegmentLost { id, at_ns: 9 };
    apply_all(&mut state, &[added, accept(1), accept(1)]);
    assert_eq!(state.segment_state(id), SegmentState::Sealed, "what is left is read");
    assert_eq!(state.accepted_loss(id), None, "its recovery ended without a loss");
    assert!(
        matches!(apply(&mut state, &lost), Err(Refusal::HeldByOthers { .. })),
        "a copy has a part of it"
    );
    let mut trimmed = state.clone();
    let why = TrimReason::Retention;
    apply_all(&mut trimmed, &[Command::Trim { id, why }]);
    assert_eq!(trimmed.accepted_copy_loss(id), None);
    apply_all(&mut state, &[accept(0), lost]);
    assert_eq!(state.segment_state(id), SegmentState::Lost);
    assert_eq!(state.accepted_copy_loss(id), Some(&accepted_loss("jo", 9, 0)));
}

#[test]
fn the_loss_of_a_segment_is_accepted_once_its_owner_was_replaced_or_has_reported_and_only_then_is_it_lost() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Recovering);
    let accept = |reporting| Command::AcceptLoss {
        id,
        loss: accepted_loss("jo", 9, reporting),
    };
    let nothing = |number| Command::RecoveredNothing { id, number, at_ns: 10 };
    let not_accepted = Err(Refusal::LossNotAccepted { id });
    assert_eq!(apply(&mut state, &accept(0)), Err(Refusal::OwnerNotReplaced { id }));
    apply_all(&mut state.clone(), &[accept(1)]);
    apply_all(
        &mut state,
        &[register(2), describe(1, "one", None), describe(2, "one", Some(1))],
    );
    assert_eq!(apply(&mut state, &nothing(1)), not_accepted);
    apply_all(&mut state, &[accept(1), accept(0), accept(0)]);
    assert_eq!(state.accepted_loss(id), Some(&accepted_loss("jo", 9, 0)));
    let stale = Refusal::Recovered {
        id,
        recovery: Some(2),
        latest: Some(1),
    };
    assert_eq!(apply(&mut state, &nothing(2)), Err(stale));
    let mut sealed = state.clone();
    apply_all(&mut state, &[nothing(1), nothing(1)]);
    assert_eq!(state.segment_state(id), SegmentState::Lost);
    assert!(state.accepted_loss(id).is_some(), "who lost it stays on record");
    assert_eq!(state.unsealed_of(node(1)).next(), None);
    // Where something was left it is sealed, and the record goes with the segment.
    let seal = seal_record(id, 1, 2);
    apply_all(&mut sealed, &[Command::SealRecovered { seal, number: 1 }]);
    assert_eq!(
        apply(&mut sealed, &nothing(1)),
        not_accepted,
        "it is not under recovery"
    );
    assert!(sealed.accepted_loss(id).is_some());
    let why = TrimReason::Retention;
    apply_all(&mut sealed, &[Command::Trim { id, why }]);
    assert_eq!(sealed.accepted_loss(id), None);
}

#[test]
fn the_words_for_an_accepted_loss_are_bounded() {
    let id = segment(1, 0, 1);
    let mut state = with_segment(SegmentState::Recovering);
    let long = |by: usize, over: usize| {
        let loss = crate::segment::AcceptedLoss {
            passed_over: "x".repeat(over),
            ..accepted_loss(&"x".repeat(by), 9, 1)
        };
        Command::AcceptLoss { id, loss }
    };
    for (by, over) in [(ACTOR_BYTES_MAX + 1, 1), (1, LOSS_BYTES_MAX + 1)] {
        let refused = apply(&mut state, &long(by, over));
        assert!(matches!(refused, Err(Refusal::TooLong { .. })), "{refused:?}");
    }
    apply_all(&mut state, &[long(ACTOR_BYTES_MAX, LOSS_BYTES_MAX)]);
}

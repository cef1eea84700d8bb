//! Decides what a node is to do about a replay job. Pure functions.

use gophership_catalogue::State;
use gophership_catalogue::job::{JobId, JobRecord, JobState};
use gophership_vault::ids::NodeId;

use super::job::Order;
use super::spec::SinkSpec;

/// The state of a job on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Here {
    /// It runs, in this term.
    Runs(u64),
    /// An operator is cancelling it.
    Cancelling,
    /// Neither.
    Nothing,
}

/// The action that is due for a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// The job is this node's, and does not run: it goes on with it.
    Resume,
    /// The job's runner is dead, and it asks for the next term.
    Take,
    /// The job runs, here or on another node, or it has ended, or is being cancelled.
    Nothing,
}

/// The node that runs a job, or ran it last.
pub(super) fn runner(job: &JobRecord, order: &Order, own: NodeId) -> NodeId {
    // A job of an older version names no runner: it was that of a single node.
    job.taken.map(|taken| taken.node).or(order.runner).unwrap_or(own)
}

/// Decides what node `own` is to do about a job. `is_dead` says of a node that nothing is heard of it.
pub(super) fn due(job: &JobRecord, order: &Order, own: NodeId, here: Here, is_dead: &dyn Fn(NodeId) -> bool) -> Due {
    let ended = !matches!(job.state, JobState::Running);
    let runner = runner(job, order, own);
    if ended || here == Here::Cancelling || here == Here::Runs(job.term()) {
        Due::Nothing
    } else if runner == own {
        Due::Resume
    } else if is_dead(runner) {
        Due::Take
    } else {
        Due::Nothing
    }
}

/// The reason for which nobody goes on with a job, and the way out, where its runner is dead and no node that is there
/// has the exporter by which it sends.
pub(super) fn why_idle(
    id: JobId,
    job: &JobRecord,
    own: NodeId,
    here: Here,
    is_dead: &dyn Fn(NodeId) -> bool,
    state: &State,
) -> Option<String> {
    let order = serde_json::from_str::<Order>(&job.spec).ok()?;
    let Some(SinkSpec::Exporter(exporter)) = &order.spec.sink else {
        return None;
    };
    let is_there = |node: NodeId| node == own || !is_dead(node);
    if due(job, &order, own, here, is_dead) != Due::Take || state.configured_at(exporter).any(is_there) {
        return None;
    }
    Some(format!(
        "the node that ran it is dead, and no node that is there is configured with exporter {exporter:?}, by which it \
         sends: add it to `export` of one and send that node SIGHUP, or give the job up (gs-ctl replay cancel {id})"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gophership_catalogue::apply;
    use gophership_catalogue::command::Command;
    use gophership_catalogue::job::{JobResult, LossNames, Takeover};
    use gophership_proto::control::v1::ReplaySpec;
    use uuid::Uuid;

    use super::*;
    use crate::replay::Spec;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).unwrap()
    }

    #[test]
    fn a_job_is_resumed_by_its_runner_and_asked_for_when_that_one_is_gone() {
        let taken = |n| Some(Takeover { node: node(n), term: 1 });
        let ended = JobState::Ended {
            result: JobResult::Done,
            at_ns: 1,
        };
        let running = JobState::Running;
        let (idle, cancelling, runs) = (Here::Nothing, Here::Cancelling, Here::Runs);
        let (resume, take, nothing) = (Due::Resume, Due::Take, Due::Nothing);
        let (first, second) = (Some(1), Some(2));
        #[rustfmt::skip]
        let table = [
            ("its own", &running, first, None, idle, &[][..], resume),
            ("of a single node", &running, None, None, idle, &[], resume),
            ("its own, which runs", &running, first, None, runs(0), &[], nothing),
            ("its own, which an operator cancels", &running, first, None, cancelling, &[], nothing),
            ("of another", &running, second, None, idle, &[], nothing),
            ("of one that is gone", &running, second, None, idle, &[2], take),
            ("of one that is gone, which an operator cancels", &running, second, None, cancelling, &[2], nothing),
            ("taken from it", &running, first, taken(2), idle, &[], nothing),
            ("taken from it, though it still runs", &running, first, taken(2), runs(0), &[], nothing),
            ("taken from it by one that is gone", &running, first, taken(2), runs(0), &[2], take),
            ("taken by it", &running, second, taken(1), idle, &[2], resume),
            ("taken by it, and runs", &running, second, taken(1), runs(1), &[2], nothing),
            ("taken by it, while its earlier run ends", &running, first, taken(1), runs(0), &[], resume),
            ("one that has ended", &ended, second, None, idle, &[2], nothing),
            ("its own that has ended", &ended, first, None, idle, &[], nothing),
        ];
        for (what, state, by, taken, here, gone, expected) in table {
            let order = Order {
                spec: Spec::for_stream(ReplaySpec::default()).unwrap(),
                parts: Vec::new(),
                bytes_total_estimate: 0,
                not_restored: None,
                runner: by.map(node),
            };
            let job = JobRecord {
                request: Uuid::nil(),
                spec: String::new(),
                created_ns: 1,
                state: state.clone(),
                positions: BTreeMap::new(),
                loss_names: LossNames::default(),
                taken,
            };
            let is_dead = |node: NodeId| gone.contains(&node.get());
            assert_eq!(due(&job, &order, node(1), here, &is_dead), expected, "{what}");
        }
    }

    #[test]
    fn a_job_that_no_node_can_go_on_with_says_why_and_what_to_do() {
        let by = |sink: SinkSpec| {
            let mut spec = Spec::for_stream(ReplaySpec::default()).unwrap();
            spec.sink = Some(sink);
            let order = Order {
                spec,
                parts: Vec::new(),
                bytes_total_estimate: 0,
                not_restored: None,
                runner: Some(node(2)),
            };
            JobRecord {
                request: Uuid::nil(),
                spec: serde_json::to_string(&order).unwrap(),
                created_ns: 1,
                state: JobState::Running,
                positions: BTreeMap::new(),
                loss_names: LossNames::default(),
                taken: None,
            }
        };
        let job = by(SinkSpec::Exporter("a".to_owned()));
        for (what, configured, gone, is_idle) in [
            ("its runner is there", None, &[][..], false),
            ("nobody has it", None, &[2], true),
            ("only its runner has it", Some(2), &[2], true),
            ("this node has it", Some(1), &[2], false),
            ("another one has it", Some(3), &[2], false),
            ("that one is gone, too", Some(3), &[2, 3], true),
        ] {
            let mut state = State::default();
            for n in 1..=3 {
                let storage_uuid = Uuid::from_u128(n);
                apply(&mut state, &Command::RegisterNode { storage_uuid, at_ns: 1 }).unwrap();
            }
            if let Some(n) = configured {
                let (node, names) = (Some(node(n)), vec!["a".to_owned()]);
                apply(&mut state, &Command::ConfigureExporters { node, names }).unwrap();
            }
            let is_dead = |node: NodeId| gone.contains(&node.get());
            let why = |job: &JobRecord, here| why_idle(JobId::FIRST, job, node(1), here, &is_dead, &state);
            let said = why(&job, Here::Nothing);
            assert_eq!(said.is_some(), is_idle, "{what}: {said:?}");
            assert!(said.is_none_or(|said| said.contains("\"a\"") && said.contains("gs-ctl replay cancel 1")));
            assert_eq!(why(&job, Here::Cancelling), None, "{what}");
        }
    }
}

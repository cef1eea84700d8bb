//! `gs-ctl check`: whether something is wrong, for a monitoring system.

use std::process::ExitCode;

use gophership_proto::view::cluster::{ClusterView, WaitingView};
use gophership_proto::view::problems::{ProblemView, Severity};
use schemars::JsonSchema;
use serde::Serialize;

use super::cluster::status;
use crate::arg::cli::Global;
use crate::connect;
use crate::out::human;
use crate::out::outcome::story;
use crate::out::output::{Answer, print};
use crate::view::cluster::listed;

/// Says what is wrong. That the node does not answer is an answer, too.
pub(crate) async fn check(global: &Global) -> anyhow::Result<ExitCode> {
    let shown = match ask(global).await {
        Ok(cluster) => CheckView::from(cluster),
        Err(error) => CheckView {
            state: State::Unknown,
            what: human::one_line(&story(&error)),
            problems: Vec::new(),
        },
    };
    print(&shown, global.format)?;
    // The codes that monitoring systems know from their plugins.
    Ok(ExitCode::from(match shown.state {
        State::Ok => 0,
        State::Warning => 1,
        State::Critical => 2,
        State::Unknown => 3,
    }))
}

async fn ask(global: &Global) -> anyhow::Result<ClusterView> {
    let socket = connect::find(global.socket.as_deref())?;
    let mut node = connect::connect_cluster(&socket).await?;
    Ok(ClusterView::from(status(&mut node).await?))
}

/// What a check found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckView {
    /// `ok`, `warning`, `critical`, or `unknown` where the node did not answer.
    state: State,
    /// The worst of it, in one line.
    what: String,
    /// What is wrong, the worst first.
    problems: Vec<ProblemView>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl From<ClusterView> for CheckView {
    fn from(cluster: ClusterView) -> Self {
        let name = cluster
            .name
            .as_deref()
            .map_or_else(|| "a single node".to_owned(), human::one_line);
        let of = format!("{name}, answered by {}", human::one_line(&cluster.answered_by));
        // A node that is in no cluster yet knows nothing else.
        let problems = match cluster.nodes.is_empty() {
            true => vec![is_outside(cluster.waiting)],
            false => cluster.problems,
        };
        let Some(worst) = problems.first() else {
            return Self {
                state: State::Ok,
                what: format!("nothing is wrong with {of}"),
                problems,
            };
        };
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Self {
            state: match worst.severity {
                Severity::Warning => State::Warning,
                Severity::Critical => State::Critical,
            },
            what: format!("{}{more} ({of})", human::one_line(&worst.what)),
            problems,
        }
    }
}

/// The problem of a node that is in no cluster, or waits for its own: it takes no logs.
fn is_outside(waiting: Option<WaitingView>) -> ProblemView {
    let (what, remedy) = match waiting {
        Some(waiting) => (format!("the node waits for {}", waiting.what), waiting.remedy),
        None => (
            "the node is starting, and has not looked for its cluster yet".to_owned(),
            "ask again".to_owned(),
        ),
    };
    ProblemView {
        severity: Severity::Critical,
        what,
        remedy,
    }
}

impl Answer for CheckView {
    fn table(&self) -> String {
        let state = match self.state {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        };
        format!("{state}: {}\n{}", self.what, listed(&self.problems))
    }
}

#[cfg(test)]
mod tests {
    use gophership_archiver::store::StoreError;
    use gophership_proto::control::v1::{
        ArchiveStatus, ClusterNode, ClusterStatusReply, NodeReport, RaftStatus, Waiting,
    };
    use uuid::Uuid;

    use super::*;

    fn cluster(change: impl FnOnce(&mut ClusterStatusReply)) -> CheckView {
        let node = |id: u32| ClusterNode {
            id,
            name: format!("node-{id}"),
            state: "active".to_owned(),
            role: if id == 1 { "leader" } else { "voter" }.to_owned(),
            alive: true,
            report: Some(NodeReport {
                ready: true,
                ..NodeReport::default()
            }),
            ..ClusterNode::default()
        };
        let mut reply = ClusterStatusReply {
            name: "prod".to_owned(),
            node_name: "node-1".to_owned(),
            nodes: (1..=3).map(node).collect(),
            raft: Some(RaftStatus {
                leader: Some(1),
                ..RaftStatus::default()
            }),
            ..ClusterStatusReply::default()
        };
        change(&mut reply);
        CheckView::from(ClusterView::from(reply))
    }

    fn not_ready(reply: &mut ClusterStatusReply, i: usize) {
        let report = reply.nodes[i].report.as_mut().unwrap();
        (report.ready, report.not_ready_reason) = (false, "its disk is full".to_owned());
    }

    #[test]
    fn the_state_is_that_of_the_worst_problem_which_is_the_first() {
        let well = cluster(|_| ());
        assert_eq!(well.table(), "OK: nothing is wrong with prod, answered by node-1\n");

        let one = cluster(|reply| not_ready(reply, 1));
        assert_eq!(one.state, State::Warning);
        let line = "WARNING: node-2 takes no logs: its disk is full (prod, answered by node-1)\n! node-2 takes";
        assert!(one.table().starts_with(line), "{}", one.table());

        let paused = cluster(|reply| {
            reply.archive = Some(ArchiveStatus {
                url: "s3://logs".to_owned(),
                paused_until_unix_nano: 1_000_000_000,
                waits_for: "uid 7 paused it".to_owned(),
                ..ArchiveStatus::default()
            });
        });
        assert_eq!(paused.state, State::Warning);
        let line = "WARNING: archiving is paused until 1970-01-01T00:00:01";
        assert!(paused.table().starts_with(line), "{}", paused.table());

        let all = cluster(|reply| (0..3).for_each(|i| not_ready(reply, i)));
        assert_eq!(all.state, State::Critical);

        let both = cluster(|reply| {
            not_ready(reply, 0);
            (reply.nodes[2].alive, reply.nodes[2].report) = (false, None);
        });
        assert_eq!(both.state, State::Critical);
        let line = "CRITICAL: node-3 (node 3) is not heard since the node that answers started, and 1 more (prod";
        assert!(both.table().starts_with(line), "{}", both.table());
    }

    #[test]
    fn a_cluster_whose_place_another_one_has_taken_is_critical_and_a_store_that_is_away_is_not() {
        let with = |fault: String| {
            cluster(|reply| {
                let archive = ArchiveStatus {
                    fault,
                    ..ArchiveStatus::default()
                };
                reply.nodes[1].report.as_mut().unwrap().archive = Some(archive);
            })
        };
        let superseded = StoreError::Superseded {
            store: "s3://logs".to_owned(),
            cluster: Uuid::from_u128(1),
            key: "superseded-by-1.json".to_owned(),
            restore: "7".to_owned(),
        };
        let taken = with(superseded.to_string());
        assert_eq!(taken.state, State::Critical);
        assert!(
            taken.problems[0].what.contains("that nobody will read"),
            "{}",
            taken.table()
        );
        assert_eq!(with("s3://logs does not answer".to_owned()).state, State::Warning);
    }

    #[test]
    fn a_node_that_waits_for_its_cluster_is_no_cluster_where_all_is_well() {
        let waits = cluster(|reply| {
            reply.nodes.clear();
            reply.waiting = Some(Waiting {
                what: "two of node-1, node-2, node-3".to_owned(),
                remedy: "start them".to_owned(),
                ..Waiting::default()
            });
        });
        assert_eq!(waits.state, State::Critical);
        assert!(waits.what.starts_with("the node waits for two of"), "{}", waits.what);
        assert_eq!(waits.problems[0].remedy, "start them");
        assert_eq!(cluster(|reply| reply.nodes.clear()).state, State::Critical);
    }
}

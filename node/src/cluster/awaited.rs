//! What a node of a cluster waits for before it takes logs, and what the other nodes answer meanwhile.
//!
//! **Owns**: the step of the start, and the last answer of each node of the configuration.
//!
//! **Invariants**:
//! - I1: a folder counts as wrong for sure only by an answer that no peer with an older view can give: its name has
//!   joined anew under a later number, its node was removed, or a majority of the configuration is in another cluster.
//!
//! **Not here**: the start itself (`enter`, `member`); the control socket that shows this (`early`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use gophership_proto::control::v1;
use gophership_proto::view::rfc3339;
use gophership_vault::Identity;
use gophership_vault::ids::{ClusterId, NodeId};
use gophership_vault::time::now_unix_nano;
use gophership_vault_replication::consensus::network::Peer;
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::join::{Candidate, JoinClient, JoinError, JoinSetup, Standing, Who};
use tokio::sync::watch;

use super::place::VOTERS_MIN;
use crate::peers::Quorum;

/// Pause between two questions to a node.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The step of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It waits for nobody.
    Opening,
    /// It belongs to no cluster yet.
    Membership,
    /// Its cluster has no leader that it can ask.
    Cluster,
    /// Its cluster has so few nodes that the loss of one more may lose what was acknowledged.
    Others {
        /// The number of nodes that vote now.
        voting: usize,
    },
}

/// The answer of a node, or the reason for which there is none. `None` before the first.
type Answer = Option<Result<Who, String>>;

struct State {
    step: Step,
    since_ns: u64,
    /// In the order of [`JoinSetup::others`].
    answers: Vec<Answer>,
}

/// What a node waits for before it takes logs.
pub struct Awaited {
    setup: Arc<JoinSetup>,
    candidate: OnceLock<Arc<Candidate>>,
    member: OnceLock<(ClusterId, NodeId)>,
    quorum: OnceLock<Quorum>,
    state: watch::Sender<State>,
}

/// The reason to take the folder for a wrong one.
#[derive(PartialEq, Eq, Debug)]
struct Contradiction {
    why: String,
    is_sure: bool,
}

impl Awaited {
    /// The state at the start of the node with this setup: it waits for nobody yet.
    pub(super) fn new(setup: Arc<JoinSetup>) -> Self {
        let state = State {
            step: Step::Opening,
            since_ns: now_unix_nano(),
            answers: setup.others().map(|_| None).collect(),
        };
        Self {
            setup,
            candidate: OnceLock::new(),
            member: OnceLock::new(),
            quorum: OnceLock::new(),
            state: watch::Sender::new(state),
        }
    }

    /// Asks all other nodes what they are, again and again.
    pub(super) async fn ask(&self) {
        let client = JoinClient::new(Arc::clone(&self.setup));
        let asking = self.setup.others().enumerate().map(async |(n, peer)| {
            loop {
                let told = format!("{} at {}: ", peer.name, peer.address);
                let short = |why: &str| why.strip_prefix(&told).unwrap_or(why).to_owned();
                let answer = client.who(peer).await.map_err(|error| match error {
                    JoinError::Unanswered { why, .. } => format!("no answer: {}", short(&why)),
                    JoinError::NotConnected { why, .. } => {
                        format!("it is there, and there is no connection with it: {}", short(&why))
                    }
                    JoinError::Refused { why, .. } => format!("it refuses: {why}"),
                    other => other.to_string(),
                });
                self.note_discovered(peer, &answer);
                self.state.send_modify(|state| state.answers[n] = Some(answer));
                tokio::time::sleep(ASK_INTERVAL).await;
            }
        });
        join_all(asking).await;
    }

    /// Tells consensus of a peer that is a member of the same cluster, since the log here may name only nodes that are
    /// gone.
    fn note_discovered(&self, peer: &Member, answer: &Result<Who, String>) {
        if let (Ok(who), Some(quorum), Some((own, _))) = (answer, self.quorum.get(), self.member())
            && let Standing::Member { cluster, node } = who.standing
            && cluster == own
        {
            quorum.consensus.note_discovered(node, peer);
        }
    }

    pub(super) fn set_step(&self, step: Step) {
        self.state
            .send_modify(|state| (state.step, state.since_ns) = (step, now_unix_nano()));
    }

    /// Notes that the node waits to become a member.
    pub(super) fn set_candidate(&self, candidate: Arc<Candidate>) {
        self.candidate.get_or_init(|| candidate);
        self.set_step(Step::Membership);
    }

    /// Notes that the node is a member, and waits for the others.
    pub(super) fn set_member(&self, identity: Identity) {
        self.member.get_or_init(|| (identity.cluster_id, identity.node_id));
        self.set_step(Step::Cluster);
    }

    /// The candidate that the node is, or was.
    pub(super) fn candidate(&self) -> Option<&Arc<Candidate>> {
        self.candidate.get()
    }

    /// The cluster of the folder, and the node's number there.
    pub(super) fn member(&self) -> Option<(ClusterId, NodeId)> {
        self.member.get().copied()
    }

    /// Notes what a member knows of its cluster.
    pub(super) fn set_quorum(&self, quorum: Quorum) {
        self.quorum.get_or_init(|| quorum);
    }

    /// What a member knows of its cluster.
    pub(crate) fn quorum(&self) -> Option<&Quorum> {
        self.quorum.get()
    }

    /// Waits until the answers show for sure that the folder is a wrong one, and returns the reason.
    pub(super) async fn contradicted(&self) -> String {
        let mut changes = self.state.subscribe();
        loop {
            if let Some(found) = self.contradiction(&changes.borrow_and_update().answers)
                && found.is_sure
            {
                return found.why;
            }
            changes.changed().await.expect("the sender is in self");
        }
    }

    fn contradiction(&self, answers: &[Answer]) -> Option<Contradiction> {
        let of_peers = self.setup.others().map(|peer| peer.name.as_str()).zip(answers);
        let answered = of_peers.filter_map(|(name, answer)| Some((name, answer.as_ref()?.as_ref().ok()?)));
        contradiction(
            &self.setup.name,
            self.member()?,
            self.setup.peers.len(),
            &answered.collect::<Vec<_>>(),
        )
    }

    /// What the node waits for, with the answers of the others; `None` where it waits for nobody.
    pub fn shown(&self) -> Option<v1::Waiting> {
        let state = self.state.borrow();
        let (what, remedy) = match state.step {
            Step::Opening => return None,
            Step::Membership => self.membership(&state.answers),
            Step::Cluster => self.cluster(&state.answers),
            Step::Others { voting } => others(voting, self.setup.peers.len()),
        };
        let peers = self
            .setup
            .others()
            .zip(&state.answers)
            .map(|(peer, answer)| v1::PeerAnswer {
                name: peer.name.clone(),
                address: peer.address.clone(),
                said: answer.as_ref().map(|answer| self.said(answer)).unwrap_or_default(),
            });
        Some(v1::Waiting {
            what,
            remedy,
            since_unix_nano: state.since_ns,
            peers: peers.collect(),
        })
    }

    /// All of [`Self::shown`] in one line; `None` where the node waits for nobody.
    pub fn in_words(&self) -> Option<String> {
        let shown = self.shown()?;
        let peer = |peer: &v1::PeerAnswer| {
            let said = if peer.said.is_empty() {
                "not asked yet"
            } else {
                &peer.said
            };
            format!("{} at {}: {said}", peer.name, peer.address)
        };
        Some(format!(
            "this node waits since {}Z for {}. {}. To do: {}",
            &rfc3339(shown.since_unix_nano)[.."2026-01-01T00:00:00".len()],
            shown.what,
            shown.peers.iter().map(peer).collect::<Vec<_>>().join("; "),
            shown.remedy
        ))
    }

    fn membership(&self, answers: &[Answer]) -> (String, String) {
        let is_there = answers.iter().flatten().flatten().any(|who| cluster_of(who).is_some());
        if !is_there {
            return no_cluster(answers);
        }
        let what = "its admission to the cluster that is there".to_owned();
        match self.candidate.get().and_then(|candidate| candidate.not_admitted()) {
            Some(why) => (what, why),
            None => (what, "nothing: it joins by itself".to_owned()),
        }
    }

    fn cluster(&self, answers: &[Answer]) -> (String, String) {
        let own = self.member.get().map(|(cluster, _)| *cluster);
        let of = self.setup.peers.len();
        let there = 1 + answers
            .iter()
            .flatten()
            .flatten()
            .filter(|who| cluster_of(who) == own)
            .count();
        let needed = of / 2 + 1;
        let counted = format!(
            "{there} of {of} nodes of cluster {:?} are there, this one included",
            self.setup.cluster
        );
        let (what, remedy) = if there < needed {
            (
                format!("{}, since a majority is needed: {counted}", more_nodes(needed - there)),
                "start the others, or mend the way to them: this node goes on by itself then",
            )
        } else {
            let unheard = self.quorum.get().and_then(|quorum| quorum.consensus.unheard_voters());
            let unheard = unheard.filter(|voters| !voters.is_empty());
            unheard.map_or_else(|| a_leader(&counted), |voters| word_of(&voters, &counted))
        };
        let wrong = self.contradiction(answers).map(|found| found.why);
        (what, wrong.unwrap_or_else(|| remedy.to_owned()))
    }

    /// An answer, in words.
    fn said(&self, answer: &Result<Who, String>) -> String {
        let who = match answer {
            Err(why) => return why.clone(),
            Ok(who) => who,
        };
        let invited = match &who.invitation {
            Some(invitation) => format!(", invited by {}", invitation.first),
            None => String::new(),
        };
        match who.standing {
            Standing::Empty => format!("it belongs to no cluster yet{invited}"),
            Standing::Single { .. } => format!("it has data, and belongs to no cluster yet{invited}"),
            Standing::Member { cluster, node } => match self.member.get() {
                Some((own, _)) if *own != cluster => format!("it is node {node} of another cluster, {}", cluster.0),
                Some(_) | None => format!("it is node {node} of the cluster"),
            },
        }
    }
}

/// What a member waits for, and the remedy. Its cluster has `voting` voters, and the configuration `configured` nodes.
fn others(voting: usize, configured: usize) -> (String, String) {
    let remedy = "start the other nodes of cluster.peers: they join, and vote, by themselves";
    let what = if configured < VOTERS_MIN {
        "a second node of its cluster, since an acknowledgement needs a copy there".to_owned()
    } else {
        let votes = if voting == 1 { "votes" } else { "vote" };
        format!(
            "{VOTERS_MIN} nodes that vote, since the catalogue must survive the loss of one: {voting} of {configured} \
             configured nodes {votes}"
        )
    };
    (what, remedy.to_owned())
}

/// What a node that belongs to no cluster waits for, and the remedy, where no node that answers belongs to one either.
fn no_cluster(answers: &[Answer]) -> (String, String) {
    let belong_to_none = answers.iter().flatten().flatten().count();
    let others = answers.len();
    if belong_to_none == others {
        let what = "a cluster: this node belongs to none, and no other node of cluster.peers does";
        let remedy = "run gs-ctl cluster provision on one node; to bring back what a lost cluster has archived, with \
                      --restore-from and the archive's URL";
        return (what.to_owned(), remedy.to_owned());
    }
    let what = format!(
        "a cluster: this node belongs to none, and of the {others} other nodes of cluster.peers {belong_to_none} say \
         that they belong to none either"
    );
    let remedy = "where there is a cluster, mend what keeps its nodes from answering: this node joins by itself then. \
                  Where all nodes are new, start all, then run gs-ctl cluster provision on one (to bring back what a \
                  lost cluster has archived, with --restore-from and the archive's URL)";
    (what, remedy.to_owned())
}

/// What a member waits for, and the remedy, once it takes part or has heard from all voters that it needs.
fn a_leader(counted: &str) -> (String, &'static str) {
    let remedy = "nothing: an election takes seconds. Where it lasts, see the logs of all";
    (format!("a leader: {counted}"), remedy)
}

/// What a member waits for, and the remedy, where it does not take part yet since it has not heard from these voters.
fn word_of(voters: &[Peer], counted: &str) -> (String, &'static str) {
    let named = |voter: &Peer| format!("{} (node {})", voter.member.name, voter.node);
    let names: Vec<String> = voters.iter().map(named).collect();
    let what = format!(
        "the word of voters on what this node has promised them, before it takes part; not heard yet: {}; {counted}",
        names.join(", ")
    );
    let remedy = "nothing for half a minute. Then start those that are not heard, or mend the way to them. Where they are \
                  gone for good, start a node of cluster.peers that took part after them: it says who votes now";
    (what, remedy)
}

fn more_nodes(count: usize) -> String {
    match count {
        1 => "1 more node".to_owned(),
        _ => format!("{count} more nodes"),
    }
}

fn cluster_of(who: &Who) -> Option<ClusterId> {
    match who.standing {
        Standing::Member { cluster, .. } => Some(cluster),
        Standing::Empty | Standing::Single { .. } => None,
    }
}

/// Asks all other nodes once. Returns the reason why a member can never come back under its number, if there is one.
/// Only nodes of its own cluster can tell: nodes of another cluster may have been started with wrong folders
/// themselves, and may be gone again soon.
pub(super) async fn contradicted_by_peers(setup: &Arc<JoinSetup>, member: Identity) -> Option<String> {
    let client = JoinClient::new(Arc::clone(setup));
    let asked = setup
        .others()
        .map(async |peer| Some((peer.name.as_str(), client.who(peer).await.ok()?)));
    let answers: Vec<(&str, Who)> = join_all(asked).await.into_iter().flatten().collect();
    let of_cluster = |(_, who): &&(&str, Who)| cluster_of(who) == Some(member.cluster_id);
    let answers: Vec<(&str, &Who)> = answers
        .iter()
        .filter(of_cluster)
        .map(|(name, who)| (*name, who))
        .collect();
    let own = (member.cluster_id, member.node_id);
    contradiction(&setup.name, own, setup.peers.len(), &answers).map(|found| found.why)
}

/// Decides by the answers of other nodes whether the folder of a member is a wrong one. `of` is the number of nodes in
/// the configuration.
fn contradiction(
    name: &str,
    (cluster, node): (ClusterId, NodeId),
    of: usize,
    answers: &[(&str, &Who)],
) -> Option<Contradiction> {
    // Node numbers are granted in order, so a peer that is behind can only say a lower one.
    let moved = |who: &Who| {
        who.caller
            .filter(|other| *other > node && cluster_of(who) == Some(cluster))
    };
    if let Some(other) = answers.iter().find_map(|(_, who)| moved(who)) {
        return Some(Contradiction {
            why: format!(
                "this folder is node {node}'s, and {name} has joined anew as node {other}: start with an empty \
                 node.data_dir, or with that of node {other}"
            ),
            is_sure: true,
        });
    }
    let was_removed = |who: &Who| who.removed == Some(node) && cluster_of(who) == Some(cluster);
    if let Some((peer, _)) = answers.iter().find(|(_, who)| was_removed(who)) {
        return Some(Contradiction {
            why: format!(
                "an operator removed node {node}, whose folder this is, from the cluster, as {peer} says: start {name} \
                 with an empty node.data_dir, and it joins as a new node"
            ),
            is_sure: true,
        });
    }
    let members = answers.iter().filter_map(|(name, who)| Some((*name, cluster_of(who)?)));
    let elsewhere: Vec<(&str, ClusterId)> = members.filter(|(_, other)| *other != cluster).collect();
    let (_, other) = elsewhere.first()?;
    let together = elsewhere.iter().filter(|(_, cluster)| cluster == other).count();
    let names: Vec<&str> = elsewhere.iter().map(|(name, _)| *name).collect();
    Some(Contradiction {
        why: format!(
            "this folder belongs to cluster {}, and that of {} to another one of the same name, {}: put the right \
             folder of {name} back, or start it with an empty node.data_dir, with which it joins them (where this \
             folder is the right one, theirs are not)",
            cluster.0,
            names.join(" and that of "),
            other.0,
        ),
        is_sure: together > of / 2,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn cluster(n: u8) -> ClusterId {
        ClusterId(Uuid::from_bytes([n; 16]))
    }

    fn id(n: u32) -> NodeId {
        NodeId::new(n).expect("numbers begin with 1")
    }

    fn member(of: u8, caller: u32) -> Who {
        let (cluster, node) = (cluster(of), id(1));
        Who {
            standing: Standing::Member { cluster, node },
            invitation: None,
            caller: NodeId::new(caller),
            removed: None,
        }
    }

    #[test]
    fn i1_a_folder_is_wrong_for_sure_by_a_later_number_or_by_a_majority_elsewhere() {
        let empty = Who {
            standing: Standing::Empty,
            ..member(1, 0)
        };
        let of = |answers: &[&Who]| {
            let answers: Vec<(&str, &Who)> = ["node-1", "node-2"].into_iter().zip(answers.iter().copied()).collect();
            contradiction("node-3", (cluster(1), id(3)), 3, &answers)
        };
        let sure = |answers: &[&Who]| of(answers).map(|found| found.is_sure);
        assert_eq!(sure(&[]), None);
        assert_eq!(sure(&[&member(1, 3), &empty]), None);
        assert_eq!(sure(&[&member(1, 2)]), None, "it has not heard of the newer number");
        assert_eq!(sure(&[&member(1, 0)]), None, "nor of the name");
        assert_eq!(sure(&[&member(1, 3), &member(1, 4)]), Some(true));
        assert_eq!(sure(&[&member(2, 4)]), Some(false), "it may be the wrong one");
        assert_eq!(sure(&[&member(2, 0), &member(3, 0)]), Some(false), "all differ");
        assert_eq!(sure(&[&member(2, 0), &member(2, 0)]), Some(true));
        let why = of(&[&member(1, 4)]).expect("it is wrong").why;
        assert!(why.contains("node-3 has joined anew as node 4"), "{why}");
        let why = of(&[&member(2, 0), &member(2, 0)]).expect("it is wrong").why;
        assert!(
            why.contains("that of node-1 and that of node-2 to another one of the same name, 02020202-"),
            "{why}"
        );
        assert!(why.contains("empty node.data_dir"), "{why}");
        let removed = |number| Who {
            removed: NodeId::new(number),
            ..member(1, 0)
        };
        assert_eq!(sure(&[&removed(2)]), None, "that was an earlier node of the name");
        let found = of(&[&member(1, 0), &removed(3)]).expect("it never comes back");
        assert!(found.is_sure && found.why.contains("as node-2 says"), "{found:?}");
    }

    #[test]
    fn only_where_every_other_node_belongs_to_no_cluster_is_one_to_be_made() {
        let empty = || {
            let standing = Standing::Empty;
            Some(Ok(Who {
                standing,
                ..member(1, 0)
            }))
        };
        let is_to_provision = |answers: &[Answer]| {
            let (what, remedy) = no_cluster(answers);
            assert!(remedy.contains("gs-ctl cluster provision"), "{remedy}");
            (what.contains("and no other node"), remedy.starts_with("run gs-ctl"))
        };
        let refuses = || Some(Err("it refuses: not in cluster.peers".to_owned()));
        assert_eq!(is_to_provision(&[empty(), empty()]), (true, true));
        assert_eq!(is_to_provision(&[empty(), None]), (false, false));
        assert_eq!(
            is_to_provision(&[empty(), refuses()]),
            (false, false),
            "it may be the cluster's"
        );
        assert_eq!(is_to_provision(&[refuses(), refuses()]), (false, false));
    }
}

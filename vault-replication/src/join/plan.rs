//! The decision on a wish to provision: a pure function over what the nodes say of themselves.
//!
//! **Invariants**:
//! - I1: a cluster that is there is never begun again.
//! - I2: at most one node with data is taken in, and it is the first.
//! - I3: nodes that see the same choose the same first, so that wishes at several nodes end in one cluster.

use gophership_vault::ids::{ClusterId, NodeId};

use super::error::JoinError;
use super::invitation::Invitation;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has no data and no cluster.
    Empty,
    /// It has the data of a single node.
    Single {
        /// The cluster of its own that a single node is.
        cluster: ClusterId,
        /// Its number.
        node: NodeId,
    },
    /// It is a member of a cluster.
    Member {
        /// The cluster.
        cluster: ClusterId,
        /// Its number.
        node: NodeId,
    },
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// What it is.
    pub standing: Standing,
    /// The invitation that it has accepted.
    pub invitation: Option<Invitation>,
    /// The number that the caller's name has on record at a member.
    pub caller: Option<NodeId>,
    /// The latest number under which a node of the caller's name was removed, at a member.
    pub removed: Option<NodeId>,
}

/// The answer to an operator who provisions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisioned {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that begins it, or a member where it was there already.
    pub first: String,
    /// True where it was there already.
    pub already: bool,
}

/// What follows from the nodes' answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// The cluster is there; this is one of its members.
    Already { cluster: ClusterId, member: String },
    /// This node begins the cluster.
    First { first: String },
}

/// Decides on the answers of the nodes that could be asked, this one among them, with their names.
pub(super) fn plan(answers: &[(String, Who)]) -> Result<Plan, JoinError> {
    let mut members = answers.iter().filter_map(|(name, who)| match who.standing {
        Standing::Member { cluster, .. } => Some((name.clone(), cluster)),
        Standing::Empty | Standing::Single { .. } => None,
    });
    if let Some((member, cluster)) = members.next() {
        return match members.find(|(_, other)| *other != cluster) {
            None => Ok(Plan::Already { cluster, member }),
            Some((other, _)) => Err(JoinError::SeveralClusters {
                names: vec![member, other],
            }),
        };
    }
    let has_data = |who: &Who| matches!(who.standing, Standing::Single { .. });
    let mut names: Vec<String> = answers
        .iter()
        .filter(|(_, who)| has_data(who))
        .map(|(name, _)| name.clone())
        .collect();
    if names.len() > 1 {
        return Err(JoinError::SeveralWithData { names });
    }
    let first = names.pop().or_else(|| invited_by(answers)).or_else(|| lowest(answers));
    let first = first.expect("a node asks itself, too");
    Ok(Plan::First { first })
}

/// The first node of the invitation that most have accepted, the lowest of several.
fn invited_by(answers: &[(String, Who)]) -> Option<String> {
    let firsts = || {
        answers
            .iter()
            .filter_map(|(_, who)| who.invitation.as_ref().map(|i| i.first.as_str()))
    };
    let accepted = |first: &str| firsts().filter(|other| *other == first).count();
    let best = firsts().max_by(|a, b| accepted(a).cmp(&accepted(b)).then_with(|| b.cmp(a)));
    best.map(str::to_owned)
}

fn lowest(answers: &[(String, Who)]) -> Option<String> {
    answers.iter().map(|(name, _)| name).min().cloned()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn cluster(n: u8) -> ClusterId {
        ClusterId(Uuid::from_bytes([n; 16]))
    }

    fn said(name: &str, standing: Standing, first: Option<&str>) -> (String, Who) {
        let invitation = first.map(|first| Invitation {
            cluster: cluster(9),
            request: Uuid::from_bytes([8; 16]),
            first: first.to_owned(),
            restore: None,
        });
        let who = Who {
            standing,
            invitation,
            caller: None,
            removed: None,
        };
        (name.to_owned(), who)
    }

    fn empty(name: &str, first: Option<&str>) -> (String, Who) {
        said(name, Standing::Empty, first)
    }

    fn single(name: &str) -> (String, Who) {
        let (cluster, node) = (cluster(1), NodeId::FIRST);
        said(name, Standing::Single { cluster, node }, None)
    }

    fn member(name: &str, of: u8) -> (String, Who) {
        let (cluster, node) = (cluster(of), NodeId::FIRST);
        said(name, Standing::Member { cluster, node }, None)
    }

    #[test]
    fn the_first_is_the_one_with_data_then_the_one_that_invited_most_then_the_lowest() {
        let table: &[(&[(String, Who)], &str)] = &[
            (&[empty("b", None), empty("a", None), empty("c", None)], "a"),
            (&[empty("b", None)], "b"),
            (&[empty("a", None), single("c"), empty("b", Some("b"))], "c"),
            (&[empty("a", None), empty("b", Some("b")), empty("c", Some("b"))], "b"),
            (
                &[empty("a", Some("c")), empty("b", Some("b")), empty("c", Some("c"))],
                "c",
            ),
            (&[empty("b", Some("b")), empty("c", Some("c"))], "b"),
        ];
        for (answers, wanted) in table {
            let mut answers = answers.to_vec();
            for _ in 0..answers.len() {
                answers.rotate_left(1);
                let first = (*wanted).to_owned();
                assert_eq!(plan(&answers).unwrap(), Plan::First { first }, "{answers:?}");
            }
        }
    }

    #[test]
    fn i1_a_cluster_that_is_there_is_not_begun_again() {
        let answers = [single("a"), member("b", 5), member("c", 5)];
        let there = Plan::Already {
            cluster: cluster(5),
            member: "b".to_owned(),
        };
        assert_eq!(plan(&answers).unwrap(), there);
        let refused = plan(&[member("b", 5), empty("a", None), member("c", 6)]).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("b and c are members of different clusters"),
            "{refused}"
        );
    }

    #[test]
    fn i2_several_nodes_with_data_are_refused_by_name() {
        let refused = plan(&[single("a"), empty("b", None), single("c")])
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with("a and c each have the data"), "{refused}");
    }
}

//! Decides who exports the logs of a node that is lost: a pure function.
//!
//! **Invariants**:
//! - I1: nobody but the owner exports while the owner may be there, or may still have acknowledged what no seal has.
//! - I2: an owner that is there exports its own logs. A node that does not have the exporter exports nobody's.
//! - I3: what nobody exports is taken over.

use gophership_catalogue::job::Takeover;
use gophership_vault::ids::NodeId;

/// The export of one node's logs for one exporter, as one node sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The node that decides.
    pub(super) own: NodeId,
    /// The node that wrote the logs.
    pub(super) owner: NodeId,
    /// True where the exporter runs at the node that decides.
    pub(super) is_here: bool,
    /// True where nothing was heard of the owner for so long that it counts as dead.
    pub(super) is_owner_gone: bool,
    /// True where not all of its segments are sealed or given up.
    pub(super) is_unsealed: bool,
    /// True where the exporter has not got all of its sealed segments.
    pub(super) is_owed: bool,
    /// The node that exports them now, where it was ever another one.
    pub(super) taken: Option<Takeover>,
    /// True where that one counts as dead.
    pub(super) is_runner_gone: bool,
}

/// The action that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Another node exports them, or there is nothing to do.
    Nothing,
    /// A recovery is to find the ends of the logs first.
    Wait,
    /// The deciding node asks for them, having seen this term.
    Take(u64),
    /// It exports them, in this term.
    Run(u64),
    /// It puts the export back to the owner, having seen this term: it is the owner, or has the exporter no more.
    PutBack(u64),
}

/// Decides what is due.
pub(super) fn due(of: &Standing) -> Due {
    let term = of.taken.map_or(0, |taken| taken.term);
    let runner = of.taken.map_or(of.owner, |taken| taken.node);
    if of.owner == of.own {
        return if runner == of.own {
            Due::Nothing
        } else {
            Due::PutBack(term)
        };
    }
    if !of.is_here {
        return if runner == of.own {
            Due::PutBack(term)
        } else {
            Due::Nothing
        };
    }
    if !of.is_owner_gone || !(of.is_owed || of.is_unsealed) {
        Due::Nothing
    } else if of.is_unsealed {
        Due::Wait
    } else if runner == of.own {
        Due::Run(term)
    } else if runner == of.owner || of.is_runner_gone {
        Due::Take(term)
    } else {
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).expect("numbers begin with 1")
    }

    /// Node 1 decides about the logs of `owner`. `by`: the runner on record, in term 4, and whether it is gone.
    fn standing(
        owner: u32,
        is_owner_gone: bool,
        is_unsealed: bool,
        is_owed: bool,
        by: Option<(u32, bool)>,
    ) -> Standing {
        Standing {
            own: node(1),
            owner: node(owner),
            is_here: true,
            is_owner_gone,
            is_unsealed,
            is_owed,
            taken: by.map(|(n, _)| Takeover { node: node(n), term: 4 }),
            is_runner_gone: by.is_some_and(|(_, gone)| gone),
        }
    }

    #[test]
    fn a_lost_node_is_stood_in_for_by_one_survivor_once_its_logs_have_an_end_and_until_it_is_back() {
        let (gone, here) = (true, false);
        let (unsealed, sealed) = (true, false);
        let (owed, paid) = (true, false);
        let without = |by| Standing {
            is_here: false,
            ..standing(3, gone, sealed, owed, by)
        };
        assert_eq!(
            due(&without(Some((1, here)))),
            Due::PutBack(4),
            "the exporter is configured here no more"
        );
        assert_eq!(due(&without(None)), Due::Nothing, "the exporter is not configured here");
        for (what, owner, owner_is, ends, debt, by, expected) in [
            ("its own", 1, here, unsealed, owed, None, Due::Nothing),
            (
                "its own, taken from it",
                1,
                here,
                unsealed,
                owed,
                Some((2, here)),
                Due::PutBack(4),
            ),
            (
                "its own, all sent meanwhile",
                1,
                here,
                sealed,
                paid,
                Some((2, gone)),
                Due::PutBack(4),
            ),
            (
                "its own, taken back",
                1,
                here,
                unsealed,
                owed,
                Some((1, here)),
                Due::Nothing,
            ),
            ("of one that is there", 3, here, unsealed, owed, None, Due::Nothing),
            (
                "its owner is back",
                3,
                here,
                sealed,
                owed,
                Some((1, here)),
                Due::Nothing,
            ),
            ("being recovered", 3, gone, unsealed, owed, None, Due::Wait),
            ("nothing known to be owed yet", 3, gone, unsealed, paid, None, Due::Wait),
            ("recovered", 3, gone, sealed, owed, None, Due::Take(0)),
            ("nothing owed", 3, gone, sealed, paid, None, Due::Nothing),
            ("granted", 3, gone, sealed, owed, Some((1, here)), Due::Run(4)),
            ("all sent", 3, gone, sealed, paid, Some((1, here)), Due::Nothing),
            (
                "its owner was back and took more",
                3,
                gone,
                unsealed,
                owed,
                Some((1, here)),
                Due::Wait,
            ),
            (
                "another node pays",
                3,
                gone,
                sealed,
                owed,
                Some((2, here)),
                Due::Nothing,
            ),
            (
                "that one is gone too",
                3,
                gone,
                sealed,
                owed,
                Some((2, gone)),
                Due::Take(4),
            ),
            (
                "its owner had taken it back",
                3,
                gone,
                sealed,
                owed,
                Some((3, gone)),
                Due::Take(4),
            ),
        ] {
            assert_eq!(due(&standing(owner, owner_is, ends, debt, by)), expected, "{what}");
        }
    }
}

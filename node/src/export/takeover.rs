//! Decides who exports the logs of a node that is lost: a pure function.
//!
//! **Invariants**:
//! - I1: nobody but the owner exports while the owner may be there, or may still have acknowledged what no seal has.
//! - I2: an owner that is there exports its own logs.
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
    /// It is their owner and is back: it takes its export back, having seen this term.
    TakeBack(u64),
}

/// Decides what is due.
pub(super) fn due(of: &Standing) -> Due {
    let term = of.taken.map_or(0, |taken| taken.term);
    let runner = of.taken.map_or(of.owner, |taken| taken.node);
    if of.owner == of.own {
        return if runner == of.own {
            Due::Nothing
        } else {
            Due::TakeBack(term)
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

    #[test]
    fn a_lost_node_is_stood_in_for_by_one_survivor_once_its_logs_have_an_end_and_until_it_is_back() {
        let node = |n| NodeId::new(n).expect("numbers begin with 1");
        let (gone, here) = (true, false);
        let (unsealed, sealed) = (true, false);
        let (owed, paid) = (true, false);
        // Node 1 decides about the logs of `owner`. `by`: the runner on record, in term 4, and whether it is gone.
        for (what, owner, owner_is, ends, debt, by, expected) in [
            ("its own", 1, here, unsealed, owed, None, Due::Nothing),
            (
                "its own, taken from it",
                1,
                here,
                unsealed,
                owed,
                Some((2, here)),
                Due::TakeBack(4),
            ),
            (
                "its own, all sent meanwhile",
                1,
                here,
                sealed,
                paid,
                Some((2, gone)),
                Due::TakeBack(4),
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
            let standing = Standing {
                own: node(1),
                owner: node(owner),
                is_owner_gone: owner_is,
                is_unsealed: ends,
                is_owed: debt,
                taken: by.map(|(n, _)| Takeover { node: node(n), term: 4 }),
                is_runner_gone: by.is_some_and(|(_, gone)| gone),
            };
            assert_eq!(due(&standing), expected, "{what}");
        }
    }
}

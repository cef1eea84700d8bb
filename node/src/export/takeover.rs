//! Decides who exports the logs of a node that is lost, and when: by the values that it is given alone.
//!
//! **Invariants**:
//! - I1: nobody but the owner exports while the owner may be there, or may still have acknowledged what no seal has.
//! - I2: an owner that is there exports its own logs. A node that does not have the exporter exports nobody's.
//! - I3: what nobody exports is taken over.
//! - I4: two nodes that live and do not hear each other take an export from each other less and less often.

use std::collections::HashMap;
use std::time::Instant;

use gophership_catalogue::job::Takeover;
use gophership_vault::ids::NodeId;

use crate::replay::held_for;

/// An exporter, and the node that wrote the logs.
pub(super) type LostExport = (String, NodeId);

/// The term of each export that could be taken over, and since when it has been seen so.
#[derive(Default)]
pub(super) struct TermsSeen(HashMap<LostExport, (u64, Instant)>);

impl TermsSeen {
    /// Notes the term of an export. True where it has had its time by `now`: each has longer.
    pub(super) fn has_had_its_time(&mut self, export: &LostExport, term: u64, now: Instant) -> bool {
        let seen = self.0.entry(export.clone()).or_insert((term, now));
        if seen.0 != term {
            *seen = (term, now);
        }
        now.saturating_duration_since(seen.1) >= held_for(term)
    }
}

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
    pub(super) is_owner_dead: bool,
    /// True where not all of its segments are sealed or lost.
    pub(super) is_unsealed: bool,
    /// True where the exporter has not got all of its sealed segments.
    pub(super) is_owed: bool,
    /// The node that exports them now, where it was ever another one.
    pub(super) taken: Option<Takeover>,
    /// True where that one counts as dead.
    pub(super) is_runner_dead: bool,
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
    if !of.is_owner_dead || !(of.is_owed || of.is_unsealed) {
        Due::Nothing
    } else if of.is_unsealed {
        Due::Wait
    } else if runner == of.own {
        Due::Run(term)
    } else if runner == of.owner || of.is_runner_dead {
        Due::Take(term)
    } else {
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(n: u32) -> NodeId {
        NodeId::new(n).expect("numbers begin with 1")
    }

    /// Node 1 decides about the logs of `owner`. `by`: the runner on record, in term 4, and whether it is dead.
    fn standing(
        owner: u32,
        is_owner_dead: bool,
        is_unsealed: bool,
        is_owed: bool,
        by: Option<(u32, bool)>,
    ) -> Standing {
        Standing {
            own: node(1),
            owner: node(owner),
            is_here: true,
            is_owner_dead,
            is_unsealed,
            is_owed,
            taken: by.map(|(n, _)| Takeover { node: node(n), term: 4 }),
            is_runner_dead: by.is_some_and(|(_, gone)| gone),
        }
    }

    #[test]
    fn i4_an_export_that_was_taken_over_before_is_taken_only_after_its_term_has_had_its_time() {
        let (export, other) = (("a".to_owned(), node(2)), ("a".to_owned(), node(3)));
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let mut seen = TermsSeen::default();
        for (what, export, term, secs, is_over) in [
            ("nobody had it yet", &export, 0, 0, true),
            ("one has it", &export, 1, 10, false),
            ("it has had it for a second", &export, 1, 11, false),
            ("it has had it for long enough", &export, 1, 12, true),
            ("the next one has it", &export, 2, 12, false),
            ("as long as the first had it", &export, 2, 14, false),
            ("another export", &other, 0, 14, true),
            ("longer than the first", &export, 2, 18, true),
            ("the same term again, which began anew", &export, 1, 18, false),
        ] {
            assert_eq!(seen.has_had_its_time(export, term, at(secs)), is_over, "{what}");
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

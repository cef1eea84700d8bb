use gophership_catalogue::state::Change;
use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex, ShardId};

use super::*;
use crate::cluster::testkit::{node, nodes};
use crate::export::dead_letters::letter;

#[test]
fn i4_a_copy_that_is_missing_is_made_on_the_next_node_that_is_there() {
    let entry = |n| {
        let lsn = Lsn::at(SegmentIndex::FIRST, EntryNumber::FIRST);
        (node(n), ShardId::new(0), lsn)
    };
    // The nodes with a copy, those that are dead, those that are drained, those that are gone, those that are due.
    for (copies, dead, drained, gone, expected) in [
        (&[2][..], &[][..], &[][..], &[][..], &[3][..]),
        (&[2, 3], &[], &[], &[], &[]),
        (&[], &[], &[], &[], &[3, 4]),
        (&[2], &[3], &[], &[], &[4]),
        (&[2, 3], &[3], &[], &[], &[4]),
        (&[2, 3], &[], &[3], &[], &[4]),
        (&[2, 3], &[], &[], &[3], &[4]),
        (&[2, 4], &[], &[], &[2], &[3]),
        (&[2], &[3, 4], &[], &[], &[1]),
    ] {
        let mut state = nodes(&["node-1", "node-2", "node-3", "node-4"]);
        let refused = letter("a", entry(2), LetterCause::Refused, 1, "no");
        let copies = NodeSet::from_nodes(copies.iter().map(|n| node(*n))).unwrap();
        state.install(Change::DeadLetter(DeadLetter { copies, ..refused }));
        for n in drained {
            let drained = NodeRecord {
                state: NodeState::Draining,
                ..*state.node(node(*n)).unwrap()
            };
            state.install(Change::Node(drained));
        }
        for n in gone {
            let mut facts = state.facts(node(*n)).unwrap().clone();
            facts.moved_to = Some(node(*n));
            state.install(Change::Facts(node(*n), facts));
        }
        let is_dead = |id: NodeId| dead.iter().any(|n| node(*n) == id);
        let is_due = |n: &u32| !due(&state, node(*n), &is_dead).is_empty();
        let found: Vec<u32> = (1..=4).filter(is_due).collect();
        assert_eq!(found, expected, "{copies:?} {dead:?} {drained:?} {gone:?}");
    }
    let mut state = nodes(&["node-1", "node-2"]);
    let malformed = letter("a", entry(2), LetterCause::Malformed, 1, "no");
    state.install(Change::DeadLetter(malformed));
    assert_eq!(due(&state, node(1), &|_| false), [], "it is never sent");
}

//! Decides what this node is to do for the archive, by the catalogue alone: a pure function.
//!
//! **Invariants**:
//! - I1: the owner of a segment archives it where it is there and holds it, else the first holder by number that is
//!   there.
//! - I2: a lease, or a committed object, of a node that is gone is gone on with by whoever archives its first segment.
//! - I3: nothing is due while the cluster takes in an archive for the first time.

use gophership_archiver::round::Candidate;
use gophership_catalogue::State;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber, ObjectState};
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;
use uuid::Uuid;

/// The node that asks, and what it knows of the others.
pub(super) struct Asking<'a> {
    pub(super) own: NodeId,
    /// Says whether a node counts as dead.
    pub(super) is_dead: &'a dyn Fn(NodeId) -> bool,
}

impl Asking<'_> {
    /// True where a node will do nothing more, or nothing for long.
    pub(super) fn is_gone(&self, state: &State, node: NodeId) -> bool {
        node != self.own && ((self.is_dead)(node) || state.is_replaced(node))
    }

    /// The node that archives a segment with these holders; `None` where none of them is there.
    fn archiving_node(&self, state: &State, seal: &SealRecord) -> Option<NodeId> {
        let there = || seal.holders.iter().filter(|node| !self.is_gone(state, *node));
        there().find(|node| *node == seal.id.node).or_else(|| there().min())
    }

    /// True where this node does what is to be done for an object.
    pub(super) fn is_mine(&self, state: &State, object: &ArchiveObject) -> bool {
        if !self.is_gone(state, object.holder) {
            return object.holder == self.own;
        }
        let first = object.members.first().and_then(|first| state.segment(*first));
        match first {
            Some(SegmentRecord::Sealed(seal)) => self.archiving_node(state, &seal) == Some(self.own),
            // Nobody can write it; whoever comes first ends it, or lists it.
            Some(_) | None => true,
        }
    }
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Leases that are under way, each with the store that it is for.
    pub(super) leases: Vec<(Uuid, Vec<SegmentId>)>,
    /// Segments that are in no object.
    pub(super) candidates: Vec<Candidate>,
    /// Committed objects that are in no manifest.
    pub(super) unlisted: Vec<(LeaseNumber, ArchiveObject)>,
    /// Committed objects that are in no manifest and in another store than that of now, whose segments can be archived
    /// anew.
    pub(super) left_behind: Vec<(LeaseNumber, ArchiveObject)>,
}

/// What is due at a node with this store.
pub(super) fn due(state: &State, asking: &Asking<'_>, store: Uuid) -> Due {
    let mut due = Due::default();
    if state.is_being_restored() {
        return due;
    }
    for (lease, object) in state.unlisted_objects() {
        match object.state {
            ObjectState::Leased if asking.is_mine(state, object) => {
                due.leases.push((object.store, object.members.clone()));
            }
            ObjectState::Committed(_) if object.store == store && asking.is_mine(state, object) => {
                due.unlisted.push((lease, object.clone()));
            }
            ObjectState::Committed(_)
                if object.store != store && state.is_left_behind(object) && asking.is_mine(state, object) =>
            {
                due.left_behind.push((lease, object.clone()));
            }
            ObjectState::Leased | ObjectState::Committed(_) | ObjectState::Doomed | ObjectState::Listed { .. } => {}
        }
    }
    for seal in state.unarchived() {
        if state.archive_of(seal.id).is_none() && asking.archiving_node(state, &seal) == Some(asking.own) {
            due.candidates.extend(candidate(&seal));
        }
    }
    due
}

fn candidate(seal: &SealRecord) -> Option<Candidate> {
    Some(Candidate {
        id: seal.id,
        bytes: seal.stats.stored_bytes,
        received_ns: seal.stats.received?.min,
        sealed_ns: seal.sealed_ns,
    })
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::setting::{ARCHIVE_STORES, ARCHIVE_URL};
    use gophership_catalogue::testkit::{
        accepted_loss, archive_commit, archive_doom, archive_lease, manifest_commit, node, open, register, seal_record,
        segment, up, uuid,
    };
    use gophership_catalogue::{Command, apply};
    use gophership_vault::NodeSet;

    use super::*;
    use crate::archive::tally::tally;

    fn apply_all(state: &mut State, commands: &[Command]) {
        for command in commands {
            apply(state, command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
    }

    fn id(index: u32) -> SegmentId {
        segment(3, 0, index)
    }

    /// Three nodes, and of node 3 the sealed segments 1 to 3, each with copies on all of them.
    fn ready() -> State {
        let mut state = State::default();
        for n in 1..=3 {
            apply_all(&mut state, &[register(n), up(n.into(), n)]);
        }
        let archive = Command::SetConfig {
            key: ARCHIVE_URL.to_owned(),
            value: Some("s3://logs".to_owned()),
            seen: None,
            at_ns: 1,
        };
        apply_all(&mut state, &[archive]);
        for index in 1..=3 {
            let seal = SealRecord {
                holders: NodeSet::from_nodes((1..=3).map(node)).unwrap(),
                ..seal_record(id(index), 1, 2)
            };
            apply_all(&mut state, &[open(id(index), 1), Command::Seal { seal }]);
        }
        state
    }

    /// What node `own` is to do where `dead` is: the leases' first segments, the segments, the objects to be listed.
    fn due_at(state: &State, own: u32, dead: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u64>) {
        let is_dead = |of: NodeId| dead.contains(&of.get());
        let asking = Asking {
            own: node(own),
            is_dead: &is_dead,
        };
        let due = due(state, &asking, uuid(9));
        let first = |members: &[SegmentId]| members[0].index.get();
        (
            due.leases.iter().map(|(_, members)| first(members)).collect(),
            due.candidates
                .iter()
                .map(|candidate| candidate.id.index.get())
                .collect(),
            due.unlisted.iter().map(|(lease, _)| *lease).collect(),
        )
    }

    const NOTHING: (Vec<u32>, Vec<u32>, Vec<u64>) = (Vec::new(), Vec::new(), Vec::new());

    #[test]
    fn i1_the_owner_archives_and_where_it_is_gone_one_other_holder() {
        let mut state = ready();
        assert_eq!(due_at(&state, 3, &[1, 2]), (vec![], vec![1, 2, 3], vec![]));
        assert_eq!(due_at(&state, 1, &[2]), NOTHING);
        assert_eq!(due_at(&state, 1, &[3]), (vec![], vec![1, 2, 3], vec![]));
        assert_eq!(due_at(&state, 2, &[3]), NOTHING, "node 1 does");
        assert_eq!(due_at(&state, 2, &[1, 3]), (vec![], vec![1, 2, 3], vec![]));
        // Nobody does where there is no archive.
        let none = Command::SetConfig {
            key: ARCHIVE_URL.to_owned(),
            value: Some("none".to_owned()),
            seen: None,
            at_ns: 2,
        };
        apply_all(&mut state, &[none]);
        assert_eq!(due_at(&state, 3, &[]), NOTHING);
    }

    #[test]
    fn a_segment_with_an_accepted_loss_is_still_archived_and_is_no_debt() {
        let mut state = ready();
        let loss = accepted_loss("op", 9, 1);
        let accepted = Command::AcceptCopyLoss {
            id: id(2),
            loss,
            asked: None,
        };
        apply_all(&mut state, &[accepted]);
        assert_eq!(due_at(&state, 3, &[]), (vec![], vec![1, 2, 3], vec![]));
        assert_eq!(tally(&state).debt_segments, 2);
    }

    #[test]
    fn i2_what_a_node_that_is_gone_has_begun_is_gone_on_with_by_one_other() {
        let mut state = ready();
        let leased = |index| archive_lease(3, 1, &[id(index)]);
        apply_all(
            &mut state,
            &[leased(1), leased(2), archive_commit(2, 1, 3, 1), leased(3)],
        );
        apply_all(&mut state, &[archive_commit(3, 1, 3, 1), manifest_commit(1, &[3])]);
        assert_eq!(due_at(&state, 3, &[]), (vec![1], vec![], vec![2]));
        assert_eq!(due_at(&state, 1, &[]), NOTHING);
        assert_eq!(due_at(&state, 1, &[3]), (vec![1], vec![], vec![2]));
        assert_eq!(due_at(&state, 2, &[3]), NOTHING);
        // A lease that has ended sets its segment free.
        apply_all(&mut state, &[archive_doom(1, 1, 3, 1, true)]);
        assert_eq!(due_at(&state, 3, &[]), (vec![], vec![1], vec![2]));
        // In another store, what was committed in this one is given up, by the same node that would list it.
        let set = |key: &str, value: String| Command::SetConfig {
            key: key.to_owned(),
            value: Some(value),
            seen: None,
            at_ns: 2,
        };
        let url = "s3://elsewhere";
        apply_all(&mut state, &[set(ARCHIVE_URL, url.to_owned())]);
        let left_behind = |state: &State, own: u32, is_owner_dead: bool| -> Vec<u64> {
            let is_dead = |of: NodeId| is_owner_dead && of == node(3);
            let asking = Asking {
                own: node(own),
                is_dead: &is_dead,
            };
            let due = due(state, &asking, uuid(8));
            assert_eq!(due.unlisted, []);
            due.left_behind.iter().map(|(lease, _)| *lease).collect()
        };
        assert_eq!(left_behind(&state, 3, false), [0; 0], "no node has opened that store");
        apply_all(&mut state, &[set(ARCHIVE_STORES, format!("{} {url}", uuid(8)))]);
        assert_eq!(left_behind(&state, 3, false), [2]);
        assert_eq!(left_behind(&state, 1, false), [0; 0]);
        assert_eq!(left_behind(&state, 1, true), [2]);
        assert_eq!(left_behind(&state, 2, true), [0; 0], "node 1 does");
    }
}

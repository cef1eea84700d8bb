//! Decides whether an operator may end a recovery without the reports that it needs, and whether an operator may accept
//! the loss of what no holder of a sealed segment can read.
//!
//! **Invariants**:
//! - I1: no loss is accepted while the recovery may still end by itself, since the owner of the segment or another
//!   report may still come. An owner that has reported, without an end of the recovery, can add nothing.
//! - I2: no loss of a sealed segment is accepted while a holder has a whole copy, or may have: a holder that did not
//!   answer may come back with one.

use std::collections::BTreeMap;

use gophership_vault::NodeSet;
use gophership_vault::ids::{EntryNumber, NodeId};
use gophership_vault::ledger::OpenRecord;

use super::recovery_end::Verdict;

/// The way in which a recovery may still end by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hope {
    /// The owner was not replaced and has not reported: it may come back with its WAL file.
    Owner(NodeId),
    /// These nodes were asked, and may still answer.
    Answers(NodeSet),
    /// These nodes are away, and may come back with their copies.
    Away(NodeSet),
    /// The recovery has the reports that it needs, and goes on.
    GoesOn,
}

/// What is left of a segment whose loss an operator may accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// The nodes whose reports are there.
    pub reports: NodeSet,
    /// The last entry that any of them has. What was acknowledged behind it is lost, and nobody knows how much that is.
    pub last: Option<EntryNumber>,
    /// The number of entries up to `last` that none of these nodes has.
    pub missing: u64,
}

/// Decides whether the loss of what a recovery waits for may be accepted. `verdict` is that on the reports so far,
/// which are those of the nodes `reported`. `alive` are the nodes that can be reached, and `replaced` those that were
/// replaced.
///
/// # Errors
/// The way in which the recovery may still end by itself.
pub fn may_accept_loss(
    open: &OpenRecord,
    verdict: &Verdict,
    reported: NodeSet,
    alive: NodeSet,
    replaced: NodeSet,
) -> Result<(), Hope> {
    let owner = open.id.node;
    if !replaced.contains(owner) && !reported.contains(owner) {
        return Err(Hope::Owner(owner));
    }
    let peers = open.replicas.peers();
    let away = peers
        .iter()
        .filter(|peer| !alive.contains(*peer) && !replaced.contains(*peer));
    let away = NodeSet::from_nodes(away).expect("they are some of a set's");
    match verdict {
        Verdict::Ends(_) => Err(Hope::GoesOn),
        Verdict::Waits(missing) if !missing.awaited.is_empty() => Err(Hope::Answers(missing.awaited)),
        // A peer that is away is waited for even if its report would not end the recovery. It may have what nobody else
        // has, or show which of two entries is right, and that would be gone: its copy is made anew once the segment is
        // sealed.
        Verdict::Waits(_) | Verdict::Contradicts(_) if !away.is_empty() => Err(Hope::Away(away)),
        Verdict::Waits(_) | Verdict::Contradicts(_) => Ok(()),
    }
}

/// A holder's copy of a sealed segment, once it was asked to read all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyState {
    /// All of it can be read.
    Whole,
    /// A part of it can be read.
    InPart,
    /// Nothing of it can be read.
    Unreadable,
    /// The holder did not say.
    Unknown,
}

/// Decides whether the loss of what no holder can read of a sealed segment may be accepted. `copies` are those of all
/// holders except the nodes that were replaced. Returns the nodes that have a part of the segment.
///
/// # Errors
/// A node that has a whole copy, or else one that may have.
pub fn may_accept_copy_loss(copies: &BTreeMap<NodeId, CopyState>) -> Result<NodeSet, NodeId> {
    let hope = |state: CopyState| copies.iter().find(|(_, of_node)| **of_node == state);
    if let Some((node, _)) = hope(CopyState::Whole).or_else(|| hope(CopyState::Unknown)) {
        return Err(*node);
    }
    let in_part = copies.iter().filter(|(_, copy)| **copy == CopyState::InPart);
    Ok(NodeSet::from_nodes(in_part.map(|(node, _)| *node)).expect("they are some of a set's"))
}

#[cfg(test)]
mod tests {
    use gophership_vault::{Conflict, SegmentEnd};

    use super::*;
    use crate::decide::recovery_end::Missing;
    use crate::testkit::{node, nodes, number, opened};

    #[test]
    fn i2_the_loss_of_copies_is_accepted_where_each_holder_says_that_it_has_not_all_of_it() {
        use CopyState::{InPart, Unknown, Unreadable, Whole};
        for (what, copies, expected) in [
            ("nobody is left", &[][..], Ok(nodes(&[]))),
            ("neither can be read", &[Unreadable, Unreadable], Ok(nodes(&[]))),
            ("one has a part", &[Unreadable, InPart], Ok(nodes(&[2]))),
            ("both have a part", &[InPart, InPart], Ok(nodes(&[1, 2]))),
            ("one is away", &[Unreadable, Unknown], Err(node(2))),
            ("one has all of it", &[InPart, Whole], Err(node(2))),
            ("one is away and one has all", &[Unknown, Whole], Err(node(2))),
        ] {
            let copies = (1..).map(node).zip(copies.iter().copied()).collect();
            assert_eq!(may_accept_copy_loss(&copies), expected, "{what}");
        }
    }

    #[test]
    fn i1_a_loss_is_accepted_where_nothing_else_ends_the_recovery() {
        let waits = |reports, awaited: &[u32]| {
            let awaited = nodes(awaited);
            Verdict::Waits(Missing { awaited, reports })
        };
        let contradicts = Verdict::Contradicts(Conflict {
            number: number(4),
            holders: [node(2), node(3)],
        });
        let ends = Verdict::Ends(SegmentEnd::default());
        let owner = Err(Hope::Owner(node(1)));
        let away = |of: &[u32]| Err(Hope::Away(nodes(of)));
        for (what, verdict, alive, replaced, expected) in [
            (
                "the owner is only away",
                waits(1, &[]),
                &[2, 3][..],
                &[][..],
                owner.clone(),
            ),
            (
                "and two contradict each other",
                contradicts.clone(),
                &[2, 3],
                &[],
                owner,
            ),
            (
                "one may still answer",
                waits(1, &[3]),
                &[2, 3],
                &[1],
                Err(Hope::Answers(nodes(&[3]))),
            ),
            ("one is away", waits(1, &[]), &[2], &[1], away(&[3])),
            ("both are away", waits(2, &[]), &[], &[1], away(&[2, 3])),
            ("one of two is away", waits(2, &[]), &[2], &[1], away(&[3])),
            ("a copy is damaged", waits(1, &[]), &[2, 3], &[1], Ok(())),
            ("a peer was replaced", waits(1, &[]), &[2], &[1, 3], Ok(())),
            ("all were replaced", waits(2, &[]), &[], &[1, 2, 3], Ok(())),
            ("two contradict each other", contradicts.clone(), &[2, 3], &[1], Ok(())),
            ("and one of them is away", contradicts, &[2], &[1], away(&[3])),
            ("it is decided", ends, &[2, 3], &[1], Err(Hope::GoesOn)),
        ] {
            let (open, replaced) = (opened(1, &[2, 3]), nodes(replaced));
            let may = may_accept_loss(&open, &verdict, NodeSet::EMPTY, nodes(alive), replaced);
            assert_eq!(may, expected, "{what}");
            // An owner that has reported counts like one that was replaced.
            let gone = replaced.with(node(1)).unwrap();
            let reported = may_accept_loss(&open, &verdict, NodeSet::of(node(1)), nodes(alive), replaced);
            let replaced = may_accept_loss(&open, &verdict, NodeSet::EMPTY, nodes(alive), gone);
            assert_eq!(reported, replaced, "{what}, and its owner has reported");
        }
    }
}

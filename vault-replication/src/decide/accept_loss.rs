//! Decides whether an operator may have a recovery end without the reports that it needs.
//!
//! **Invariants**:
//! - I1: no loss is accepted while the recovery may still end by itself: its owner can come back, or enough reports
//!   can.

use gophership_vault::NodeSet;
use gophership_vault::ids::{EntryNumber, NodeId};
use gophership_vault::ledger::OpenRecord;

use super::recovery_end::Verdict;

/// The way in which a recovery may still end by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hope {
    /// The owner was not replaced, and may come back with its file.
    Owner(NodeId),
    /// These nodes were asked, and may still answer.
    Answers(NodeSet),
    /// These nodes are away, and may come back with their copies.
    Away(NodeSet),
    /// It does not wait for reports.
    GoesOn,
}

/// What is left of a segment whose loss an operator may accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// The nodes whose reports are there.
    pub reports: NodeSet,
    /// The last entry that any of them has. What was acknowledged behind it is lost, and nobody knows how much that is.
    pub last: Option<EntryNumber>,
    /// The number of entries up to there that none of them has.
    pub missing: u64,
}

/// Decides by the verdict on the reports so far. `alive` are the nodes that can be reached, and `replaced` those whose
/// disk is gone for good.
///
/// # Errors
/// The way in which it may still end by itself.
pub fn may_accept_loss(open: &OpenRecord, verdict: &Verdict, alive: NodeSet, replaced: NodeSet) -> Result<(), Hope> {
    if !replaced.contains(open.id.node) {
        return Err(Hope::Owner(open.id.node));
    }
    let peers = open.replicas.peers();
    let away = peers
        .iter()
        .filter(|peer| !alive.contains(*peer) && !replaced.contains(*peer));
    let away = NodeSet::from_nodes(away).expect("they are some of a set's");
    match verdict {
        Verdict::Ends(_) => Err(Hope::GoesOn),
        Verdict::Waits(missing) if !missing.awaited.is_empty() => Err(Hope::Answers(missing.awaited)),
        // Also where its report would not do: it may have what nobody else has, or say which of two entries is right,
        // and its copy is made anew once the segment is sealed.
        Verdict::Waits(_) | Verdict::Contradicts(_) if !away.is_empty() => Err(Hope::Away(away)),
        Verdict::Waits(_) | Verdict::Contradicts(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::{Conflict, SegmentEnd};

    use super::*;
    use crate::decide::recovery_end::Missing;
    use crate::testkit::{node, nodes, number, opened};

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
            let may = may_accept_loss(&opened(1, &[2, 3]), &verdict, nodes(alive), nodes(replaced));
            assert_eq!(may, expected, "{what}");
        }
    }
}

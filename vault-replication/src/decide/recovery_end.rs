//! Decides whether the reports on a segment suffice, and where it ends by them.
//!
//! **Invariants**:
//! - I1: nothing is decided unless the reports have every entry that can have been acknowledged: that of the owner's
//!   WAL file alone, or those of so many replicas that one of each set of holders on which an acknowledgement can rest
//!   is among them.
//! - I2: a report that is damaged or doubtful, or of another file, is never one of those that are needed; what it has
//!   is kept all the same.
//! - I3: nothing is decided while one who may have more can still answer.
//! - I4: of a loss that an operator accepted, nothing that a report has is lost but one of two entries of one
//!   number.

use std::collections::BTreeMap;

use gophership_vault::ids::{EntryNumber, NodeId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{Conflict, Durable, HeldReport, NodeSet, SegmentEnd, segment_end};

use super::owner_return::suffices;

/// The outcome of the reports so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The segment ends here.
    Ends(SegmentEnd),
    /// More reports are needed.
    Waits(Missing),
    /// Two holders contradict each other; an operator must look.
    Contradicts(Conflict),
}

/// The reports that a recovery waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Nodes that were asked and may still answer.
    pub awaited: NodeSet,
    /// The number of further complete reports of replicas that would do; the owner's WAL file would do as well. 0 while
    /// it waits only for nodes that may still answer.
    pub reports: usize,
}

/// Decides by the reports of the owner and of the replicas of the segment. `awaited` are those of them who were asked
/// and may still answer.
pub fn recovery_end(open: &OpenRecord, reports: &[HeldReport], awaited: NodeSet) -> Verdict {
    match enough(open, reports, awaited) {
        Some(missing) => Verdict::Waits(missing),
        None => united(open, reports.to_vec()),
    }
}

/// Decides as [`recovery_end`] does, where an operator accepted the loss: the reports of `suffice` do, whatever was
/// damaged, and of two entries of one number that of the better copy counts.
pub fn end_with_loss(open: &OpenRecord, reports: &[HeldReport], awaited: NodeSet, suffice: NodeSet) -> Verdict {
    let has_reported = |node| reports.iter().any(|report| report.holder == node);
    let silent = suffice.iter().filter(|node| !has_reported(*node)).count();
    if let Some(missing) = enough(open, reports, awaited) {
        let reports = missing.reports.min(silent);
        if reports > 0 || !awaited.is_empty() {
            return Verdict::Waits(Missing { awaited, reports });
        }
    }
    let mut reports = reports.to_vec();
    reports.sort_by_key(|report| (report.is_damaged || report.is_doubtful, report.holder));
    let mut first = BTreeMap::new();
    for report in reports
        .iter_mut()
        .filter(|report| report.file_uuid == Some(open.file_uuid))
    {
        let all = report.entries.ranges().iter().flat_map(|range| {
            let numbers = (range.first.get()..).filter_map(EntryNumber::new);
            numbers.zip(range.crcs.iter().copied())
        });
        let agreed = all.filter(|(number, crc)| *first.entry(*number).or_insert(*crc) == *crc);
        report.entries = agreed.collect();
    }
    united(open, reports)
}

/// The reports that are missing; `None` where nothing is.
fn enough(open: &OpenRecord, reports: &[HeldReport], awaited: NodeSet) -> Option<Missing> {
    let peers = open.replicas.peers();
    let is_of_file = |report: &&HeldReport| report.file_uuid == Some(open.file_uuid);
    let of_peers = || reports.iter().filter(|report| peers.contains(report.holder));
    let of_file = || of_peers().filter(is_of_file);
    let recorded = of_file().fold(Durable::default(), |all, report| all.and(&report.durable));
    let last = of_file().filter_map(HeldReport::last).max();
    let owner = reports.iter().find(|report| report.holder == open.id.node);
    let has_all_to = |to: EntryNumber| has_all(owner.into_iter().chain(of_file()), to);
    let owner_suffices = owner.is_some_and(|owner| suffices(open, owner, recorded, last, has_all_to));
    let whole = of_peers()
        .filter(|report| !report.is_damaged && !report.is_doubtful)
        .filter(|report| report.file_uuid.is_none_or(|file| file == open.file_uuid))
        .count();
    // So many that those who are missing, with the owner, are fewer than an acknowledgement needs.
    let needed = peers.len() + 2 - open.replicas.ack_copies();
    let reports_missing = if owner_suffices {
        0
    } else {
        needed.saturating_sub(whole)
    };
    (reports_missing > 0 || !awaited.is_empty()).then_some(Missing {
        awaited,
        reports: reports_missing,
    })
}

/// True where these reports together have every entry up to `to`.
fn has_all<'a>(reports: impl Iterator<Item = &'a HeldReport>, to: EntryNumber) -> bool {
    let ranges = reports.flat_map(|report| report.entries.ranges());
    let mut ranges: Vec<(u32, u32)> = ranges.map(|range| (range.first.get(), range.last.get())).collect();
    ranges.sort_unstable();
    let reached = ranges.iter().fold(0, |reached: u32, (first, last)| {
        if *first <= reached.saturating_add(1) {
            reached.max(*last)
        } else {
            reached
        }
    });
    reached >= to.get()
}

/// The end by the union of these reports.
fn united(open: &OpenRecord, mut reports: Vec<HeldReport>) -> Verdict {
    reports.retain(|report| report.file_uuid == Some(open.file_uuid));
    // The owner's file comes first: entries that several have are taken from there, without a copy.
    reports.sort_by_key(|report| (report.holder != open.id.node, report.holder));
    if reports.first().is_none_or(|first| first.holder != open.id.node) {
        forget_what_only_the_owner_had(&mut reports);
    }
    match segment_end(&reports) {
        Ok(end) => Verdict::Ends(end),
        Err(conflict) => Verdict::Contradicts(conflict),
    }
}

/// Removes from the reports the mark of an absent owner beyond the entries that replicas have: those were never
/// acknowledged, and are no loss.
fn forget_what_only_the_owner_had(reports: &mut [HeldReport]) {
    let last: Option<EntryNumber> = reports.iter().filter_map(HeldReport::last).max();
    for report in reports {
        let Durable { to, all, .. } = report.durable;
        report.durable = Durable {
            // Where all of it was synced, so was what replicas have, and what is missing before that.
            to: if all { last } else { to.min(last) },
            ..Durable::default()
        };
    }
}

/// The nodes that a recovery asks: the owner and the replicas.
pub fn holders_to_ask(open: &OpenRecord) -> impl Iterator<Item = NodeId> + use<> {
    let peers = open.replicas.peers();
    let asked: Vec<NodeId> = std::iter::once(open.id.node).chain(peers.iter()).collect();
    asked.into_iter()
}

#[cfg(test)]
mod tests;

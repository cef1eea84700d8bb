//! A recovery of the model decides as the product does, by any possible reports.

use gophership_vault::ids::{EntryNumber, Epoch, FileUuid, SegmentId, ShardId};
use gophership_vault::ledger::OpenRecord;
use gophership_vault::{Entries, HeldReport, NodeSet, SegmentEnd};
use gophership_vault_replication::decide::recovery_end::{Verdict, recovery_end};
use uuid::Uuid;

use super::Model;
use super::acks::{OWNER_ID, index, peer, replica_sets};
use super::bounds::Bounds;
use super::content::{Content, Nodes, OWNER, REPLICAS};
use super::rules::Rules;
use super::state::Recovery;

const FILE: FileUuid = FileUuid(Uuid::from_u128(7));

fn number(n: u8) -> EntryNumber {
    EntryNumber::new(u32::from(n)).unwrap()
}

/// The product's form of a report. The CRC of an entry tells its number and who wrote it.
fn report(node: usize, content: Content) -> HeldReport {
    let present = (1..=content.end()).filter(|n| content.writer(*n) != 0);
    let entries: Entries = present
        .map(|n| (number(n), u32::from(n) * 10 + u32::from(content.writer(n))))
        .collect();
    let holder = if node == OWNER { OWNER_ID } else { peer(node) };
    let holds_something = node == OWNER || content != Content::EMPTY;
    HeldReport {
        file_uuid: holds_something.then_some(FILE),
        entries,
        ..HeldReport::nothing(holder)
    }
}

/// The model's form of an end.
fn content(end: &SegmentEnd, recovery: &Recovery) -> Content {
    let mut all = Content::EMPTY;
    for kept in &end.keep {
        let place = (0..REPLICAS).find(|r| peer(*r) == kept.holder).unwrap_or(OWNER);
        for n in kept.first.get()..=kept.last.get() {
            all = all.with(n as u8, recovery.reports[place].unwrap().writer(n as u8));
        }
    }
    all
}

/// Every report of two entries, which two epochs may have written, and the lack of one.
fn every_report() -> Vec<Option<Content>> {
    let entry = |content: Content, number, writer| match writer {
        0 => content,
        writer => content.with(number, writer),
    };
    let pairs = (0..3).flat_map(|first| (0..3).map(move |second| (first, second)));
    let contents = pairs.map(|(first, second)| Some(entry(entry(Content::EMPTY, 1, first), 2, second)));
    contents.chain([None]).collect()
}

#[test]
fn the_model_decides_as_the_product_does() {
    let model = Model::new(Bounds::SMALL, Rules::WHOLE);
    let (mut decided, mut undecided) = (0, 0);
    for set in [Nodes::replicas(&[1]), Nodes::replicas(&[2, 3])] {
        let open = OpenRecord {
            id: SegmentId {
                node: OWNER_ID,
                shard: ShardId::new(0),
                index: index(0),
            },
            epoch: Epoch::FIRST,
            file_uuid: FILE,
            replicas: replica_sets(2)[set.bits()],
        };
        let members: Vec<usize> = set.peers().chain([OWNER]).collect();
        let choices = every_report();
        for mut combination in 0..choices.len().pow(members.len() as u32) {
            let mut recovery = Recovery::default();
            for node in &members {
                recovery.reports[*node] = choices[combination % choices.len()];
                combination /= choices.len();
            }
            let reported = members
                .iter()
                .filter_map(|node| Some((*node, recovery.reports[*node]?)));
            let reports: Vec<HeldReport> = reported.map(|(node, content)| report(node, content)).collect();
            let by_product = match recovery_end(&open, &reports, NodeSet::EMPTY) {
                Verdict::Ends(end) => Some(content(&end, &recovery)),
                Verdict::Waits(_) | Verdict::Contradicts(_) => None,
            };
            assert_eq!(model.decide(set, &recovery), by_product, "{reports:?}");
            match by_product {
                Some(_) => decided += 1,
                None => undecided += 1,
            }
        }
    }
    assert!(decided > 100 && undecided > 100, "{decided} {undecided}");
}

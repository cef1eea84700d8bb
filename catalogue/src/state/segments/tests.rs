use gophership_vault::NodeSet;
use gophership_vault::ids::{Epoch, LogId, Lsn, NodeId, ShardId};
use gophership_vault::ledger::{FormerSegment, SegmentStats, TrimReason};
use gophership_vault::limits::SET_NODES_MAX;
use gophership_vault::time::TimeRange;
use proptest::prelude::*;

use super::*;
use crate::testkit::{open_record, seal_record, segment};

/// A number of any size, small ones as often as large ones.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

fn any_range() -> impl Strategy<Value = Option<TimeRange>> {
    prop::option::of((number(), number()).prop_map(|(min, max)| TimeRange { min, max }))
}

/// A position, mostly in the segment of this index.
fn position(index: u32) -> impl Strategy<Value = Option<Lsn>> {
    let within = (1..=u32::MAX).prop_map(move |number| Lsn::from_u64(u64::from(index) << 32 | u64::from(number)));
    prop_oneof![3 => within, 1 => any::<u64>().prop_map(Lsn::from_u64), 1 => Just(None)]
}

fn any_id() -> impl Strategy<Value = SegmentId> {
    let index = prop_oneof![9 => 1..100u32, 1 => u32::MAX - 40..=u32::MAX];
    (1..3u32, 0..2u16, index).prop_map(|(node, shard, index)| segment(node, shard, index))
}

fn sealed(id: SegmentId) -> impl Strategy<Value = SealRecord> {
    let counts = (number(), number(), number(), number(), number(), number());
    let lsns = (position(id.index.get()), position(id.index.get()));
    let holders = prop::collection::vec((1..=u32::MAX).prop_filter_map("a node", NodeId::new), 0..=SET_NODES_MAX);
    let times = (number(), any_range(), any_range());
    let rest = (1..=u64::MAX, any::<[u8; 32]>(), holders);
    (counts, lsns, times, rest).prop_map(
        move |(counts, (first_lsn, last_lsn), (sealed_ns, received, event), (epoch, digest, holders))| SealRecord {
            id,
            epoch: Epoch::new(epoch).unwrap(),
            stats: SegmentStats {
                entries: counts.0,
                records: counts.1,
                set_apart: counts.2,
                deferred: counts.3,
                payload_bytes: counts.4,
                stored_bytes: counts.5,
                first_lsn,
                last_lsn,
                received,
                event,
            },
            digest,
            sealed_ns,
            holders: NodeSet::from_nodes(holders).unwrap(),
        },
    )
}

/// What is put under an id: mostly a seal; `None` removes it.
fn put() -> impl Strategy<Value = (SegmentId, Option<SegmentRecord>)> {
    any_id().prop_flat_map(|id| {
        let open = open_record(id, 1);
        let other = prop::sample::select(vec![
            SegmentRecord::Open { open, opened_ns: 7 },
            SegmentRecord::Trimmed {
                id,
                why: TrimReason::Retention,
            },
            SegmentRecord::Lost {
                was: FormerSegment::Sealed(seal_record(id, 1, 3)),
                lost_ns: 9,
            },
        ]);
        let record = prop_oneof![
            6 => sealed(id).prop_map(|seal| Some(SegmentRecord::Sealed(seal))),
            2 => other.prop_map(Some),
            2 => Just(None),
        ];
        (Just(id), record)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i1_a_record_is_unpacked_as_it_was_packed(seal in any_id().prop_flat_map(sealed)) {
        let bytes = pack(&seal);
        prop_assert!(bytes.len() <= PACKED_BYTES_MAX);
        prop_assert_eq!(sealed_ns(&bytes), seal.sealed_ns);
        prop_assert_eq!(unpack(seal.id, &bytes), seal);
    }

    #[test]
    fn the_table_is_that_of_a_plain_map(
        puts in prop::collection::vec(put(), 0..150),
        ranges in prop::collection::vec((any_id(), any_id()), 8),
    ) {
        let (mut table, mut model) = (SegmentTable::default(), BTreeMap::new());
        for (id, record) in puts {
            let before = match record {
                Some(record) => model.insert(id, record),
                None => model.remove(&id),
            };
            prop_assert_eq!(table.put(id, record), before);
            prop_assert_eq!(table.get(id), record);
        }
        prop_assert!(table.iter().eq(model.values().copied()));
        let is_sealed = |record: &&SegmentRecord| matches!(record, SegmentRecord::Sealed(_));
        prop_assert!(table.not_sealed().eq(model.values().filter(|record| !is_sealed(record))));
        for (from, to) in ranges {
            let (from, to) = (from.min(to), from.max(to));
            prop_assert!(table.range(from, to).eq(model.range(from..=to).map(|(_, record)| *record)));
        }
        for (node, shard) in [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)] {
            let log = LogId { node: NodeId::new(node).unwrap(), shard: ShardId::new(shard) };
            let newest = model.values().filter_map(|record| match record {
                SegmentRecord::Sealed(seal) if seal.id.log() == log => Some(seal.sealed_ns),
                _ => None,
            });
            prop_assert_eq!(table.newest_seal_ns(log), newest.max());
        }
        // Whatever the table was before.
        let mut anew = SegmentTable::default();
        for (id, record) in model.iter().rev() {
            anew.put(*id, Some(*record));
        }
        prop_assert!(anew == table);
    }
}

#[test]
fn a_record_of_a_usual_segment_takes_less_than_half_of_what_it_takes_unpacked() {
    let now = 1_760_000_000_000_000_000;
    let seal = seal_record(segment(3, 1, 70_000), 12, 120_000);
    let range = TimeRange {
        min: now - 90_000_000_000,
        max: now - 1_000_000,
    };
    let stats = SegmentStats {
        received: Some(range),
        event: Some(range),
        ..seal.stats
    };
    let holders = NodeSet::from_nodes((1..=3).filter_map(NodeId::new)).unwrap();
    let seal = SealRecord {
        stats,
        sealed_ns: now,
        holders,
        ..seal
    };
    let (packed, plain) = (pack(&seal).len(), size_of::<SegmentRecord>());
    assert!(packed * 2 < plain, "{packed} of {plain}");
}

use super::*;
use crate::entry::{Encoding, EntryState};
use crate::ids::{ShardId, TenantId};

fn lsn(index: u32, number: u32) -> Lsn {
    Lsn::at(SegmentIndex::new(index).unwrap(), EntryNumber::new(number).unwrap())
}

/// Asserts the order of entries: a cursor that reads from 2:3 to 2:9 gives these.
fn give(lsns: &[(u32, u32)]) {
    let dir = tempfile::tempdir().unwrap();
    let parts = CursorParts {
        data: dir.path().to_path_buf(),
        node: NodeId::FIRST,
        holdings: Arc::new(Holdings::default()),
        quarantine: Arc::new(Quarantine::open(dir.path()).unwrap()),
    };
    let log = LogId {
        node: NodeId::FIRST,
        shard: ShardId::new(0),
    };
    let mut cursor = ShardCursor::new(parts, log, Some(lsn(2, 3)), Some(lsn(2, 9)), TimeRange::ALL);
    let meta = EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: 1,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    };
    for (index, number) in lsns {
        assert!(cursor.entry(lsn(*index, *number), meta, Vec::new()).is_some());
    }
}

#[test]
#[should_panic(expected = "a cursor at 2:5 that goes to 2:9 must not give 2:4")]
fn i1_an_entry_that_comes_twice_is_a_bug() {
    give(&[(2, 3), (2, 4), (2, 4)]);
}

#[test]
#[should_panic(expected = "a cursor at 2:3 that goes to 2:9 must not give 3:1")]
fn i1_an_entry_of_a_segment_that_was_not_looked_up_is_a_bug() {
    give(&[(3, 1)]);
}

#[test]
#[should_panic(expected = "a cursor at 2:3 that goes to 2:9 must not give 2:10")]
fn i2_an_entry_past_the_limit_is_a_bug() {
    give(&[(2, 10)]);
}

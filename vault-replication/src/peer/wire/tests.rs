use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::Lsn;
use gophership_vault::ledger::SegmentStats;
use gophership_vault::time::TimeRange;
use gophership_vault::{CompleteCopy, Durable, HeldRange, HeldReport, Hole, HoleReason, SegmentEnd, StoredEntry};
use proptest::prelude::*;
use prost::Message;

use super::end::{EndReader, copy_from_wire, copy_to_wire, end_to_wire};
use super::entries::{EntryReader, entry_to_wire};
use super::report::{ReportReader, report_to_wire};
use super::tail::{SentFrame, TailMessage, answer_from_wire, answer_to_wire};
use super::*;
use crate::peer::limits::{END_RANGES_MAX, FETCH_PART_ENTRIES, REPORT_PART_ENTRIES, SEGMENT_ENTRIES_MAX};
use crate::tail::{Held, StreamId, TailAnswer, TailRefusal};
use crate::testkit::{node as node_of, number as number_of, report};

fn numbers() -> impl Strategy<Value = EntryNumber> {
    prop_oneof![1..5u32, Just(u32::MAX), 1..=u32::MAX].prop_map(number_of)
}

fn ids() -> impl Strategy<Value = SegmentId> {
    (1..=u32::MAX, any::<u16>(), 1..=u32::MAX).prop_map(|(node, shard, index)| SegmentId {
        node: node_of(node),
        shard: ShardId::new(shard),
        index: SegmentIndex::new(index).unwrap(),
    })
}

fn headers() -> impl Strategy<Value = SegmentHeader> {
    let tenants = prop::collection::vec((any::<u32>(), "[a-zö]{0,40}"), 1..4);
    let ids = (ids(), 1..=u64::MAX, any::<u128>(), any::<u128>(), any::<u64>());
    (ids, tenants).prop_map(|((id, epoch, file, cluster, created_ns), tenants)| SegmentHeader {
        id,
        epoch: Epoch::new(epoch).unwrap(),
        file_uuid: FileUuid(Uuid::from_u128(file)),
        cluster_id: ClusterId(Uuid::from_u128(cluster)),
        created_ns,
        tenants: tenants
            .into_iter()
            .map(|(id, name)| Tenant {
                id: TenantId::new(id),
                name,
            })
            .collect(),
    })
}

fn messages() -> impl Strategy<Value = TailMessage> {
    let begin = (1..=u64::MAX, any::<u64>(), headers());
    let begin = begin.prop_map(|(epoch, stream, header)| {
        TailMessage::Begin(StreamId::new(Epoch::new(epoch).unwrap(), stream), header)
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..50);
    let frame = (ids(), 1..=u64::MAX, 0..u32::MAX, numbers(), any::<u32>(), bytes);
    let frame = frame.prop_map(|(id, epoch, frame_no, last, crc, bytes)| {
        TailMessage::Frame(SentFrame {
            id,
            epoch: Epoch::new(epoch).unwrap(),
            frame_no,
            last_lsn: Lsn::at(id.index, last),
            crc,
            bytes: bytes.into(),
        })
    });
    let complete = (ids(), any::<[u8; 32]>()).prop_map(|(id, digest)| TailMessage::Complete(id, digest));
    let leave = ids().prop_map(TailMessage::Leave);
    prop_oneof![begin, frame, complete, leave]
}

fn answers() -> impl Strategy<Value = TailAnswer> {
    let held = (numbers(), 1..=u32::MAX).prop_map(|(last, frames)| Held { last, frames });
    prop_oneof![
        prop::option::of(held).prop_map(TailAnswer::Has),
        numbers().prop_map(TailAnswer::Synced),
        any::<[u8; 32]>().prop_map(TailAnswer::Completed),
        Just(TailAnswer::Refused(TailRefusal::Fenced)),
        Just(TailAnswer::Refused(TailRefusal::Differs)),
        Just(TailAnswer::Refused(TailRefusal::Failed)),
    ]
}

fn reports() -> impl Strategy<Value = HeldReport> {
    let marks = prop::array::uniform3(prop::option::of(numbers()));
    let entries = prop::collection::btree_map(1..40u32, any::<u32>(), 0..30);
    (marks, entries, any::<[bool; 3]>()).prop_map(|([to, end, unread], entries, [all, is_damaged, is_doubtful])| {
        HeldReport {
            entries: entries.into_iter().map(|(n, crc)| (number_of(n), crc)).collect(),
            durable: Durable { to, all, end },
            unread,
            is_damaged,
            is_doubtful,
            ..report(3, &[], 0)
        }
    })
}

/// Ranges from the first number on without a gap, each kept or a hole.
fn ends() -> impl Strategy<Value = SegmentEnd> {
    prop::collection::vec((1..100u32, 1..4u32, 0..3u32), 0..30).prop_map(|ranges| {
        let (mut end, mut next) = (SegmentEnd::default(), 1);
        for (len, holder, kind) in ranges {
            let (first, last) = (number_of(next), number_of(next + len - 1));
            next += len;
            let reason = match kind {
                0 => HoleReason::Quarantined,
                1 => HoleReason::UnsyncedTail,
                _ => {
                    let holder = node_of(holder);
                    end.keep.push(HeldRange {
                        first,
                        last,
                        holder,
                        crc: !len,
                    });
                    continue;
                }
            };
            end.holes.push(Hole { first, last, reason });
        }
        end
    })
}

fn times() -> impl Strategy<Value = Option<TimeRange>> {
    let range = (any::<u32>(), any::<u32>()).prop_map(|(min, more)| TimeRange {
        min: min.into(),
        max: u64::from(min) + u64::from(more),
    });
    prop::option::of(range)
}

fn copies() -> impl Strategy<Value = CompleteCopy> {
    let lsns = prop::array::uniform2(prop::option::of((1..9u32, numbers())));
    let of = (any::<[u64; 6]>(), lsns, times(), times(), any::<[u8; 32]>());
    of.prop_map(|(of, [first, last], received, event, digest)| {
        let lsn = |at: Option<(u32, EntryNumber)>| at.map(|(i, n)| Lsn::at(SegmentIndex::new(i).unwrap(), n));
        CompleteCopy {
            stats: SegmentStats {
                entries: of[0],
                records: of[1],
                set_apart: of[2],
                deferred: of[3],
                payload_bytes: of[4],
                stored_bytes: of[5],
                first_lsn: lsn(first),
                last_lsn: lsn(last),
                received,
                event,
            },
            digest,
        }
    })
}

fn entries(id: SegmentId, numbers: std::ops::RangeInclusive<u32>) -> Vec<StoredEntry> {
    let entry = |n: u32| StoredEntry {
        node: id.node,
        shard: id.shard,
        lsn: Lsn::at(id.index, number_of(n)),
        meta: EntryMeta {
            received_ns: u64::MAX - u64::from(n),
            min_event_ns: 1,
            max_event_ns: 2,
            record_count: n,
            tenant: TenantId::new(n),
            encoding: if n.is_multiple_of(2) {
                Encoding::Zstd
            } else {
                Encoding::Identity
            },
            state: if n.is_multiple_of(2) {
                EntryState::DEFERRED
            } else {
                EntryState::NOT_UTF8
            },
        },
        payload: vec![n as u8; n as usize % 100],
    };
    numbers.map(entry).collect()
}

fn read_report(parts: Vec<v1::ReportPart>) -> Wire<HeldReport> {
    let mut parts = parts.into_iter();
    let mut reader = ReportReader::begin(required("a head", parts.next())?, node_of(3))?;
    parts.try_for_each(|part| reader.add(part))?;
    reader.end()
}

fn read_end(parts: Vec<v1::RebuildPart>) -> Wire<(SegmentHeader, u64, SegmentEnd)> {
    let mut parts = parts.into_iter();
    let mut reader = EndReader::begin(required("a head", parts.next())?)?;
    parts.try_for_each(|part| reader.add(part))?;
    reader.end()
}

/// The message with some of its bytes changed, if it can still be decoded.
fn damaged<T: Message + Default>(message: &T, changes: &[(usize, u8)]) -> Option<T> {
    let mut bytes = message.encode_to_vec();
    for (at, with) in changes {
        let len = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % len) {
            *byte ^= with;
        }
    }
    T::decode(&bytes[..]).ok()
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((any::<usize>(), 1..=u8::MAX), 1..4)
}

proptest! {
    #[test]
    fn i3_what_is_written_and_read_is_the_same(
        message in messages(), answer in answers(), id in ids(), report in reports(), end in ends(),
        header in headers(), number in any::<u64>(), copy in copies(),
    ) {
        prop_assert_eq!(TailMessage::from_wire(message.to_wire()), Ok(message));
        prop_assert_eq!(answer_from_wire(answer_to_wire(id, answer)), Ok((id, answer)));
        prop_assert_eq!(read_report(report_to_wire(report.clone()).collect()), Ok(report));
        let parts = end_to_wire(&header, number, end.clone()).unwrap().collect();
        prop_assert_eq!(read_end(parts), Ok((header, number, end)));
        prop_assert_eq!(copy_from_wire(copy_to_wire(&copy)), Ok(copy));
    }

    #[test]
    fn i1_what_was_damaged_on_its_way_is_a_value_or_an_error(
        message in messages(), answer in answers(), id in ids(), report in reports(), end in ends(),
        header in headers(), copy in copies(), changes in changes(),
    ) {
        if let Some(damaged) = damaged(&message.to_wire(), &changes)
            && let Ok(read) = TailMessage::from_wire(damaged)
        {
            prop_assert_eq!(TailMessage::from_wire(read.to_wire()), Ok(read));
        }
        if let Some(damaged) = damaged(&answer_to_wire(id, answer), &changes) {
            let _either = answer_from_wire(damaged);
        }
        let parts = report_to_wire(report).map(|part| damaged(&part, &changes).unwrap_or(part));
        let _either = read_report(parts.collect());
        let parts = end_to_wire(&header, 1, end).unwrap().map(|part| damaged(&part, &changes).unwrap_or(part));
        let _either = read_end(parts.collect());
        if let Some(damaged) = damaged(&copy_to_wire(&copy), &changes) {
            let _either = copy_from_wire(damaged);
        }
    }
}

#[test]
fn i3_a_long_report_goes_in_parts_and_a_part_that_is_missing_twice_or_elsewhere_is_an_error() {
    let mut report = report(3, &[], 0);
    let count = REPORT_PART_ENTRIES as u32 * 2 + 10;
    report.entries = (5..5 + count).map(|n| (number_of(n), !n)).collect();
    let parts: Vec<_> = report_to_wire(report.clone()).collect();
    assert_eq!(parts.len(), 4, "a head and three parts of one run");
    assert_eq!(read_report(parts.clone()), Ok(report));
    for odd in [
        vec![],
        vec![0],
        vec![1, 0, 2, 3],
        vec![0, 1, 2],
        vec![0, 1, 1, 2],
        vec![0, 0, 1, 2, 3],
        vec![0, 2, 1, 3],
        vec![0, 1, 2, 3, 3],
    ] {
        let parts = odd.iter().map(|at| parts[*at].clone()).collect();
        assert!(read_report(parts).is_err(), "{odd:?}");
    }
}

#[test]
fn i1_i2_odd_reports_are_refused() {
    let part = |part| v1::ReportPart { part: Some(part) };
    let head = |change: fn(&mut v1::ReportHead)| {
        let mut parts: Vec<_> = report_to_wire(report(3, &[1, 2], 2)).collect();
        if let Some(v1::report_part::Part::Head(head)) = &mut parts[0].part {
            change(head);
        }
        read_report(parts)
    };
    assert!(head(|_| {}).is_ok());
    assert_eq!(head(|h| h.holder = 2), Err(WireError::Other("a report's holder")));
    assert!(matches!(
        head(|h| h.entries = SEGMENT_ENTRIES_MAX + 1),
        Err(WireError::TooLarge { .. })
    ));
    assert!(matches!(
        head(|h| h.file_uuid.truncate(15)),
        Err(WireError::Value { .. })
    ));
    assert!(matches!(head(|h| h.file_uuid.clear()), Err(WireError::Missing(_))));
    assert!(matches!(head(|h| h.entries = 1), Err(WireError::TooLarge { .. })));
    assert!(matches!(head(|h| h.entries = 3), Err(WireError::Disorder(_))));
    let run = |first: u32, crcs: &'static [u8]| {
        let mut parts: Vec<_> = report_to_wire(report(3, &[1, 2], 2)).take(1).collect();
        let crcs = crcs.into();
        parts.push(part(v1::report_part::Part::Run(v1::ReportRun { first, crcs })));
        read_report(parts)
    };
    assert!(run(1, &[0; 8]).is_ok());
    assert!(run(u32::MAX - 1, &[0; 8]).is_ok());
    for (first, crcs) in [(0, &[0; 8][..]), (u32::MAX, &[0; 8]), (1, &[0; 7]), (1, &[])] {
        assert!(run(first, crcs).is_err(), "{first} {crcs:?}");
    }
}

#[test]
fn i1_i2_an_end_that_leaves_a_number_out_or_has_it_twice_is_refused() {
    let header = v1::SegmentHeader {
        segment: Some(v1::SegmentId {
            node: 1,
            shard: 0,
            index: 1,
        }),
        epoch: 1,
        file_uuid: vec![1; 16].into(),
        cluster_id: vec![2; 16].into(),
        created_ns: 0,
        tenants: vec![v1::Tenant::default()],
    };
    let read = |counts: (u32, u32), keep: &[(u32, u32)], holes: &[(u32, u32)]| {
        let head = v1::RebuildHead {
            header: Some(header.clone()),
            number: 1,
            keep: counts.0,
            holes: counts.1,
        };
        let keep = keep.iter().map(|(first, last)| v1::HeldRange {
            first: *first,
            last: *last,
            holder: 2,
            crc: 3,
        });
        let holes = holes.iter().map(|(first, last)| v1::Hole {
            first: *first,
            last: *last,
            lost: true,
        });
        let ranges = v1::RebuildRanges {
            keep: keep.collect(),
            holes: holes.collect(),
        };
        let parts = [
            v1::rebuild_part::Part::Head(head),
            v1::rebuild_part::Part::Ranges(ranges),
        ];
        read_end(parts.map(|part| v1::RebuildPart { part: Some(part) }).into())
    };
    assert!(read((2, 1), &[(1, 3), (5, u32::MAX)], &[(4, 4)]).is_ok());
    assert!(matches!(
        read((END_RANGES_MAX + 1, 0), &[], &[]),
        Err(WireError::TooLarge { .. })
    ));
    for (counts, keep, holes) in [
        ((1, 0), &[(2, 3)][..], &[][..]),
        ((2, 0), &[(1, 3), (5, 6)], &[]),
        ((2, 0), &[(1, 3), (3, 6)], &[]),
        ((2, 0), &[(4, 6), (1, 3)], &[]),
        ((1, 1), &[(1, 3)], &[(3, 4)]),
        ((1, 0), &[(3, 1)], &[]),
        ((1, 0), &[(0, 1)], &[]),
        ((2, 0), &[(1, 3)], &[]),
        ((1, 0), &[(1, 3), (4, 5)], &[]),
        ((1, 0), &[(1, 3)], &[(4, 5)]),
    ] {
        assert!(read(counts, keep, holes).is_err(), "{counts:?} {keep:?} {holes:?}");
    }
}

#[test]
fn i1_entries_that_were_not_asked_for_or_are_none_are_refused() {
    let id = SegmentId {
        node: node_of(1),
        shard: ShardId::new(2),
        index: SegmentIndex::FIRST,
    };
    let read = |entries: Vec<v1::Entry>| {
        let mut reader = EntryReader::new(id, number_of(5), number_of(9));
        let read = reader.add(v1::FetchPart { entries })?;
        reader.end().map(|()| read)
    };
    let sent = |numbers| -> Vec<_> { entries(id, numbers).into_iter().map(entry_to_wire).collect() };
    assert_eq!(read(sent(5..=9)), Ok(entries(id, 5..=9)));
    for numbers in [4..=9, 6..=9, 5..=8, 5..=10] {
        assert!(read(sent(numbers.clone())).is_err(), "{numbers:?}");
    }
    let changed = |change: fn(&mut v1::Entry)| {
        let mut entries = sent(5..=9);
        change(&mut entries[0]);
        read(entries)
    };
    for change in [
        (|e| e.number = 6) as fn(&mut v1::Entry),
        |e| e.encoding = 9,
        |e| e.encoding = 1,
        |e| e.encoding = 256,
        |e| e.state = 0x80,
        |e| e.state = 0x08,
        |e| e.state = 0x102,
    ] {
        assert!(changed(change).is_err());
    }
    let mut many = EntryReader::new(id, number_of(1), number_of(u32::MAX));
    let entries = sent(1..=FETCH_PART_ENTRIES as u32 + 1);
    assert!(matches!(
        many.add(v1::FetchPart { entries }),
        Err(WireError::TooLarge { .. })
    ));
    // The last number that there can be.
    let mut last = EntryReader::new(id, number_of(u32::MAX), number_of(u32::MAX));
    last.add(v1::FetchPart {
        entries: sent(u32::MAX..=u32::MAX),
    })
    .unwrap();
    last.end().unwrap();
}

#[test]
fn i1_i2_a_header_that_no_file_has_is_refused() {
    let header = |change: fn(&mut v1::SegmentHeader)| {
        let mut sent = v1::SegmentHeader {
            segment: Some(v1::SegmentId {
                node: 1,
                shard: 0,
                index: 1,
            }),
            epoch: 1,
            file_uuid: vec![1; 16].into(),
            cluster_id: vec![2; 16].into(),
            created_ns: 0,
            tenants: vec![v1::Tenant::default()],
        };
        change(&mut sent);
        super::header(Some(sent))
    };
    assert!(header(|_| {}).is_ok());
    for change in [
        (|h| h.tenants.clear()) as fn(&mut v1::SegmentHeader),
        |h| h.tenants = vec![v1::Tenant::default(); TENANTS_MAX + 1],
        |h| h.tenants[0].name = "x".repeat(TENANT_NAME_MAX + 1),
        |h| h.epoch = 0,
        |h| h.segment = None,
        |h| h.file_uuid = vec![1; 17].into(),
        |h| h.segment.as_mut().unwrap().shard = 1 << 16,
        |h| h.segment.as_mut().unwrap().index = 0,
        |h| h.segment.as_mut().unwrap().node = 0,
    ] {
        assert!(header(change).is_err());
    }
}

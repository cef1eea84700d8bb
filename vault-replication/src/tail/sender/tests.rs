use gophership_vault::ids::Epoch;

use super::*;

const DIGEST: [u8; 32] = [7; 32];

fn index(n: u32) -> SegmentIndex {
    SegmentIndex::new(n).unwrap()
}

fn number(n: u32) -> EntryNumber {
    EntryNumber::new(n).unwrap()
}

fn stream(number: u64) -> StreamId {
    StreamId::new(Epoch::FIRST, number)
}

fn lsn(segment: u32, n: u32) -> Lsn {
    Lsn::at(index(segment), number(n))
}

/// A sender whose newest stream is this one.
struct On {
    sender: TailSender,
    stream: u64,
}

impl On {
    /// A sender of segment 1 with a stream, whose replica said that it has this much.
    fn begun(has: u32) -> Self {
        let mut on = Self {
            sender: TailSender::new(),
            stream: 1,
        };
        assert_eq!(on.step(SenderEvent::Opened(index(1))), []);
        assert_eq!(on.connect(), [SenderAction::Begin(index(1))]);
        on.step(SenderEvent::Written(lsn(1, has.max(1))));
        let told = on.answer(1, has_frames(has));
        let restarted = SenderAction::Restarted {
            index: index(1),
            has: EntryNumber::new(has),
        };
        assert_eq!(told[0], restarted);
        on
    }

    fn step(&mut self, event: SenderEvent) -> Vec<SenderAction> {
        self.sender.step(event)
    }

    fn connect(&mut self) -> Vec<SenderAction> {
        self.stream += 1;
        self.step(SenderEvent::Connected(stream(self.stream)))
    }

    fn answer(&mut self, segment: u32, answer: TailAnswer) -> Vec<SenderAction> {
        self.step(SenderEvent::Answered {
            stream: stream(self.stream),
            index: index(segment),
            answer,
        })
    }

    fn sent(&mut self, segment: u32, last: u32) -> Vec<SenderAction> {
        self.step(SenderEvent::Sent {
            stream: stream(self.stream),
            index: index(segment),
            last: number(last),
        })
    }

    fn ended(&mut self, segment: u32, last: u32) -> Vec<SenderAction> {
        self.step(SenderEvent::Ended {
            index: index(segment),
            last: EntryNumber::new(last),
            digest: DIGEST,
        })
    }
}

/// The answer of a replica that has `entries` entries, each in a frame of its own.
fn has_frames(entries: u32) -> TailAnswer {
    TailAnswer::Has(EntryNumber::new(entries).map(|last| Held { last, frames: entries }))
}

/// A segment failed so often in a row.
fn failed(segment: u32, failures: u32) -> SenderAction {
    SenderAction::Failed {
        index: index(segment),
        failures,
    }
}

/// Reads frame `frame_no`, which follows entry `after`.
fn read(segment: u32, after: u32, frame_no: u32) -> SenderAction {
    SenderAction::Read {
        index: index(segment),
        after: EntryNumber::new(after),
        frame_no,
    }
}

#[test]
fn i1_frames_follow_what_the_replica_has() {
    let mut on = On::begun(3);
    assert_eq!(on.step(SenderEvent::Written(lsn(1, 9))), [read(1, 3, 3)]);
    assert_eq!(on.step(SenderEvent::Written(lsn(1, 10))), [], "one at a time is read");
    assert_eq!(on.sent(1, 6), [read(1, 6, 4)]);
    assert_eq!(on.sent(1, 10), []);
    assert_eq!(
        on.answer(1, TailAnswer::Synced(number(10))),
        [SenderAction::Mark(lsn(1, 10))]
    );
    assert_eq!(on.sender.unanswered(), 0);
}

#[test]
fn a_frame_that_cannot_be_read_is_asked_for_again() {
    let mut on = On::begun(0);
    on.sent(1, 1);
    on.step(SenderEvent::Written(lsn(1, 2)));
    assert_eq!(on.step(SenderEvent::NotRead(stream(2))), [failed(1, 1)]);
    // What is on its way is answered meanwhile.
    assert_eq!(on.step(SenderEvent::Written(lsn(1, 3))), []);
    assert_eq!(on.step(SenderEvent::Retry), [read(1, 1, 1)]);
    assert_eq!(
        on.step(SenderEvent::NotRead(stream(2))),
        [failed(1, 2)],
        "its second in a row"
    );
    assert_eq!(
        on.answer(1, TailAnswer::Synced(number(1))),
        [SenderAction::Mark(lsn(1, 1))]
    );
    assert_eq!(on.step(SenderEvent::Retry), [read(1, 1, 1)]);
    assert_eq!(on.step(SenderEvent::NotRead(stream(2))), [failed(1, 1)]);
}

#[test]
fn i6_a_segment_that_cannot_be_read_or_written_holds_up_none_behind_it() {
    for unread in [true, false] {
        let mut on = On::begun(0);
        on.step(SenderEvent::Opened(index(2)));
        on.ended(1, 1);
        on.step(SenderEvent::Written(lsn(2, 1)));
        let told = if unread {
            on.step(SenderEvent::NotRead(stream(2)))
        } else {
            on.sent(1, 1);
            on.answer(1, TailAnswer::Refused(TailRefusal::Failed))
        };
        let begins = SenderAction::Begin(index(2));
        if unread {
            assert_eq!(told, [failed(1, 1), begins]);
        } else {
            // The next one was begun when all of it was sent.
            assert_eq!(told, [failed(1, 1)]);
        }
        let restarted = SenderAction::Restarted {
            index: index(2),
            has: None,
        };
        assert_eq!(on.answer(2, TailAnswer::Has(None)), [restarted, read(2, 0, 0)]);
        on.sent(2, 1);
        assert_eq!(
            on.answer(2, TailAnswer::Synced(number(1))),
            [SenderAction::Mark(lsn(2, 1))]
        );
        let again = if unread { read(1, 0, 0) } else { SenderAction::Reconnect };
        assert_eq!(on.step(SenderEvent::Retry), [again]);
    }
}

#[test]
fn i5_the_replica_closes_its_copy_of_a_segment_that_falls_off_the_list() {
    let leave = [SenderAction::Leave(index(1))];
    let mut on = On::begun(0);
    assert_eq!(on.step(SenderEvent::Dropped(index(1))), leave);
    let mut on = On::begun(0);
    let mut left = Vec::new();
    for n in 1..=TAIL_SEALED_MAX as u32 + 1 {
        if n > 1 {
            on.step(SenderEvent::Opened(index(n)));
        }
        on.ended(n, 2);
        left = on.step(SenderEvent::Sealed {
            index: index(n),
            counted: false,
        });
    }
    assert_eq!(left, leave);
    // One that the replica has completed, or does not know, is closed there.
    let mut on = On::begun(1);
    on.ended(1, 1);
    on.step(SenderEvent::Opened(index(2)));
    on.answer(1, TailAnswer::Completed(DIGEST));
    assert_eq!(on.step(SenderEvent::Dropped(index(1))), []);
    on.step(SenderEvent::Opened(index(3)));
    assert_eq!(on.step(SenderEvent::Dropped(index(3))), []);
}

#[test]
fn a_fence_of_a_segment_that_the_replica_has_not_seen_is_told() {
    let mut on = On::begun(0);
    let fenced = TailAnswer::Refused(TailRefusal::Fenced);
    assert_eq!(on.answer(9, fenced), [SenderAction::Fenced(index(9))]);
    assert_eq!(on.answer(1, fenced), [SenderAction::Fenced(index(1))]);
}

#[test]
fn i2_an_answer_for_what_was_not_sent_ends_the_stream() {
    let mut on = On::begun(3);
    on.step(SenderEvent::Written(lsn(1, 9)));
    assert_eq!(on.answer(1, TailAnswer::Synced(number(9))), [SenderAction::Reconnect]);
    assert_eq!(on.answer(1, TailAnswer::Completed(DIGEST)), [SenderAction::Reconnect]);
    assert_eq!(on.answer(1, TailAnswer::Has(None)), [SenderAction::Reconnect]);
}

#[test]
fn i2_what_an_older_stream_says_changes_nothing() {
    let mut on = On::begun(0);
    on.sent(1, 1);
    let old = |answer| SenderEvent::Answered {
        stream: stream(2),
        index: index(1),
        answer,
    };
    assert_eq!(on.connect(), [SenderAction::Begin(index(1))]);
    for answer in [
        TailAnswer::Has(None),
        TailAnswer::Synced(number(1)),
        TailAnswer::Refused(TailRefusal::Fenced),
    ] {
        assert_eq!(on.step(old(answer)), []);
    }
    let disconnected = on.step(SenderEvent::Disconnected(stream(2)));
    assert_eq!(disconnected, []);
    let told = on.answer(1, TailAnswer::Has(None));
    let restarted = SenderAction::Restarted {
        index: index(1),
        has: None,
    };
    assert_eq!(told, [restarted, read(1, 0, 0)], "it lost what it had answered for");
}

#[test]
fn a_replica_that_has_what_was_never_written_has_no_copy_of_this_segment() {
    let mut on = On::begun(3);
    on.connect();
    assert_eq!(on.answer(1, has_frames(4)), [SenderAction::Differs(index(1))]);
    assert_eq!(on.step(SenderEvent::Written(lsn(1, 5))), []);
}

#[test]
fn i3_what_is_unanswered_is_bounded() {
    let mut on = On::begun(0);
    on.step(SenderEvent::Written(lsn(1, 1000)));
    let mut last = 0;
    loop {
        last += 1;
        if on.sent(1, last).is_empty() {
            break;
        }
    }
    assert_eq!(last as usize, TAIL_FRAMES_MAX);
    let more = on.answer(1, TailAnswer::Synced(number(1)));
    assert_eq!(more, [SenderAction::Mark(lsn(1, 1)), read(1, last, last)]);
}

#[test]
fn a_segment_is_completed_once_all_of_it_was_sent_and_the_next_one_does_not_wait_for_the_answer() {
    let mut on = On::begun(0);
    on.step(SenderEvent::Opened(index(2)));
    on.step(SenderEvent::Written(lsn(1, 2)));
    assert_eq!(on.sent(1, 1), [read(1, 1, 1)]);
    assert_eq!(on.ended(1, 2), []);
    on.step(SenderEvent::Written(lsn(2, 1)));
    let complete = SenderAction::Complete {
        index: index(1),
        digest: DIGEST,
    };
    assert_eq!(on.sent(1, 2), [complete, SenderAction::Begin(index(2))]);
    let told = on.answer(1, TailAnswer::Completed(DIGEST));
    let holder = SenderAction::Holder {
        index: index(1),
        digest: DIGEST,
    };
    assert_eq!(told, [SenderAction::Mark(lsn(1, 2)), holder]);
    // The copy may be damaged by now: its seal counts on what the replica says of it on the newest stream.
    assert_eq!(on.connect(), [SenderAction::Begin(index(1))]);
    let told = on.answer(1, has_frames(2));
    let restarted = SenderAction::Restarted {
        index: index(1),
        has: Some(number(2)),
    };
    assert_eq!(told, [restarted, complete, SenderAction::Begin(index(2))]);
    let told = on.answer(1, TailAnswer::Completed(DIGEST));
    assert_eq!(told, [SenderAction::Mark(lsn(1, 2)), holder]);
}

#[test]
fn an_empty_segment_is_completed_without_a_frame() {
    let mut on = On::begun(0);
    on.step(SenderEvent::Disconnected(stream(2)));
    let mut on = On {
        sender: TailSender::new(),
        stream: 1,
    };
    on.step(SenderEvent::Opened(index(1)));
    on.ended(1, 0);
    on.connect();
    let told = on.answer(1, TailAnswer::Has(None));
    assert!(matches!(told[..], [_, SenderAction::Complete { .. }]), "{told:?}");
    let told = on.answer(1, TailAnswer::Completed(DIGEST));
    assert!(matches!(told[..], [SenderAction::Holder { .. }]), "{told:?}");
}

#[test]
fn a_copy_with_another_digest_is_no_holder() {
    let mut on = On::begun(1);
    on.ended(1, 1);
    assert_eq!(
        on.answer(1, TailAnswer::Completed([8; 32])),
        [SenderAction::Differs(index(1))]
    );
}

#[test]
fn a_holder_that_the_seal_does_not_count_is_added_to_it() {
    for counted in [true, false] {
        let mut on = On::begun(1);
        on.ended(1, 1);
        on.answer(1, TailAnswer::Completed(DIGEST));
        let add = SenderAction::AddHolder {
            index: index(1),
            digest: DIGEST,
        };
        let expected = if counted { vec![] } else { vec![add] };
        let sealed = SenderEvent::Sealed {
            index: index(1),
            counted,
        };
        assert_eq!(on.step(sealed), expected);
        assert!(on.sender.segments.is_empty());
    }
    // It completes it only afterwards.
    let mut on = On::begun(1);
    on.ended(1, 1);
    on.step(SenderEvent::Sealed {
        index: index(1),
        counted: false,
    });
    let told = on.answer(1, TailAnswer::Completed(DIGEST));
    assert!(
        matches!(told[..], [SenderAction::Mark(_), SenderAction::AddHolder { .. }]),
        "{told:?}"
    );
    assert!(on.sender.segments.is_empty());
}

#[test]
fn i4_a_refused_segment_is_sent_no_more_and_the_next_one_is() {
    for (why, action) in [
        (TailRefusal::Fenced, SenderAction::Fenced(index(1))),
        (TailRefusal::Differs, SenderAction::Differs(index(1))),
    ] {
        let mut on = On::begun(0);
        on.step(SenderEvent::Opened(index(2)));
        assert_eq!(on.sent(1, 1), []);
        let told = on.answer(1, TailAnswer::Refused(why));
        assert_eq!(told, [action, SenderAction::Begin(index(2))]);
        assert_eq!(on.sender.unanswered(), 0);
    }
    let mut on = On::begun(0);
    let told = on.answer(1, TailAnswer::Refused(TailRefusal::Failed));
    assert_eq!(told, [failed(1, 1)]);
    assert_eq!(on.step(SenderEvent::Retry), [SenderAction::Reconnect]);
    assert_eq!(
        on.connect(),
        [SenderAction::Begin(index(1))],
        "a new stream tries again"
    );
}

#[test]
fn i5_a_replica_that_is_away_keeps_a_bounded_number_of_sealed_segments() {
    let mut sender = TailSender::new();
    for n in 1..=100 {
        sender.step(SenderEvent::Opened(index(n)));
        sender.step(SenderEvent::Ended {
            index: index(n),
            last: Some(number(1)),
            digest: DIGEST,
        });
        sender.step(SenderEvent::Sealed {
            index: index(n),
            counted: false,
        });
    }
    let kept: Vec<u32> = sender.segments.iter().map(|segment| segment.index.get()).collect();
    assert_eq!(kept, (101 - TAIL_SEALED_MAX as u32..=100).collect::<Vec<_>>());
}

#[test]
fn a_frame_is_wanted_while_the_replica_has_little_to_do() {
    let mut on = On::begun(0);
    assert!(!on.sender.wants_frame(), "one is being read");
    on.sent(1, 1);
    assert!(on.sender.wants_frame());
    on.step(SenderEvent::Written(lsn(1, 2)));
    on.sent(1, 2);
    assert!(!on.sender.wants_frame(), "two are on their way");
    on.answer(1, TailAnswer::Synced(number(1)));
    assert!(on.sender.wants_frame());
    on.step(SenderEvent::Disconnected(stream(2)));
    assert!(!on.sender.wants_frame());
}

#[test]
fn a_stream_may_begin_when_the_next_segment_is_written_and_the_end_of_this_one_is_not_known() {
    let mut on = On::begun(0);
    on.step(SenderEvent::Written(lsn(1, 6)));
    on.step(SenderEvent::Opened(index(2)));
    on.step(SenderEvent::Written(lsn(2, 1)));
    assert_eq!(on.connect(), [SenderAction::Begin(index(1))]);
    let told = on.answer(1, has_frames(4));
    assert_eq!(
        told[1..],
        [read(1, 4, 4)],
        "the replica has no more than was written: {told:?}"
    );
}

#[test]
fn a_frame_is_wanted_before_the_first_segment_and_behind_a_refused_one() {
    let mut sender = TailSender::new();
    sender.step(SenderEvent::Connected(stream(1)));
    assert!(sender.wants_frame());
    let mut on = On::begun(0);
    on.sent(1, 1);
    on.answer(1, TailAnswer::Refused(TailRefusal::Fenced));
    assert!(on.sender.wants_frame());
    assert_eq!(
        on.answer(1, TailAnswer::Refused(TailRefusal::Failed)),
        [],
        "it was on its way"
    );
}

#[test]
fn a_replica_lacks_nothing_of_a_segment_that_a_recovery_took_over_and_sealed() {
    for counted in [true, false] {
        let mut on = On::begun(2);
        on.step(SenderEvent::Written(lsn(1, 5)));
        let synced = |on: &On| on.sender.progress().unwrap().synced;
        assert_eq!(synced(&on), Some(lsn(1, 2)));
        on.answer(1, TailAnswer::Refused(TailRefusal::Fenced));
        on.ended(1, 5);
        on.step(SenderEvent::Opened(index(4)));
        assert_eq!(synced(&on), Some(lsn(1, 2)), "until it is sealed");
        let index = index(1);
        on.step(SenderEvent::Sealed { index, counted });
        assert_eq!(synced(&on), lsn(4, 1).before(), "counted: {counted}");
        // The later segment is done, so that this one is the newest again.
        on.step(SenderEvent::Dropped(SegmentIndex::new(4).unwrap()));
        assert_eq!(synced(&on), Some(lsn(1, 5)), "counted: {counted}");
    }
}

#[test]
fn a_replica_that_completed_a_segment_lacks_nothing_of_it() {
    let mut on = On::begun(1);
    on.step(SenderEvent::Written(lsn(1, 5)));
    on.sent(1, 5);
    on.ended(1, 5);
    assert_eq!(on.sender.progress().unwrap().synced, Some(lsn(1, 1)));
    on.answer(1, TailAnswer::Completed(DIGEST));
    assert_eq!(on.sender.progress().unwrap().synced, Some(lsn(1, 5)));
}

#[test]
#[should_panic(expected = "segments are opened in order")]
fn segments_that_are_opened_out_of_order_are_a_bug() {
    On::begun(3).step(SenderEvent::Opened(index(1)));
}

#[test]
#[should_panic(expected = "what is written goes back")]
fn what_is_written_and_goes_back_is_a_bug() {
    On::begun(3).step(SenderEvent::Written(lsn(1, 2)));
}

#[test]
#[should_panic(expected = "a new stream has a higher number")]
fn a_stream_that_comes_twice_is_a_bug() {
    let mut on = On::begun(3);
    let again = SenderEvent::Connected(stream(on.stream));
    on.step(again);
}

#[test]
#[should_panic(expected = "a frame follows what was sent before it")]
fn a_frame_that_was_sent_before_is_a_bug() {
    On::begun(3).sent(1, 3);
}

#[test]
#[should_panic(expected = "all that can be read of an ended segment is up to its end")]
fn an_end_before_what_the_replica_has_is_a_bug() {
    On::begun(3).ended(1, 2);
}

#[test]
#[should_panic(expected = "a segment is finished only once all of it was sent")]
fn an_end_that_moves_while_the_replica_completes_the_segment_is_a_bug() {
    let mut on = On::begun(3);
    on.ended(1, 3);
    on.ended(1, 4);
    on.answer(1, TailAnswer::Completed(DIGEST));
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use gophership_vault::ids::{EntryNumber, SegmentIndex};

use super::*;

/// A waker that counts its calls.
#[derive(Default)]
struct Bells(AtomicU32);

impl Wake for Bells {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn lsn(number: u32) -> Lsn {
    Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap())
}

fn poll(ack: &mut Ack, notifies: &Arc<Bells>) -> Poll<Result<(), Refusal>> {
    Pin::new(ack).poll(&mut Context::from_waker(&Waker::from(Arc::clone(notifies))))
}

#[test]
fn i1_a_waiter_is_released_when_the_watermark_reaches_it_and_not_before() {
    let waiters = Rc::new(Waiters::new());
    let notifies = Arc::new(Bells::default());
    let mut acks: Vec<Ack> = (1..=3).map(|n| waiters.must_wait(lsn(n))).collect();
    for ack in &mut acks {
        assert_eq!(poll(ack, &notifies), Poll::Pending);
    }
    waiters.must_release(lsn(2), |_| ());
    assert_eq!(notifies.0.load(Ordering::Relaxed), 2);
    assert_eq!(poll(&mut acks[0], &notifies), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut acks[1], &notifies), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut acks[2], &notifies), Poll::Pending);
    assert_eq!(waiters.len(), 1);
}

#[test]
fn a_waiter_that_was_never_polled_learns_of_its_release() {
    let waiters = Rc::new(Waiters::new());
    let mut ack = waiters.must_wait(lsn(1));
    waiters.must_release(lsn(1), |_| ());
    assert_eq!(poll(&mut ack, &Arc::default()), Poll::Ready(Ok(())));
}

#[test]
fn a_failed_shard_releases_all_with_an_error() {
    let waiters = Rc::new(Waiters::new());
    let notifies = Arc::default();
    let (mut first, mut second) = (waiters.must_wait(lsn(1)), waiters.must_wait(lsn(2)));
    waiters.must_release(lsn(1), |_| ());
    waiters.fail(Refusal::Failed);
    assert_eq!(poll(&mut first, &notifies), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut second, &notifies), Poll::Ready(Err(Refusal::Failed)));
    assert_eq!(waiters.len(), 0);
}

#[test]
fn who_waits_too_long_is_released_with_an_error_and_the_others_go_on_waiting() {
    let waiters = Rc::new(Waiters::new());
    let notifies = Arc::default();
    let mut old = waiters.must_wait(lsn(1));
    waiters.tick(2, Refusal::Stalled);
    let mut young = waiters.must_wait(lsn(2));
    waiters.tick(2, Refusal::Stalled);
    assert_eq!((poll(&mut old, &notifies), waiters.oldest()), (Poll::Pending, Some(2)));
    waiters.tick(2, Refusal::Stalled);
    assert_eq!(poll(&mut old, &notifies), Poll::Ready(Err(Refusal::Stalled)));
    assert_eq!(poll(&mut young, &notifies), Poll::Pending);
    assert!(waiters.must_be_overdue());
    waiters.must_release(lsn(2), |_| ());
    assert!(!waiters.must_be_overdue());
    assert_eq!(
        (poll(&mut young, &notifies), waiters.oldest()),
        (Poll::Ready(Ok(())), None)
    );
}

#[test]
fn what_was_refused_for_its_age_is_overdue_until_the_watermark_reaches_it() {
    let waiters = Rc::new(Waiters::new());
    let _refused: Vec<Ack> = (1..=3).map(|n| waiters.must_wait(lsn(n))).collect();
    waiters.tick(0, Refusal::TooFewCopies);
    waiters.must_release(lsn(2), |_| ());
    assert!(waiters.must_be_overdue());
    // A tick without a refusal changes nothing.
    waiters.tick(0, Refusal::TooFewCopies);
    assert!(waiters.must_be_overdue());
    waiters.must_release(lsn(3), |_| ());
    assert!(!waiters.must_be_overdue());
}

#[test]
fn what_was_overdue_in_an_epoch_that_was_fenced_holds_up_nothing_of_the_next() {
    let waiters = Rc::new(Waiters::new());
    let _refused = waiters.must_wait(lsn(1));
    waiters.tick(0, Refusal::TooFewCopies);
    assert!(waiters.must_be_overdue());
    waiters.fail(Refusal::Fenced);
    assert!(!waiters.must_be_overdue());
}

#[test]
fn i2_dropped_waiters_leave_no_slot_behind() {
    let waiters = Rc::new(Waiters::new());
    let mut number = 0;
    for round in 0..1000 {
        let acks: Vec<Ack> = (0..4)
            .map(|_| {
                number += 1;
                waiters.must_wait(lsn(number))
            })
            .collect();
        // Dropped before its release, between its release and its poll, or after its poll: in turn.
        let mut acks = acks.into_iter();
        match round % 3 {
            0 => drop(acks),
            1 => {
                waiters.must_release(lsn(number), |_| ());
                drop(acks);
            }
            _ => {
                waiters.must_release(lsn(number), |_| ());
                acks.all(|mut ack| poll(&mut ack, &Arc::default()).is_ready());
            }
        }
        waiters.must_release(lsn(number), |_| ());
    }
    assert_eq!(waiters.len(), 0);
    assert!(waiters.inner.borrow().slots.len() <= 4, "slots are used again");
}

#[test]
fn i2_a_dropped_waiter_lets_go_of_its_waker_at_once() {
    let waiters = Rc::new(Waiters::new());
    let notifies = Arc::new(Bells::default());
    let mut ack = waiters.must_wait(lsn(1));
    assert_eq!(poll(&mut ack, &notifies), Poll::Pending);
    assert_eq!(Arc::strong_count(&notifies), 2);
    drop(ack);
    assert_eq!((Arc::strong_count(&notifies), waiters.len()), (1, 1));
}

#[test]
fn i3_the_queue_is_bounded() {
    let waiters = Rc::new(Waiters::new());
    let acks: Vec<Ack> = (1..=WAITERS_MAX as u32)
        .map(|n| {
            assert!(waiters.must_have_room());
            waiters.must_wait(lsn(n))
        })
        .collect();
    assert!(!waiters.must_have_room());
    drop(acks);
    assert!(!waiters.must_have_room(), "abandoned entries are still in the queue");
    waiters.must_release(lsn(1), |_| ());
    assert!(waiters.must_have_room());
}

#[test]
#[cfg(debug_assertions)] // each entry would pay for it
#[should_panic(expected = "entries wait in the order they were appended")]
fn an_entry_that_waits_before_an_earlier_one_is_a_bug() {
    let waiters = Rc::new(Waiters::new());
    let _later = waiters.must_wait(lsn(2));
    let _earlier = waiters.must_wait(lsn(1));
}

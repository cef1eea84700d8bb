//! Entries that wait for the watermark: appended and not yet durable, in Lsn order, released together.
//!
//! **Owns**: a queue of waiting entries and a slot for each, both reused.
//!
//! **Invariants**:
//! - I1: a waiter is released with success only when the watermark has reached its Lsn.
//! - I2: a waiter that is dropped frees its slot, at once or when its entry leaves the queue.
//! - I3: at most [`WAITERS_MAX`] entries wait; the queue is in Lsn order.
//!
//! **Not here**: the watermark (the vault's), the notification of its moves
//! ([`WatermarkNotify`](super::WatermarkNotify)).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gophership_vault::ids::Lsn;

use super::refusal::Refusal;
use crate::limits::{WAITERS_MAX, WAITERS_READY};

/// A worker's count of ticks: the clock by which waiters grow old.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Tick(u32);

impl Tick {
    /// The tick after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Ticks from `earlier` to this one.
    pub(super) fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

enum Slot {
    /// The slot is free; the field is the next free one.
    Free(Option<u32>),
    /// The waiter will be woken.
    Waiting(Option<Waker>),
    /// The waiter is gone, and its entry is still queued.
    Abandoned,
    /// The entry has left the queue.
    Done(Result<(), Refusal>),
}

struct Queued {
    lsn: Lsn,
    slot: u32,
    since: Tick,
}

struct Inner {
    queue: VecDeque<Queued>,
    slots: Vec<Slot>,
    free: Option<u32>,
    now: Tick,
    /// The newest entry whose waiter was refused for its age, while the watermark has not reached it.
    overdue: Option<Lsn>,
}

/// The waiters of one shard.
pub(super) struct Waiters {
    inner: RefCell<Inner>,
}

impl Waiters {
    /// An empty queue.
    pub(super) fn new() -> Self {
        Self {
            inner: RefCell::new(Inner {
                queue: VecDeque::with_capacity(WAITERS_READY),
                slots: Vec::with_capacity(WAITERS_READY),
                free: None,
                now: Tick::default(),
                overdue: None,
            }),
        }
    }

    /// True where one more entry may wait.
    pub(super) fn must_have_room(&self) -> bool {
        self.inner.borrow().queue.len() < WAITERS_MAX
    }

    /// True where an entry waited for too long and is still not acknowledged: what is appended now would wait, too.
    pub(super) fn must_be_overdue(&self) -> bool {
        self.inner.borrow().overdue.is_some()
    }

    /// Number of entries that wait, those whose client is gone included.
    pub(super) fn len(&self) -> usize {
        self.inner.borrow().queue.len()
    }

    /// Adds a waiter for the entry at `lsn`, which was appended just now.
    pub(super) fn must_wait(self: &Rc<Self>, lsn: Lsn) -> Ack {
        let mut inner = self.inner.borrow_mut();
        debug_assert!(
            inner.queue.back().is_none_or(|last| last.lsn < lsn),
            "entries wait in the order they were appended"
        );
        let slot = inner.take_slot();
        let since = inner.now;
        inner.queue.push_back(Queued { lsn, slot, since });
        Ack {
            waiters: Rc::clone(self),
            slot: Some(slot),
        }
    }

    /// Releases all entries up to `acked`, and calls `each` with each of them.
    pub(super) fn must_release(&self, acked: Lsn, mut each: impl FnMut(Lsn)) {
        self.inner.borrow_mut().overdue.take_if(|overdue| *overdue <= acked);
        self.release_while(Ok(()), |queued, _| {
            let released = queued.lsn <= acked;
            if released {
                each(queued.lsn);
            }
            released
        });
    }

    /// Releases all that are left with a refusal: they will never be acknowledged. What comes after them may be.
    pub(super) fn fail(&self, why: Refusal) {
        self.inner.borrow_mut().overdue = None;
        self.release_while(Err(why), |_, _| true);
    }

    /// Moves the clock on, and releases with `why` the entries that have waited for more than `ticks_max`.
    pub(super) fn tick(&self, ticks_max: u32, why: Refusal) {
        {
            let mut inner = self.inner.borrow_mut();
            inner.now = inner.now.next();
        }
        let mut overdue = None;
        self.release_while(Err(why), |queued, now| {
            let waited_too_long = now.since(queued.since) > ticks_max;
            if waited_too_long {
                overdue = Some(queued.lsn);
            }
            waited_too_long
        });
        if overdue.is_some() {
            self.inner.borrow_mut().overdue = overdue;
        }
    }

    /// Ticks for which the oldest entry has waited; `None` when none waits.
    pub(super) fn oldest(&self) -> Option<u32> {
        let inner = self.inner.borrow();
        inner.queue.front().map(|queued| inner.now.since(queued.since))
    }

    fn release_while(&self, outcome: Result<(), Refusal>, mut ends: impl FnMut(&Queued, Tick) -> bool) {
        loop {
            // The borrow ends before the waker runs.
            let woken = {
                let mut inner = self.inner.borrow_mut();
                let now = inner.now;
                let Some(queued) = inner.queue.pop_front_if(|queued| ends(queued, now)) else {
                    return;
                };
                inner.finish(queued.slot, outcome)
            };
            if let Some(waker) = woken {
                waker.wake();
            }
        }
    }
}

impl Inner {
    fn take_slot(&mut self) -> u32 {
        match self.free {
            Some(slot) => {
                self.free = match std::mem::replace(&mut self.slots[slot as usize], Slot::Waiting(None)) {
                    Slot::Free(next) => next,
                    Slot::Waiting(_) | Slot::Abandoned | Slot::Done(_) => {
                        unreachable!("the free list holds free slots")
                    }
                };
                slot
            }
            None => {
                self.slots.push(Slot::Waiting(None));
                u32::try_from(self.slots.len() - 1).expect("there are at most twice WAITERS_MAX slots")
            }
        }
    }

    fn free_slot(&mut self, slot: u32) {
        self.slots[slot as usize] = Slot::Free(self.free.replace(slot));
    }

    /// Marks the entry of `slot` as gone from the queue.
    fn finish(&mut self, slot: u32, outcome: Result<(), Refusal>) -> Option<Waker> {
        match std::mem::replace(&mut self.slots[slot as usize], Slot::Done(outcome)) {
            Slot::Waiting(waker) => waker,
            Slot::Abandoned => {
                self.free_slot(slot);
                None
            }
            Slot::Free(_) | Slot::Done(_) => unreachable!("a queued entry's slot is waited for or abandoned"),
        }
    }
}

/// A future that resolves when its entry is durable, or never will be.
#[must_use = "an entry is acknowledged only when this says so"]
pub(super) struct Ack {
    waiters: Rc<Waiters>,
    /// `None` once resolved.
    slot: Option<u32>,
}

impl Future for Ack {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.expect("not polled after it resolved");
        let waiters = Rc::clone(&self.waiters);
        let mut inner = waiters.inner.borrow_mut();
        match &mut inner.slots[slot as usize] {
            Slot::Done(outcome) => {
                let outcome = *outcome;
                inner.free_slot(slot);
                self.slot = None;
                Poll::Ready(outcome)
            }
            Slot::Waiting(Some(waker)) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            Slot::Waiting(waker @ None) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Slot::Free(_) | Slot::Abandoned => unreachable!("the slot is this waiter's"),
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut inner = self.waiters.inner.borrow_mut();
        let waker = match &mut inner.slots[slot as usize] {
            Slot::Done(_) => {
                inner.free_slot(slot);
                None
            }
            waiting @ Slot::Waiting(_) => match std::mem::replace(waiting, Slot::Abandoned) {
                Slot::Waiting(waker) => waker,
                Slot::Free(_) | Slot::Abandoned | Slot::Done(_) => None,
            },
            Slot::Free(_) | Slot::Abandoned => unreachable!("the slot is this waiter's"),
        };
        // The waker is dropped outside of the borrow: it may be the last hold on a task.
        drop(inner);
        drop(waker);
    }
}

#[cfg(test)]
mod tests;

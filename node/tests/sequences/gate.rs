//! The gate, where crashes happen: the vault's failpoints and the commands to its ledger lead through it, and it
//! freezes every thread that passes once the wanted point is reached. The data folder is then copied as it stands,
//! which is what a killed process leaves.
//!
//! Failpoints belong to the process, and so does the gate.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Points at which a crash may happen: failpoints of the vault, and the moments before and after a command to its
/// ledger.
pub(crate) const POINTS: [&str; 10] = [
    "file.sync",
    "dir.sync",
    "file.rename",
    "file.remove",
    "wal.sync",
    "wal.header.write",
    "wal.allocate",
    "segment.write",
    "ledger.asked",
    "ledger.done",
];

enum State {
    Open,
    /// The gate freezes at this point, after this many passes.
    Armed(&'static str, u8),
    /// Every thread that comes to this point waits there; no other does.
    Held(&'static str),
    Frozen,
}

static STATE: Mutex<State> = Mutex::new(State::Open);
static CHANGED: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leads every failpoint through the gate.
pub(crate) fn set_up() {
    POINTS.into_iter().for_each(lead_through);
}

fn lead_through(point: &'static str) {
    fail::cfg_callback(point, move || pass(point)).expect("a callback is no text that could be wrong");
}

/// A point that fails once, after this many passes, until this value is dropped.
pub(crate) struct Failing(&'static str);

impl Failing {
    pub(crate) fn new(point: &'static str, after: u8) -> Self {
        fail::cfg(point, &format!("{after}*off->1*return->off")).expect("the actions are written right");
        Self(point)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        lead_through(self.0);
    }
}

/// Passes a point; waits while the gate is frozen, or this point is held.
pub(crate) fn pass(point: &str) {
    let mut now = state();
    if let State::Armed(wanted, left) = &mut *now
        && *wanted == point
    {
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => {
                *now = State::Frozen;
                CHANGED.notify_all();
            }
        }
    }
    while matches!(*now, State::Frozen) || matches!(*now, State::Held(held) if held == point) {
        now = CHANGED.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
}

pub(crate) fn arm(point: &'static str, after: u8) {
    *state() = State::Armed(point, after);
}

/// Makes every thread wait that comes to this point, and no other.
pub(crate) fn hold(point: &'static str) {
    *state() = State::Held(point);
}

pub(crate) fn freeze() {
    *state() = State::Frozen;
}

pub(crate) fn is_frozen() -> bool {
    matches!(*state(), State::Frozen)
}

/// Lets every thread pass.
pub(crate) fn open() {
    *state() = State::Open;
    CHANGED.notify_all();
}

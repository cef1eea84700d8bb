//! Leaves out one fault of a run after the other, as long as the rest still breaks a promise.

use crate::faults::Timed;

/// The fewest faults with which `fails` is still true.
pub(crate) fn shrink(mut faults: Vec<Timed>, mut fails: impl FnMut(&[Timed]) -> bool) -> Vec<Timed> {
    let mut at = faults.len();
    while let Some(next) = at.checked_sub(1) {
        at = next;
        let mut fewer = faults.clone();
        fewer.remove(at);
        if fails(&fewer) {
            faults = fewer;
        }
    }
    faults
}

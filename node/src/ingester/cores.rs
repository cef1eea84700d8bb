//! The assignment of cores to workers.

use rustix::thread::{CpuSet, sched_getaffinity};

/// The core of worker `number`: the cores that the process may use, in turn. `None` where the system does not report
/// them.
#[must_use]
pub fn core_of(number: usize) -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    nth_in_turn(&cores, number)
}

fn nth_in_turn(cores: &[usize], number: usize) -> Option<usize> {
    cores.get(number.checked_rem(cores.len())?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_the_allowed_cores_in_turn() {
        assert_eq!(
            [0, 1, 2, 3].map(|n| nth_in_turn(&[2, 5, 7], n)),
            [Some(2), Some(5), Some(7), Some(2)]
        );
        assert_eq!(nth_in_turn(&[], 0), None);
        assert!(core_of(0).is_some());
    }
}

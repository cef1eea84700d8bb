//! A table of single steps, and properties over whole histories.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Sense;

const THRESHOLDS: Thresholds = Thresholds {
    yellow: 0.70,
    red: 0.90,
};

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

fn memory(value: f64) -> Readings {
    Readings {
        memory: Some(value),
        ..Readings::default()
    }
}

fn with(mut readings: Readings, sense: Sense, value: Option<f64>) -> Readings {
    *match sense {
        Sense::Memory => &mut readings.memory,
        Sense::OldestUnsynced => &mut readings.oldest_unsynced,
        Sense::Backlog => &mut readings.backlog,
        Sense::SchedulerLag => &mut readings.scheduler_lag,
        Sense::PsiMemory => &mut readings.psi_memory,
        Sense::LiveRing => &mut readings.live_ring,
        Sense::PsiIo => &mut readings.psi_io,
    } = value;
    readings
}

/// The zones of a history of (seconds, readings), from Green.
fn zones(history: &[(Duration, Readings)]) -> Vec<Zone> {
    let mut state = ZoneState::default();
    history
        .iter()
        .map(|(now, readings)| {
            state = step(state, readings, &THRESHOLDS, *now);
            state.zone()
        })
        .collect()
}

fn of_memory(history: &[(f64, f64)]) -> Vec<Zone> {
    let history: Vec<_> = history.iter().map(|(at, value)| (secs(*at), memory(*value))).collect();
    zones(&history)
}

#[test]
fn i1_up_at_once_and_down_one_step_at_a_time() {
    use Zone::{Green, Red, Yellow};
    assert_eq!(
        of_memory(&[(0.0, 0.69), (0.0, 0.70), (0.0, 0.90)]),
        [Green, Yellow, Red]
    );
    assert_eq!(of_memory(&[(0.0, 0.90)]), [Red], "Green may go straight to Red");
    let fall = [(0.0, 1.0), (1.0, 0.0), (3.0, 0.0), (3.1, 0.0), (5.0, 0.0), (5.1, 0.0)];
    assert_eq!(of_memory(&fall), [Red, Red, Yellow, Yellow, Yellow, Green]);
}

#[test]
fn i2_a_zone_is_left_only_below_its_leaving_threshold_and_after_the_dwell() {
    use Zone::{Green, Red, Yellow};
    // 0.72 and 0.56 are the leaving thresholds.
    let between = [(0.0, 0.90), (1.0, 0.73), (60.0, 0.73)];
    assert_eq!(of_memory(&between), [Red, Red, Red]);
    let below = [(0.0, 0.90), (1.0, 0.71), (2.99, 0.71), (3.0, 0.71), (60.0, 0.71)];
    assert_eq!(of_memory(&below), [Red, Red, Red, Yellow, Yellow]);
    let broken = [(0.0, 0.70), (1.0, 0.5), (2.9, 0.57), (3.0, 0.5), (4.9, 0.5), (5.0, 0.5)];
    assert_eq!(of_memory(&broken), [Yellow, Yellow, Yellow, Yellow, Yellow, Green]);
}

#[test]
fn time_that_goes_back_keeps_the_zone() {
    let history = [(10.0, 0.9), (20.0, 0.0), (0.0, 0.0), (21.9, 0.0), (22.0, 0.0)];
    assert_eq!(of_memory(&history)[2..], [Zone::Red, Zone::Red, Zone::Yellow]);
}

#[test]
fn each_sense_alone_raises_what_it_may() {
    for sense in Sense::ALL {
        let full = with(Readings::default(), sense, Some(1.0));
        let expected = if sense.may_cause_red() { Zone::Red } else { Zone::Yellow };
        assert_eq!(zones(&[(secs(0.0), full)]), [expected], "{}", sense.label());
    }
}

/// A reading: mostly near the thresholds, and now and then absent or not a number.
fn reading() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0.0..1.2f64).prop_map(Some),
        4 => prop::sample::select(vec![0.5, 0.56, 0.6, 0.7, 0.72, 0.8, 0.9]).prop_map(Some),
        2 => Just(None),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0]).prop_map(Some),
    ]
}

prop_compose! {
    fn readings()(all in prop::array::uniform6(reading())) -> Readings {
        Sense::ALL.into_iter().zip(all).fold(Readings::default(), |r, (sense, value)| with(r, sense, value))
    }
}

/// Readings at times that grow by up to three seconds, in runs of equal readings, so that dwells end.
fn history() -> impl Strategy<Value = Vec<(Duration, Readings)>> {
    vec((readings(), 1..6usize, 0..3_000u64), 1..30).prop_map(|runs| {
        let mut now = Duration::ZERO;
        let mut history = Vec::new();
        for (readings, times, gap) in runs {
            for _ in 0..times {
                now += Duration::from_millis(gap);
                history.push((now, readings));
            }
        }
        history
    })
}

/// The value that a reading counts as, computed in a second way.
fn counts(value: Option<f64>) -> f64 {
    value.filter(|v| !v.is_nan()).map_or(0.0, |v| v.max(0.0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_steps_down_within_a_dwell_of_the_change_before(history in history()) {
        let zones = zones(&history);
        let mut changed_at = None;
        for i in 1..zones.len() {
            let now = history[i].0;
            if zones[i] < zones[i - 1] {
                prop_assert_eq!(zones[i] as u8 + 1, zones[i - 1] as u8);
                let since = now - changed_at.unwrap_or(history[0].0);
                prop_assert!(since >= DWELL, "down {since:?} after the change before");
            }
            if zones[i] != zones[i - 1] {
                changed_at = Some(now);
            }
        }
    }

    #[test]
    fn i4_higher_readings_never_lead_to_a_lower_zone(
        history in history(),
        raises in vec((0..6usize, 0.0..0.6f64), 150),
    ) {
        let raised: Vec<_> = history.iter().zip(&raises).map(|((now, readings), (which, by))| {
            let sense = Sense::ALL[*which];
            (*now, with(*readings, sense, Some(counts(readings.get(sense)) + by)))
        }).collect();
        for (low, high) in zones(&history).into_iter().zip(zones(&raised)) {
            prop_assert!(low <= high);
        }
    }

    #[test]
    fn i3_what_lies_behind_the_ack_neither_causes_nor_prolongs_red(
        history in history(),
        behind in vec((reading(), reading()), 150),
    ) {
        let other: Vec<_> = history.iter().zip(&behind).map(|((now, readings), (ring, io))| {
            (*now, Readings { live_ring: *ring, psi_io: *io, ..*readings })
        }).collect();
        for (one, other) in zones(&history).into_iter().zip(zones(&other)) {
            prop_assert_eq!(one == Zone::Red, other == Zone::Red);
        }
    }

    #[test]
    fn absent_and_not_a_number_are_the_same_as_zero(history in history()) {
        let plain: Vec<_> = history.iter().map(|(now, readings)| {
            let plain = Sense::ALL.into_iter().fold(*readings, |r, sense| with(r, sense, Some(counts(r.get(sense)))));
            (*now, plain)
        }).collect();
        prop_assert_eq!(zones(&history), zones(&plain));
    }

    #[test]
    fn a_zone_is_never_below_what_the_readings_ask(history in history()) {
        for ((_, r), zone) in history.iter().zip(zones(&history)) {
            let red = [r.memory, r.oldest_unsynced, r.backlog, r.scheduler_lag, r.psi_memory].map(counts);
            let all = Sense::ALL.map(|sense| counts(r.get(sense)));
            if red.iter().any(|v| *v >= THRESHOLDS.red) {
                prop_assert_eq!(zone, Zone::Red);
            } else if all.iter().any(|v| *v >= THRESHOLDS.yellow) {
                prop_assert!(zone >= Zone::Yellow);
            }
        }
    }
}

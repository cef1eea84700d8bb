//! Rests, on a clock that advances only when every task waits.

use std::time::Instant as StdInstant;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::*;
use crate::Override;

const JOBS: [Job; 5] = [
    Job::Export,
    Job::Replay,
    Job::DeadLetterReplay,
    Job::Verify,
    Job::Archive,
];
const PAUSED_IN_RED: [Job; 4] = [Job::Replay, Job::DeadLetterReplay, Job::Verify, Job::Archive];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn in_zone(zone: Zone) -> (Arc<ZoneCell>, Throttle) {
    let cell = Arc::new(ZoneCell::new(StdInstant::now()));
    set(&cell, zone);
    (Arc::clone(&cell), Throttle::new(cell))
}

fn set(cell: &ZoneCell, zone: Zone) {
    let forced = Override {
        zone,
        reason: String::new(),
        by: String::new(),
        set_ns: 0,
    };
    cell.force(forced, StdInstant::now());
}

/// The time that `pass` takes.
async fn rested(throttle: &Throttle, job: Job, last_block: Duration) -> Duration {
    let began = Instant::now();
    throttle.pass(job, last_block).await;
    began.elapsed()
}

#[test]
fn i1_in_green_nobody_rests() {
    for job in JOBS {
        assert_eq!(rest(Zone::Green, job, Duration::MAX), Rest::None);
    }
}

#[test]
fn i1_a_debt_is_paid_four_times_as_fast_as_it_grew_or_with_all_that_there_is() {
    let rests = |zone, covered, took| rest(zone, Job::CatchUp { covered: ms(covered) }, ms(took));
    for (covered, took, rest) in [(240, 20, 40), (100, 20, 5), (10_000, 20, 60), (60_000, 800, 1000)] {
        assert_eq!(rests(Zone::Green, covered, took), Rest::For(ms(rest)));
        assert!(covered / (took + rest) >= 4, "{covered}");
    }
    for (covered, took) in [(0, 20), (80, 20), (20, 20), (1, 20), (1000, 0)] {
        assert_eq!(rests(Zone::Green, covered, took), Rest::None, "{covered}");
    }
    assert_eq!(rests(Zone::Yellow, 240, 20), Rest::For(ms(40)));
    assert_eq!(rests(Zone::Yellow, 20, 20), Rest::For(ms(20)), "as any other job");
    assert_eq!(rests(Zone::Red, 240, 20), Rest::For(ms(300)), "as any exporter");
}

#[test]
fn i2_in_yellow_a_job_rests_as_long_as_it_worked_up_to_a_second() {
    for job in JOBS {
        assert_eq!(rest(Zone::Yellow, job, ms(0)), Rest::None);
        assert_eq!(rest(Zone::Yellow, job, ms(30)), Rest::For(ms(30)));
        assert_eq!(rest(Zone::Yellow, job, ms(90_000)), Rest::For(ms(1000)));
    }
}

#[test]
fn i3_in_red_export_goes_on_at_a_sixteenth_and_the_others_pause() {
    for (took, rests) in [(0, 100), (1, 100), (20, 300), (60_000, 2000)] {
        assert_eq!(rest(Zone::Red, Job::Export, ms(took)), Rest::For(ms(rests)));
    }
    assert_eq!(rest(Zone::Red, Job::Export, Duration::MAX), Rest::For(ms(2000)));
    for job in PAUSED_IN_RED {
        assert_eq!(rest(Zone::Red, job, ms(5)), Rest::UntilZoneChanges);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_takes_the_time_that_was_decided() {
    let (_, throttle) = in_zone(Zone::Yellow);
    assert_eq!(rested(&throttle, Job::Verify, ms(70)).await, ms(70));
    let (_, throttle) = in_zone(Zone::Red);
    assert_eq!(rested(&throttle, Job::Export, ms(20)).await, ms(300));
}

#[tokio::test(start_paused = true)]
async fn i4_a_paused_job_goes_on_when_the_zone_changes_and_not_before() {
    for job in PAUSED_IN_RED {
        let (cell, throttle) = in_zone(Zone::Red);
        let mut pass = Box::pin(rested(&throttle, job, ms(10)));
        tokio::time::timeout(ms(3_600_000), &mut pass)
            .await
            .expect_err("it pauses for as long as Red lasts");
        set(&cell, Zone::Red);
        assert_eq!((&mut pass).now_or_never(), None, "the same zone once more");
        set(&cell, Zone::Yellow);
        assert_eq!(
            pass.now_or_never(),
            Some(ms(3_600_000)),
            "woken, not looking now and then"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_dropped_leaves_nothing_behind() {
    let (cell, throttle) = in_zone(Zone::Red);
    let mut dropped = Box::pin(throttle.pass(Job::Replay, ms(1)));
    assert_eq!((&mut dropped).now_or_never(), None);
    drop(dropped);
    let again = tokio::spawn({
        let throttle = throttle.clone();
        async move { throttle.pass(Job::Replay, ms(1)).await }
    });
    tokio::task::yield_now().await;
    set(&cell, Zone::Green);
    again.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_nodes_end_nobody_rests() {
    let (cell, throttle) = in_zone(Zone::Red);
    let mut paused = Box::pin(throttle.pass(Job::Replay, ms(1)));
    let mut resting = Box::pin(throttle.pass(Job::Export, ms(1)));
    assert_eq!((&mut paused).now_or_never(), None);
    assert_eq!((&mut resting).now_or_never(), None);
    cell.end();
    assert_eq!((paused.now_or_never(), resting.now_or_never()), (Some(()), Some(())));
    for job in JOBS {
        assert_eq!(throttle.pass(job, ms(500)).now_or_never(), Some(()));
    }
}

//! One node with one exporter for each way in which a sink can answer: each answer is handled as it should be, and no
//! sink delays acks or the other exporters.

use std::time::{Duration, Instant};

use super::exported::{DEBT_PATIENCE, judge_sink};
use super::{Plan, Run};
use crate::ctl::{ExporterView, ctl_json, is_paid, wait_exporters};
use crate::history::{History, Outcome};
use crate::node::{ExporterSetup, NodeSetup};
use crate::offer::{OfferSpec, Pattern, Summary, offer};
use crate::report::{Report, Round};
use crate::sink::{Mode, RETRY_AFTER, Sink};

const SHARDS: u32 = 2;
const RATE: f64 = 40.0;

/// Exporter name, answers of its sink, and true for gRPC: as many as a node takes.
const CASES: [(&str, Mode, bool); 16] = [
    ("ok-grpc", Mode::Ok, true),
    ("ok-http", Mode::Ok, false),
    ("unavailable", Mode::Unavailable, true),
    ("retry-later-grpc", Mode::RetryLater, true),
    ("retry-later-http", Mode::RetryLater, false),
    ("throttled", Mode::Throttled, false),
    ("invalid-grpc", Mode::Invalid, true),
    ("invalid-http", Mode::Invalid, false),
    ("invalid-marked", Mode::InvalidMarked, true),
    ("unauthenticated", Mode::Unauthenticated, true),
    ("not-found", Mode::NotFound, false),
    ("too-large", Mode::TooLarge, false),
    ("reset", Mode::Reset, true),
    ("hang", Mode::Hang, true),
    ("partial", Mode::Partial, true),
    ("down", Mode::Down, true),
];

/// Exporter name, mode, true for gRPC, and the sink itself.
type Case = (&'static str, Mode, bool, Sink);

/// Runs the scenario once, for `length`; then all sinks accept everything, and everything but the dead letters must
/// arrive.
///
/// # Errors
///
/// The node does not start, or `gs-ctl` does not answer.
pub async fn run(plan: &Plan, length: Duration) -> anyhow::Result<Report> {
    let mut run = Run::new(plan, "sink-answers")?;
    let mut sinks = Vec::new();
    for (name, mode, grpc) in CASES {
        sinks.push((name, mode, grpc, Sink::start(mode).await?));
    }
    let exporter = |(name, _, grpc, sink): &Case| match grpc {
        true => ExporterSetup::grpc(name, sink.grpc),
        false => ExporterSetup::http(name, sink.http),
    };
    let setup = NodeSetup {
        shards: SHARDS,
        exporters: sinks.iter().map(exporter).collect(),
        // The memory budget grows with the number of exporters.
        budget: 256 << 20,
        ..run.setup(plan)
    };
    let (node, _) = setup.start_ready().await?;
    let pattern = Pattern {
        rate: RATE,
        length,
        burst: None,
    };
    let spec = OfferSpec {
        connections: 4,
        records: 20,
        ..OfferSpec::new(node.grpc, pattern)
    };
    let began = Instant::now();
    let offered = offer(spec, || {}).await?;
    let history = offered.history();
    eprintln!("{}", Summary::new(&pattern, &offered, &[], Duration::ZERO));
    let refused = history
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome != Outcome::Acked)
        .count();
    if refused > 0 {
        run.report.fail(
            "answers",
            format!("{refused} requests were not acknowledged though only sinks misbehaved"),
        );
    }
    // Exporters whose sinks behave have sent everything, whatever the others do.
    let fine = |all: &[ExporterView]| {
        all.iter()
            .filter(|one| one.name.starts_with("ok-"))
            .all(|one| one.debt_entries == 0)
    };
    if !wait_exporters(&setup, DEBT_PATIENCE, fine).await?.1 {
        run.report
            .fail("ok", "a sink that takes all does not get all while others misbehave");
    }
    judge_answers(&mut run, &setup, &sinks, began).await?;
    heal(&mut run, &setup, &sinks, &history).await?;
    node.kill().await?;
    Ok(run.report)
}

/// Compares the state of each exporter with the answers of its sink.
async fn judge_answers(run: &mut Run, setup: &NodeSetup, sinks: &[Case], began: Instant) -> anyhow::Result<()> {
    let judge_one = |views: &[ExporterView], name: &str, mode: Mode| {
        let view = views.iter().find(|view| view.name == name);
        view.map_or_else(
            || Err("not in the list of exporters".to_owned()),
            |view| judge_answer(mode, view),
        )
    };
    // On a slow machine an exporter may not have met every answer of its sink yet.
    let all_show = |views: &[ExporterView]| {
        let mut each = sinks.iter();
        each.all(|(name, mode, ..)| judge_one(views, name, *mode).is_ok())
    };
    let (views, _) = wait_exporters(setup, DEBT_PATIENCE, all_show).await?;
    let length = began.elapsed();
    for (name, mode, _, sink) in sinks {
        if let Err(what) = judge_one(&views, name, *mode) {
            run.report.fail(name, what);
        }
        // Each lane may retry once in each delay; the first attempts of all lanes come at once.
        let asked_max = u64::from(SHARDS) * (2 + length.as_secs() / RETRY_AFTER.as_secs());
        if matches!(mode, Mode::RetryLater | Mode::Throttled) && sink.requests_in_all() > asked_max * 2 {
            let asked = sink.requests_in_all();
            run.report.fail(
                name,
                format!("asked {asked} times in {length:?} though told to wait {RETRY_AFTER:?}"),
            );
        }
    }
    Ok(())
}

/// Checks the state of an exporter whose sink has answered in one way only.
fn judge_answer(mode: Mode, seen: &ExporterView) -> Result<(), String> {
    let state = |wanted: &[&str]| wanted.contains(&seen.state.as_str());
    let no_letters = seen.dead_letters == 0;
    let fine = match mode {
        Mode::Ok | Mode::Drip => {
            no_letters && seen.sent_entries > 0 && seen.failed_requests == 0 && state(&["live", "catching_up"])
        }
        Mode::Unavailable | Mode::RetryLater | Mode::Throttled | Mode::Reset | Mode::Down => {
            no_letters
                && seen.sent_entries == 0
                && seen.debt_entries > 0
                && seen.failed_requests > 0
                && state(&["retrying"])
        }
        // Between two attempts its state is `retrying`; during one it is as if nothing were wrong.
        Mode::Hang => no_letters && seen.sent_entries == 0 && seen.debt_entries > 0 && !state(&["stopped", "full"]),
        Mode::Invalid => seen.dead_letters > 0 && seen.sent_entries == 0,
        Mode::InvalidMarked => seen.dead_letters > 0 && seen.sent_entries > 0,
        Mode::Unauthenticated | Mode::NotFound => no_letters && seen.sent_entries == 0 && state(&["stopped"]),
        Mode::TooLarge => no_letters && seen.sent_entries > 0,
        Mode::Partial => no_letters && seen.rejected_records > 0 && seen.retried_requests == 0,
    };
    fine.then_some(())
        .ok_or_else(|| format!("not as {mode:?} should show: {seen:?}"))
}

/// Lets all sinks accept everything: each entry that is not a dead letter arrives once.
async fn heal(run: &mut Run, setup: &NodeSetup, sinks: &[Case], history: &History) -> anyhow::Result<()> {
    for (name, mode, _, sink) in sinks {
        sink.switch(Mode::Ok);
        if matches!(mode, Mode::Unauthenticated | Mode::NotFound) {
            ctl_json(setup, &["exporter", "resume", name]).await?;
        }
    }
    let (views, paid) = wait_exporters(setup, DEBT_PATIENCE, is_paid).await?;
    if !paid {
        run.report
            .fail("heal", format!("debt stays though all sinks take all: {views:?}"));
    }
    for (name, mode, _, sink) in sinks {
        let (mut verdict, copies) = judge_sink(history, &sink.ledger());
        let letters = views
            .iter()
            .find(|view| view.name == *name)
            .map_or(0, |view| view.dead_letters);
        let refused_for_good = match mode {
            Mode::Invalid => true,
            Mode::InvalidMarked => verdict.lost.iter().all(|id| Mode::marks(*id)),
            Mode::Ok
            | Mode::Unavailable
            | Mode::RetryLater
            | Mode::Throttled
            | Mode::Unauthenticated
            | Mode::NotFound
            | Mode::TooLarge
            | Mode::Reset
            | Mode::Hang
            | Mode::Partial
            | Mode::Drip
            | Mode::Down => false,
        };
        if refused_for_good && verdict.lost.len() as u64 == letters {
            verdict.lost.clear();
        }
        // A sink that gave no answer may have been asked again although it had accepted the first request.
        if copies > 0 && !matches!(mode, Mode::Hang | Mode::Reset | Mode::Drip) {
            run.report.fail(name, format!("{copies} copies too many"));
        }
        let round = Round {
            name: (*name).to_owned(),
            tally: history.tally(0),
            covered: sink.requests_in_all() > 0,
            note: format!("{letters} dead letters, {copies} copies"),
            verdict,
            ..Round::default()
        };
        run.report.push(round);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &str, sent: u64, debt: u64, letters: u64) -> ExporterView {
        ExporterView {
            state: state.into(),
            sent_entries: sent,
            debt_entries: debt,
            dead_letters: letters,
            failed_requests: u64::from(debt > 0),
            ..ExporterView::default()
        }
    }

    #[test]
    fn what_was_dead_lettered_although_the_sink_only_asked_to_wait_is_a_failure() {
        for mode in [
            Mode::Unavailable,
            Mode::RetryLater,
            Mode::Throttled,
            Mode::Reset,
            Mode::Down,
        ] {
            assert!(judge_answer(mode, &seen("retrying", 0, 5, 0)).is_ok(), "{mode:?}");
            assert!(judge_answer(mode, &seen("retrying", 0, 5, 1)).is_err(), "{mode:?}");
            assert!(judge_answer(mode, &seen("stopped", 0, 5, 0)).is_err(), "{mode:?}");
            assert!(judge_answer(mode, &seen("retrying", 1, 5, 0)).is_err(), "{mode:?}");
        }
    }

    #[test]
    fn an_operators_fault_stops_and_dead_letters_nothing_and_bad_data_does() {
        for mode in [Mode::Unauthenticated, Mode::NotFound] {
            assert!(judge_answer(mode, &seen("stopped", 0, 5, 0)).is_ok());
            assert!(judge_answer(mode, &seen("retrying", 0, 5, 0)).is_err());
            assert!(judge_answer(mode, &seen("stopped", 0, 5, 2)).is_err());
        }
        assert!(judge_answer(Mode::Invalid, &seen("live", 0, 0, 5)).is_ok());
        assert!(judge_answer(Mode::Invalid, &seen("retrying", 0, 5, 0)).is_err());
        assert!(judge_answer(Mode::InvalidMarked, &seen("live", 5, 0, 5)).is_ok());
        assert!(judge_answer(Mode::Ok, &seen("live", 5, 0, 0)).is_ok());
        assert!(judge_answer(Mode::Ok, &seen("retrying", 5, 1, 0)).is_err());
    }
}

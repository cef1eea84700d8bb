//! Code that the scenarios with exporters share: a sink, the node's own status, and the check of what the sink
//! accepted.
//!
//! **Owns**: [`judge_sink`], [`StatusView`], [`status`], [`Meter`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::Run;
use crate::check::{Verdict, check};
use crate::ctl::{ExporterView, ctl_json, is_paid, wait_exporters};
use crate::history::{Attempt, History, Outcome};
use crate::node::{ExporterSetup, NodeSetup};
use crate::payload::PayloadHash;
use crate::sink::{Ledger, Sink};

const UNAVAILABLE: u8 = 14;
const DEADLINE_EXCEEDED: u8 = 4;
/// Time within which the debt must be paid once the sink accepts everything.
pub(super) const DEBT_PATIENCE: Duration = Duration::from_secs(300);
const METER_PERIOD: Duration = Duration::from_millis(100);

/// An exporter to this sink, over gRPC.
pub(super) fn exporter_to(sink: &Sink) -> ExporterSetup {
    ExporterSetup::grpc("sink", sink.grpc)
}

/// Compares what a sink accepted with what clients saw. Also returns the number of copies that no client explains.
pub(super) fn judge_sink(history: &History, ledger: &Ledger) -> (Verdict, usize) {
    let named = |attempt: &Attempt| Attempt {
        hash: PayloadHash::named(attempt.id, attempt.fingerprint),
        ..*attempt
    };
    let named = History {
        attempts: history.attempts.iter().map(named).collect(),
    };
    let mut verdict = check(&named, &ledger.replayed());
    let copies = verdict.duplicates.drain(..).map(|found| found.copies - found.allowed);
    let copies = copies.sum();
    (verdict, copies)
}

/// Waits until all debt is paid; a debt that stays is a failure.
pub(super) async fn wait_paid(run: &mut Run, setup: &NodeSetup, name: &str) -> anyhow::Result<()> {
    let (exporters, paid) = wait_exporters(setup, DEBT_PATIENCE, is_paid).await?;
    if !paid {
        let owing: Vec<_> = exporters.iter().filter(|one| one.debt_entries > 0).map(owed).collect();
        let what = format!("after {DEBT_PATIENCE:?} there is still debt: {}", owing.join("; "));
        run.report.fail(name, what);
    }
    Ok(())
}

fn owed(exporter: &ExporterView) -> String {
    let ExporterView {
        name,
        state,
        debt_entries,
        last_answer,
        ..
    } = exporter;
    let said = last_answer.as_deref().unwrap_or("no answer");
    format!("{name} is {state} and owes {debt_entries} entries ({said})")
}

/// Checks that every refusal is one that every client retries. A request that did not arrive completely within
/// `ingest.read_timeout` may be refused for that; returns the number of those.
pub(super) fn judge_refusals(run: &mut Run, history: &History) -> usize {
    let (mut unread, mut bad) = (0, Vec::new());
    for attempt in &history.attempts {
        match attempt.outcome {
            Outcome::Refused {
                code: DEADLINE_EXCEEDED,
                ..
            } => unread += 1,
            Outcome::Refused { code, retry_info, .. } if code != UNAVAILABLE || !retry_info => {
                bad.push(attempt.outcome)
            }
            Outcome::Refused { .. } | Outcome::Acked | Outcome::TimedOut | Outcome::ConnectionLost => {}
        }
    }
    if let Some(first) = bad.first() {
        let what = format!(
            "{} refusals without UNAVAILABLE and RetryInfo in both places: {first:?}",
            bad.len()
        );
        run.report.fail("refusals", what);
    }
    unread
}

/// The parts of `gs-ctl -o json status` that scenarios read.
#[derive(Clone, Default, Debug, Deserialize)]
pub(super) struct StatusView {
    pub(super) zone: Option<ZoneView>,
    pub(super) disk: DiskView,
}

#[derive(Clone, Default, Debug, Deserialize)]
pub(super) struct ZoneView {
    pub(super) zone: String,
    pub(super) transitions: Vec<TransitionView>,
}

#[derive(Clone, Default, Debug, Deserialize)]
pub(super) struct TransitionView {
    pub(super) to: String,
    pub(super) count: u64,
}

#[derive(Clone, Default, Debug, Deserialize)]
pub(super) struct DiskView {
    pub(super) used_bytes: u64,
    pub(super) tier: String,
    pub(super) dropped_segments: u64,
    pub(super) dropped_entries: u64,
}

impl StatusView {
    /// Number of times that this zone was entered since the boot.
    pub(super) fn entered(&self, zone: &str) -> u64 {
        let all = self.zone.iter().flat_map(|status| &status.transitions);
        all.filter(|transition| transition.to == zone)
            .map(|transition| transition.count)
            .sum()
    }

    /// The zone in force.
    pub(super) fn zone(&self) -> &str {
        self.zone.as_ref().map_or("unknown", |status| &status.zone)
    }
}

/// The node's own status.
pub(super) async fn status(setup: &NodeSetup) -> anyhow::Result<StatusView> {
    Ok(serde_json::from_value(ctl_json(setup, &["status"]).await?)?)
}

/// Counts the payloads that a sink has accepted, ten times a second.
pub(super) struct Meter {
    sink: Arc<Sink>,
    seen: Arc<Mutex<Vec<(Instant, usize)>>>,
    task: JoinHandle<()>,
}

impl Meter {
    pub(super) fn start(sink: &Arc<Sink>) -> Self {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (from, into) = (Arc::clone(sink), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let point = (Instant::now(), from.payloads());
                into.lock().expect("nothing panics with it").push(point);
                tokio::time::sleep(METER_PERIOD).await;
            }
        });
        Self {
            sink: Arc::clone(sink),
            seen,
            task,
        }
    }

    /// Number of payloads accepted in the last `window`.
    pub(super) fn taken_in_last(&self, window: Duration) -> usize {
        let seen = self.seen.lock().expect("nothing panics with it");
        let since = Instant::now().checked_sub(window);
        let before = seen
            .iter()
            .take_while(|(at, _)| since.is_some_and(|since| *at <= since))
            .last();
        self.sink.payloads() - before.map_or(0, |(_, taken)| *taken)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{OfferSpec, Pattern, offer};
    use crate::payload::PayloadId;
    use crate::sink::Mode;

    #[tokio::test(flavor = "multi_thread")]
    async fn at_the_sink_a_planted_loss_phantom_and_copy_are_found_and_an_honest_run_is_clean() {
        let sink = Sink::start(Mode::Ok).await.unwrap();
        let pattern = Pattern {
            rate: 200.0,
            length: Duration::from_millis(100),
            burst: None,
        };
        let spec = OfferSpec {
            records: 5,
            ..OfferSpec::new(sink.grpc, pattern)
        };
        let mut history = offer(spec, || {}).await.unwrap().history();
        let ledger = sink.ledger();
        let (verdict, copies) = judge_sink(&history, &ledger);
        assert!(verdict.is_clean() && copies == 0 && verdict.acked == 20, "{verdict:?}");

        let gone = history.attempts.pop().unwrap();
        let (verdict, _) = judge_sink(&history, &ledger);
        assert_eq!((verdict.phantoms.len(), verdict.lost.len()), (1, 0));
        history.attempts.push(gone);
        history.attempts.push(Attempt {
            id: PayloadId {
                connection: 99,
                sequence: 1,
            },
            ..gone
        });
        let (verdict, _) = judge_sink(&history, &ledger);
        assert_eq!((verdict.phantoms.len(), verdict.lost.len()), (0, 1));

        history.attempts.pop();
        let mut twice = ledger;
        twice.repeat_first();
        let (_, copies) = judge_sink(&history, &twice);
        assert_eq!(copies, 1);
    }

    #[test]
    fn a_status_is_read_with_its_zone_and_its_disk() {
        let text = r#"{"zone":{"zone":"yellow","transitions":[{"from":"green","to":"red","count":1},
            {"from":"yellow","to":"red","count":2},{"from":"red","to":"yellow","count":3}]},
            "disk":{"used_bytes":7,"tier":"normal","dropped_segments":1,"dropped_entries":2},"more":1}"#;
        let status: StatusView = serde_json::from_str(text).unwrap();
        assert_eq!((status.entered("red"), status.zone()), (3, "yellow"));
        assert_eq!((status.disk.used_bytes, status.disk.dropped_entries), (7, 2));
        let none: StatusView = serde_json::from_str(&text.replace("\"zone\":{", "\"other\":{")).unwrap();
        assert_eq!((none.entered("red"), none.zone()), (0, "unknown"));
    }
}

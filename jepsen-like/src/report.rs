//! The findings of a run: a table for people, JSON for machines.
//!
//! **Owns**: [`Report`] and [`Round`].
//!
//! **Invariants**:
//! - I1: a run has passed only when nothing failed *and* the planned fault occurred.

use std::fmt;

use serde::Serialize;

use crate::check::Verdict;
use crate::history::Tally;

/// Limit of names that are listed for each kind of finding; the counts are complete.
const LISTED_MAX: usize = 5;

/// One round of a run.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Round {
    /// Name of the round: the fault that was injected.
    pub name: String,
    /// Counts of the round's requests.
    pub tally: Tally,
    /// Verdict on the replay after it, over the whole run so far.
    pub verdict: Verdict,
    /// True where the fault came at the moment that was meant.
    pub covered: bool,
    /// Milliseconds from the start of the process to readiness.
    pub ready_ms: Option<u64>,
    /// Time on the history's clock at which the power cut began: no client has an ack of a later time.
    pub power_went: Option<u64>,
    /// Further remarks.
    pub note: String,
}

/// A whole run.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed that repeats the traffic and the positions of the faults.
    pub seed: u64,
    /// True where the run had to show a loss, as a control of the harness.
    pub expect_loss: bool,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// Broken promises.
    pub failures: Vec<String>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &str, seed: u64) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            ..Self::default()
        }
    }

    /// Adds a round, and records the failures in its verdict.
    pub fn push(&mut self, round: Round) {
        let verdict = &round.verdict;
        if !self.expect_loss && !verdict.lost.is_empty() {
            self.fail(
                &round.name,
                format!("{} acknowledged lost: {}", verdict.lost.len(), some(&verdict.lost)),
            );
        }
        if !verdict.phantoms.is_empty() {
            self.fail(
                &round.name,
                format!("{} phantoms: {}", verdict.phantoms.len(), some(&verdict.phantoms)),
            );
        }
        if !verdict.duplicates.is_empty() {
            let found = &verdict.duplicates;
            self.fail(
                &round.name,
                format!("{} unexplained duplicates: {}", found.len(), some(found)),
            );
        }
        if !verdict.disorder.is_empty() {
            let found = &verdict.disorder;
            self.fail(&round.name, format!("{} out of order: {}", found.len(), some(found)));
        }
        eprintln!("{}", line(&round));
        self.rounds.push(round);
    }

    /// Records a broken promise.
    pub fn fail(&mut self, round: &str, what: impl fmt::Display) {
        self.failures.push(format!("{round}: {what}"));
    }

    /// Number of rounds whose fault came at the moment that was meant.
    pub fn covered(&self) -> usize {
        self.rounds.iter().filter(|round| round.covered).count()
    }

    /// Number of rounds that lost an acknowledged payload.
    pub fn rounds_with_loss(&self) -> usize {
        self.rounds
            .iter()
            .filter(|round| !round.verdict.lost.is_empty())
            .count()
    }

    /// True where the run proves what it is for.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.covered() > 0 && (!self.expect_loss || self.rounds_with_loss() > 0)
    }

    /// The report as JSON, with its summary.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("a report has only strings and numbers");
        value["covered_rounds"] = self.covered().into();
        value["rounds_with_loss"] = self.rounds_with_loss().into();
        value["passed"] = self.passed().into();
        value
    }
}

fn some(all: &[impl fmt::Display]) -> String {
    let mut text: Vec<_> = all.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if all.len() > LISTED_MAX {
        text.push("...".into());
    }
    text.join(", ")
}

const HEAD: &str =
    "round                 acked refused unknown | replayed unacked  dup  lost phantom order cover ready-ms";

fn line(round: &Round) -> String {
    let (tally, verdict) = (&round.tally, &round.verdict);
    format!(
        "{:<20} {:>6} {:>7} {:>7} | {:>8} {:>7} {:>4} {:>5} {:>7} {:>5} {:>5} {:>8} {}",
        round.name,
        tally.acked,
        tally.refused,
        tally.unknown,
        verdict.replayed,
        verdict.stored_unacked,
        verdict.retried_copies,
        verdict.lost.len(),
        verdict.phantoms.len(),
        verdict.disorder.len(),
        if round.covered { "yes" } else { "no" },
        round.ready_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
        round.note,
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}\n{HEAD}", self.scenario, self.seed)?;
        for round in &self.rounds {
            writeln!(f, "{}", line(round).trim_end())?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        writeln!(
            f,
            "the fault came as planned in {} of {} rounds",
            self.covered(),
            self.rounds.len()
        )?;
        if self.expect_loss {
            writeln!(
                f,
                "a loss was to be seen, and was in {} rounds",
                self.rounds_with_loss()
            )?;
        }
        write!(f, "{}", if self.passed() { "PASSED" } else { "NOT PASSED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::PayloadId;

    fn round(lost: usize, covered: bool) -> Round {
        let id = |sequence| PayloadId {
            connection: 0,
            sequence,
        };
        let lost = (0..lost as u64).map(id).collect();
        Round {
            covered,
            verdict: Verdict {
                lost,
                ..Verdict::default()
            },
            ..Round::default()
        }
    }

    #[test]
    fn i1_a_run_without_its_fault_or_with_a_loss_has_not_passed() {
        let run = |rounds: &[Round], expect_loss| {
            let mut report = Report {
                expect_loss,
                ..Report::default()
            };
            rounds.iter().for_each(|round| report.push(round.clone()));
            report.passed()
        };
        assert!(run(&[round(0, true), round(0, false)], false));
        assert!(!run(&[round(0, false)], false));
        assert!(!run(&[round(1, true)], false));
        assert!(!run(&[], false));
        assert!(run(&[round(1, true)], true));
        assert!(!run(&[round(0, true)], true));
    }
}

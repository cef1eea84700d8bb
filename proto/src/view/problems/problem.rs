//! A problem, how bad it is, and its remedy.

use schemars::JsonSchema;
use serde::Serialize;

/// How bad a problem is. In order: the later, the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It bears waiting for the morning.
    Warning,
    /// Somebody has to look now: what is acknowledged may be lost or is out of reach, or what the cluster is for stands
    /// still.
    Critical,
}

/// A problem.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ProblemView {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl ProblemView {
    /// The same, of a critical severity where so.
    pub(super) fn critical_if(self, is_critical: bool) -> Self {
        let severity = if is_critical { Severity::Critical } else { self.severity };
        Self { severity, ..self }
    }
}

pub(super) fn problem(what: String, remedy: impl Into<String>) -> ProblemView {
    ProblemView {
        severity: Severity::Warning,
        what,
        remedy: remedy.into(),
    }
}

pub(super) fn critical(what: String, remedy: impl Into<String>) -> ProblemView {
    problem(what, remedy).critical_if(true)
}

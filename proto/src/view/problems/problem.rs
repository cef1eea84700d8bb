//! A problem and its remedy.

use schemars::JsonSchema;
use serde::Serialize;

/// A problem.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ProblemView {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

pub(super) fn problem(what: String, remedy: impl Into<String>) -> ProblemView {
    let remedy = remedy.into();
    ProblemView { what, remedy }
}

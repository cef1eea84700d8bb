//! How a command ends: exit codes, and what is said on stderr.

use std::process::ExitCode;

use thiserror::Error;
use tonic::{Code, Status};

/// A command did what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// And all is well.
    Done,
    /// And what it looked at ended badly, as it has shown.
    Failed,
    /// And it found damage, as it has shown.
    Damage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::from(1),
            Outcome::Damage => Self::from(4),
        }
    }
}

/// Errors with an exit code of their own.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line cannot be.
    #[error("{0}")]
    Usage(String),
    /// No node answered.
    #[error("{0}")]
    Unreachable(String),
    /// The node refused.
    #[error("{0}")]
    Refused(String),
}

/// What the node said instead of an answer.
pub(crate) fn refused(status: &Status) -> Failure {
    let said = status.message();
    match status.code() {
        // Our node says why; a connection that broke says only how.
        Code::Unknown | Code::Cancelled | Code::Internal if status.metadata().is_empty() => {
            Failure::Unreachable(format!(
                "the connection to the node broke ({said}): it ended, or it does not serve this user (only root and its own)"
            ))
        }
        Code::Unavailable => Failure::Unreachable(format!("the node is not there for it now: {said}")),
        Code::Unimplemented => Failure::Refused(format!(
            "the node does not know this call: it is of another version ({said})"
        )),
        _ => Failure::Refused(said.to_owned()),
    }
}

/// Says what went wrong, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("gs-ctl: {}", story(error));
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => ExitCode::from(2),
        Some(Failure::Unreachable(_)) => ExitCode::from(3),
        Some(Failure::Refused(_)) | None => ExitCode::from(1),
    }
}

/// An error and its causes, those left out that it tells by itself.
fn story(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| match told {
            told if told.is_empty() => cause,
            told if told.contains(&cause) => told,
            told => format!("{told}: {cause}"),
        })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("no such file")
            .context("cannot open x: no such file")
            .context("cannot start");
        assert_eq!(story(&error), "cannot start: cannot open x: no such file");
    }

    #[test]
    fn an_exit_code_survives_what_is_said_around_it() {
        let error = Err::<(), _>(Failure::Unreachable("gone".to_owned()))
            .context("on the way")
            .unwrap_err();
        assert!(matches!(error.downcast_ref::<Failure>(), Some(Failure::Unreachable(_))));
    }
}

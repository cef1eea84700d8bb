//! Outcomes of commands: exit codes, and the text on stderr.

use std::error::Error as _;
use std::process::ExitCode;

use gophership_archiver::ObjectError;
use gophership_vault::{Disposition, VaultError};
use thiserror::Error;
use tonic::{Code, Status};

/// The outcome of a command that ran to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// The subject of the command ended badly, which the answer shows.
    Failed,
    /// There is damage, which the answer shows.
    Damage,
    /// The command gave up, which the answer shows.
    GaveUp,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::from(1),
            Outcome::Damage => Self::from(4),
            Outcome::GaveUp => Self::from(5),
        }
    }
}

/// Errors with an exit code of their own.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// No node answered, or not to the end.
    #[error("{0}")]
    Unreachable(String),
    /// The node refused.
    #[error("{0}")]
    Refused(String),
    /// The node found damage.
    #[error("{0}")]
    Damaged(String),
    /// Nothing moved for as long as the command was to wait.
    #[error("{0}")]
    GaveUp(String),
}

/// The failure that a node's status stands for.
pub(crate) fn refused(status: &Status) -> Failure {
    let said = status.message();
    match status.code() {
        // A status sent by the node has no source; one made from a broken connection has one.
        _ if is_silent(status) => Failure::Unreachable(
            "the node is there and says nothing: its process is stopped or stuck. `ps -o pid,stat,cmd -C gophership` \
             shows T for one that is stopped (kill -CONT PID lets it go on); otherwise see its log and its disk. In a \
             cluster, ask another node"
                .to_owned(),
        ),
        Code::Unknown | Code::Cancelled | Code::Internal | Code::Unavailable if status.source().is_some() => {
            Failure::Unreachable(format!(
                "the connection to the node broke ({said}): it ended, or it does not serve this user (only root and \
                 its own)"
            ))
        }
        Code::Unavailable => Failure::Refused(format!("the node cannot do it now: {said}")),
        Code::Unimplemented => Failure::Refused(format!(
            "the node does not know this call: it is of another version ({said})"
        )),
        Code::DataLoss => Failure::Damaged(said.to_owned()),
        _ => Failure::Refused(said.to_owned()),
    }
}

/// True where a connection was given up because the node answered nothing on it.
fn is_silent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_timeout)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Prints an error to stderr, and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("gs-ctl: {}", story(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::Unreachable(_)) => 3,
        Some(Failure::Damaged(_)) => 4,
        Some(Failure::GaveUp(_)) => 5,
        Some(Failure::Refused(_)) => 1,
        // The error concerns a file that was read here.
        None => {
            let of_vault = error.downcast_ref::<VaultError>().map(VaultError::disposition);
            let of_object = error.downcast_ref::<ObjectError>().map(ObjectError::disposition);
            match of_vault.or(of_object) {
                Some(Disposition::Corrupt) => 4,
                _ => 1,
            }
        }
    }
}

/// An error and its causes, without those whose text it already contains.
pub(crate) fn story(error: &anyhow::Error) -> String {
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
        assert_eq!(code(&error), 3);
    }

    #[test]
    fn damage_is_damage_whoever_found_it() {
        let here = VaultError::Damaged {
            path: "x.wal".into(),
            offset: 0,
            what: "torn",
        };
        assert_eq!(code(&here.into()), 4);
        let object = ObjectError::Damaged {
            offset: 0,
            what: "torn",
        };
        assert_eq!(code(&anyhow::Error::from(object).context("x.zst")), 4);
        assert_eq!(code(&refused(&Status::data_loss("1/0/1 is damaged")).into()), 4);
    }

    #[test]
    fn what_a_node_says_is_no_broken_connection() {
        let said = refused(&Status::internal("cannot open 1/0/5.gsseg"));
        assert_eq!(code(&said.into()), 1);
        let waits = refused(&Status::unavailable("this node waits for its cluster"));
        assert_eq!(code(&waits.into()), 1, "it was reached");
        let broken = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        assert_eq!(code(&refused(&broken).into()), 3);
    }
}

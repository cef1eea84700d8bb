//! The reaction of a sender to an answer: the one place that decides it, for live export, replay and dead letters
//! alike. A pure function.

use std::time::Duration;

use super::answer::Answer;
use super::limits::FAILED_TRIES;

/// The rules in which senders differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    /// An entry that is too large is sent in parts.
    pub(crate) splits_entries: bool,
    /// A request that can be retried is retried for ever; otherwise sending ends there.
    pub(crate) retries: bool,
    /// The sender waits for a fault that an operator must set right; otherwise sending ends there.
    pub(crate) waits_for_operator: bool,
    /// Attempts at one entry for which a sink has no room, or which it finds too large: it does not say which. `None`:
    /// without limit.
    pub(crate) exhausted_tries: Option<u32>,
    /// Attempts at one entry at which a sink fails when no neighbours are left to show the fault's side. `None`:
    /// without limit, since there will be neighbours.
    pub(crate) last_tries: Option<u32>,
    /// Failures in a row, of all entries together, that end the sending. `None`: none do.
    pub(crate) failures_max: Option<u32>,
}

/// A request's shape and its earlier answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// Number of entries in it.
    pub(super) entries: usize,
    /// True where one of them could be sent in parts.
    pub(super) divisible: bool,
    /// Earlier answers that said that the sink failed.
    pub(super) failed: u32,
    /// Earlier answers that said that it is too large, or comes too often.
    pub(super) exhausted: u32,
    /// True where it is part of a batch at which the sink failed often enough, or where another entry is suspect.
    pub(super) hunted: bool,
    /// Failures in a row before this answer.
    pub(super) failures_in_row: u32,
}

/// The reason for which the same request is sent again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// The sink may accept it then.
    Retry,
    /// The sink accepts nothing before an operator sets something right.
    Operator,
}

/// The reaction to an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The piece is settled.
    Taken,
    /// The same piece is sent again after a pause, which is at least as long as the sink asks for.
    Again(Hold, Option<Duration>),
    /// The piece is sent in two halves; `size` is true where it is too large.
    Halve { size: bool },
    /// Its one entry is suspect, and others go first.
    SetAside,
    /// Its one entry is refused.
    Refuse,
    /// Nothing more is sent.
    Stop,
}

/// Decides the reaction to an answer.
pub(super) fn decide(answer: &Answer, at: Standing, rules: &Rules) -> Verdict {
    let again = |after| {
        if rules.retries {
            Verdict::Again(Hold::Retry, after)
        } else {
            Verdict::Stop
        }
    };
    let too_large = at.entries > 1 || (rules.splits_entries && at.divisible);
    match answer {
        Answer::Accepted | Answer::AcceptedInPart { .. } => Verdict::Taken,
        Answer::Retry { after, .. } => again(*after),
        Answer::Failed { .. } if rules.failures_max.is_some_and(|max| at.failures_in_row + 1 >= max) => Verdict::Stop,
        Answer::Failed { after, .. } if rules.retries && !at.hunted && at.failed + 1 < FAILED_TRIES => again(*after),
        Answer::Failed { .. } if at.entries > 1 => Verdict::Halve { size: false },
        Answer::Failed { .. } => Verdict::SetAside,
        Answer::TooLarge(_) | Answer::Exhausted(_) if too_large => Verdict::Halve { size: true },
        Answer::TooLarge(_) => Verdict::Refuse,
        Answer::Exhausted(_) if rules.exhausted_tries.is_some_and(|tries| at.exhausted >= tries) => Verdict::Refuse,
        Answer::Exhausted(_) => again(None),
        // Perhaps only one of several entries is refused.
        Answer::Refused(_) if at.entries > 1 => Verdict::Halve { size: false },
        Answer::Refused(_) => Verdict::Refuse,
        Answer::Operator(_) if rules.waits_for_operator => Verdict::Again(Hold::Operator, None),
        Answer::Operator(_) => Verdict::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: Rules = Rules {
        splits_entries: true,
        retries: true,
        waits_for_operator: true,
        exhausted_tries: None,
        last_tries: None,
        failures_max: None,
    };
    const REPLAY: Rules = Rules {
        splits_entries: false,
        waits_for_operator: false,
        exhausted_tries: Some(10),
        last_tries: Some(10),
        ..EXPORT
    };
    const LETTERS: Rules = Rules {
        retries: false,
        exhausted_tries: None,
        last_tries: Some(1),
        failures_max: Some(5),
        ..REPLAY
    };

    fn at(entries: usize) -> Standing {
        Standing {
            entries,
            divisible: entries > 1,
            failed: 0,
            exhausted: 0,
            hunted: false,
            failures_in_row: 0,
        }
    }

    #[test]
    fn one_table_for_all_three() {
        let why = || "x".to_owned();
        let (retry, failed) = (
            Answer::Retry {
                after: Some(Duration::from_secs(7)),
                why: why(),
            },
            Answer::Failed {
                after: None,
                why: why(),
            },
        );
        let (large, exhausted) = (Answer::TooLarge(why()), Answer::Exhausted(why()));
        let (refused, operator) = (Answer::Refused(why()), Answer::Operator(why()));
        let again = |secs: Option<u64>| Verdict::Again(Hold::Retry, secs.map(Duration::from_secs));
        let (by_size, halve) = (Verdict::Halve { size: true }, Verdict::Halve { size: false });
        let divisible = Standing {
            divisible: true,
            ..at(1)
        };
        let hunted = |entries| Standing {
            hunted: true,
            ..at(entries)
        };
        let after = |failed| Standing { failed, ..at(9) };
        let one_after = |failed| Standing { failed, ..at(1) };
        let tried = |exhausted| Standing { exhausted, ..at(1) };
        let row = |failures_in_row| Standing {
            failures_in_row,
            ..hunted(1)
        };
        for (answer, standing, [export, replay, letters]) in [
            (
                &Answer::Accepted,
                at(3),
                [Verdict::Taken, Verdict::Taken, Verdict::Taken],
            ),
            (&retry, at(3), [again(Some(7)), again(Some(7)), Verdict::Stop]),
            (&retry, hunted(1), [again(Some(7)), again(Some(7)), Verdict::Stop]),
            (&failed, after(3), [again(None), again(None), halve.clone()]),
            (&failed, after(4), [halve.clone(), halve.clone(), halve.clone()]),
            (&failed, one_after(3), [again(None), again(None), Verdict::SetAside]),
            (
                &failed,
                one_after(4),
                [Verdict::SetAside, Verdict::SetAside, Verdict::SetAside],
            ),
            (&failed, hunted(2), [halve.clone(), halve.clone(), halve.clone()]),
            (
                &failed,
                hunted(1),
                [Verdict::SetAside, Verdict::SetAside, Verdict::SetAside],
            ),
            (&failed, row(4), [Verdict::SetAside, Verdict::SetAside, Verdict::Stop]),
            (&large, at(3), [by_size.clone(), by_size.clone(), by_size.clone()]),
            (&large, divisible, [by_size.clone(), Verdict::Refuse, Verdict::Refuse]),
            (&large, at(1), [Verdict::Refuse, Verdict::Refuse, Verdict::Refuse]),
            (&exhausted, divisible, [by_size, again(None), Verdict::Stop]),
            (&exhausted, tried(10), [again(None), Verdict::Refuse, Verdict::Stop]),
            (&refused, at(3), [halve.clone(), halve.clone(), halve]),
            (&refused, at(1), [Verdict::Refuse, Verdict::Refuse, Verdict::Refuse]),
            (
                &operator,
                at(3),
                [Verdict::Again(Hold::Operator, None), Verdict::Stop, Verdict::Stop],
            ),
        ] {
            for (rules, expected) in [(EXPORT, export), (REPLAY, replay), (LETTERS, letters)] {
                assert_eq!(
                    decide(answer, standing, &rules),
                    expected,
                    "{answer:?} {standing:?} {rules:?}"
                );
            }
        }
    }
}

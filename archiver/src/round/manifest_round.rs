//! One manifest, put, read back and committed.
//!
//! **Invariants**:
//! - I1: a manifest is committed only after it was read back whole.
//! - I2: one of which the store has other bytes is put anew under another name, since nothing is overwritten.
//!
//! **Not here**: its content (`manifest`); which objects it lists.

/// An event: the answer to an action, or that time has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestEvent {
    /// The store has it, as far as it says.
    Put {
        /// The attempt in its content.
        attempt: u32,
    },
    /// The store has something else under its name.
    NameTaken {
        /// The attempt in its content.
        attempt: u32,
    },
    /// It was read back.
    Verified {
        /// The attempt in its content.
        attempt: u32,
        /// True where it is what was put.
        is_same: bool,
    },
    /// The catalogue has it.
    Committed,
    /// The catalogue refuses it: another manifest follows the one before.
    Overtaken,
    /// Time has passed: what has no answer is repeated.
    Retry,
}

/// An action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestAction {
    /// Put the manifest into the store, where nothing of its name is.
    Put {
        /// The attempt, which is a part of its content.
        attempt: u32,
    },
    /// Read it back, all of it.
    Verify {
        /// The attempt in its content.
        attempt: u32,
    },
    /// Put on record that it is the newest one.
    Commit {
        /// The attempt in its content.
        attempt: u32,
    },
    /// This round is over.
    End(ManifestEnding),
}

/// The end of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestEnding {
    /// The manifest is the newest one, or was.
    Committed,
    /// Another one is. What is left to be listed is for a round that follows it.
    Overtaken,
}

#[derive(Clone, Copy)]
enum Stage {
    Putting,
    Verifying,
    Committing,
    Over(ManifestEnding),
}

/// One manifest.
pub struct ManifestRound {
    stage: Stage,
    attempt: u32,
}

impl ManifestRound {
    /// A round that begins, with the action that is to be done first.
    pub fn new() -> (Self, ManifestAction) {
        let round = Self {
            stage: Stage::Putting,
            attempt: 1,
        };
        (round, ManifestAction::Put { attempt: 1 })
    }

    /// Takes an event, and returns the action that follows, if one does. An answer to an action of before changes
    /// nothing.
    pub fn step(&mut self, event: ManifestEvent) -> Option<ManifestAction> {
        use ManifestEvent as Event;
        let is_now = |attempt: u32| attempt == self.attempt;
        self.stage = match (self.stage, event) {
            (Stage::Over(_), _) => return None,
            (stage, Event::Retry) => stage,
            (Stage::Putting, Event::Put { attempt }) if is_now(attempt) => Stage::Verifying,
            (Stage::Verifying, Event::Verified { attempt, is_same: true }) if is_now(attempt) => Stage::Committing,
            (Stage::Putting, Event::NameTaken { attempt })
            | (
                Stage::Verifying,
                Event::Verified {
                    attempt,
                    is_same: false,
                },
            ) if is_now(attempt) => {
                // The next one begins at the next retry.
                self.attempt += 1;
                self.stage = Stage::Putting;
                return None;
            }
            (Stage::Committing, Event::Committed) => Stage::Over(ManifestEnding::Committed),
            (Stage::Committing, Event::Overtaken) => Stage::Over(ManifestEnding::Overtaken),
            (Stage::Putting | Stage::Verifying | Stage::Committing, _) => return None,
        };
        Some(self.action())
    }

    /// The action of the stage.
    fn action(&self) -> ManifestAction {
        let attempt = self.attempt;
        match self.stage {
            Stage::Putting => ManifestAction::Put { attempt },
            Stage::Verifying => ManifestAction::Verify { attempt },
            Stage::Committing => ManifestAction::Commit { attempt },
            Stage::Over(ending) => ManifestAction::End(ending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: ManifestEvent = ManifestEvent::Put { attempt: 1 };
    const SAME: ManifestEvent = ManifestEvent::Verified {
        attempt: 1,
        is_same: true,
    };

    #[test]
    fn i1_every_step_waits_for_the_one_before() {
        let steps = [
            (PUT, ManifestAction::Verify { attempt: 1 }),
            (SAME, ManifestAction::Commit { attempt: 1 }),
            (ManifestEvent::Committed, ManifestAction::End(ManifestEnding::Committed)),
        ];
        let (mut round, mut last) = ManifestRound::new();
        for (event, action) in steps {
            for (other, _) in steps.iter().filter(|(other, _)| *other != event) {
                assert_eq!(round.step(*other), None, "{other:?} before {event:?}");
            }
            assert_eq!(round.step(ManifestEvent::Retry), Some(last));
            last = round.step(event).unwrap();
            assert_eq!(last, action);
        }
        assert_eq!(round.step(ManifestEvent::Retry), None);
    }

    #[test]
    fn i2_other_bytes_under_its_name_make_another_name() {
        let taken = ManifestEvent::NameTaken { attempt: 1 };
        let differs = ManifestEvent::Verified {
            attempt: 1,
            is_same: false,
        };
        for wrong in [&[taken][..], &[PUT, differs]] {
            let (mut round, first) = ManifestRound::new();
            let mut last = Some(first);
            for event in wrong {
                last = round.step(*event);
            }
            assert_eq!(last, None, "it pauses");
            assert_eq!(
                round.step(ManifestEvent::Retry),
                Some(ManifestAction::Put { attempt: 2 })
            );
            assert_eq!(round.step(PUT), None, "an answer of the attempt before");
        }
    }

    #[test]
    fn one_that_was_overtaken_ends() {
        let (mut round, _) = ManifestRound::new();
        round.step(PUT);
        round.step(SAME);
        let end = ManifestAction::End(ManifestEnding::Overtaken);
        assert_eq!(round.step(ManifestEvent::Overtaken), Some(end));
    }
}

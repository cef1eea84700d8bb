//! One object, from the lease of its segments to its commit.
//!
//! **Invariants**:
//! - I1: nothing is put under a name before the lease that fixes it is on record.
//! - I2: an object is committed only after it was read back under the name of this attempt.
//! - I3: a name under which there is something else is doomed before another one is used.
//!
//! **Not here**: which segments are leased (`plan`); the work of each action; pauses between two tries.

/// An event: the answer to an action, or that time has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectEvent {
    /// The segments are leased to this node.
    Leased {
        /// The lease.
        lease: u64,
        /// The attempt that it is at.
        attempt: u32,
    },
    /// The segments cannot be leased: some are not sealed any more, or in another lease.
    LeaseRefused,
    /// The object is written, here.
    Written {
        /// Its bytes.
        bytes: u64,
        /// BLAKE3 over them.
        digest: [u8; 32],
    },
    /// It cannot be written: a segment is damaged here, or gone.
    CannotWrite,
    /// The store has it, as far as it says.
    Put {
        /// The attempt of its name.
        attempt: u32,
    },
    /// The store has something else under its name.
    NameTaken {
        /// The attempt of its name.
        attempt: u32,
    },
    /// It was read back, or at least looked at.
    Verified {
        /// The attempt of its name.
        attempt: u32,
        /// True where it is what was put.
        is_same: bool,
    },
    /// The catalogue has it.
    Committed,
    /// The name never counts, by the catalogue.
    Doomed,
    /// The catalogue refuses this node: it does not hold the lease any more.
    Lost,
    /// Time has passed: what has no answer is repeated.
    Retry,
}

/// An action. Each names the lease and the attempt that the object's name follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectAction {
    /// Lease the segments, or have the lease again that they are in.
    Lease,
    /// Write the object from its segments.
    Write,
    /// Put it into the store, where nothing of its name is.
    Put {
        /// The lease.
        lease: u64,
        /// The attempt.
        attempt: u32,
    },
    /// Read it back.
    Verify {
        /// The lease.
        lease: u64,
        /// The attempt.
        attempt: u32,
    },
    /// Put on record that it is there.
    Commit {
        /// The lease.
        lease: u64,
        /// The attempt.
        attempt: u32,
        /// Its bytes.
        bytes: u64,
        /// BLAKE3 over them.
        digest: [u8; 32],
    },
    /// Put on record that what is there under its name never counts.
    Doom {
        /// The lease.
        lease: u64,
        /// The attempt.
        attempt: u32,
        /// True where the lease ends.
        ends: bool,
    },
    /// This round is over.
    End(ObjectEnding),
}

/// The end of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectEnding {
    /// The object is committed.
    Committed,
    /// There is no lease.
    Refused,
    /// Another node or boot goes on with it.
    Lost,
    /// The object cannot be made here; its segments are free.
    Doomed,
}

#[derive(Clone, Copy)]
enum Stage {
    Leasing,
    Writing,
    Putting,
    Verifying,
    Committing,
    Dooming { ends: bool },
    Over(ObjectEnding),
}

/// One object.
pub struct ObjectRound {
    stage: Stage,
    /// The lease and the attempt; zeros before they are known.
    lease: u64,
    attempt: u32,
    /// Bytes and digest of the object, once it is written.
    written: Option<(u64, [u8; 32])>,
}

impl ObjectRound {
    /// A round that begins, of which [`ObjectAction::Lease`] is to be done first.
    pub fn new() -> (Self, ObjectAction) {
        let round = Self {
            stage: Stage::Leasing,
            lease: 0,
            attempt: 0,
            written: None,
        };
        (round, ObjectAction::Lease)
    }

    /// Takes an event, and returns the action that follows, if one does. An answer to an action of before changes
    /// nothing.
    pub fn step(&mut self, event: ObjectEvent) -> Option<ObjectAction> {
        use ObjectEvent as Event;
        let is_now = |attempt: u32| attempt == self.attempt;
        let next = match (self.stage, event) {
            (Stage::Over(_), _) => return None,
            (_, Event::Retry) => return Some(self.action()),
            (Stage::Leasing, Event::Leased { lease, attempt }) => {
                (self.lease, self.attempt) = (lease, attempt);
                match self.written {
                    Some(_) => Stage::Putting,
                    None => Stage::Writing,
                }
            }
            (Stage::Leasing, Event::LeaseRefused) => Stage::Over(ObjectEnding::Refused),
            (Stage::Writing, Event::Written { bytes, digest }) => {
                self.written = Some((bytes, digest));
                Stage::Putting
            }
            (Stage::Writing, Event::CannotWrite) => Stage::Dooming { ends: true },
            (Stage::Putting, Event::Put { attempt }) if is_now(attempt) => Stage::Verifying,
            (Stage::Putting, Event::NameTaken { attempt }) if is_now(attempt) => Stage::Dooming { ends: false },
            (Stage::Verifying, Event::Verified { attempt, is_same }) if is_now(attempt) => match is_same {
                true => Stage::Committing,
                false => Stage::Dooming { ends: false },
            },
            (Stage::Committing, Event::Committed) => Stage::Over(ObjectEnding::Committed),
            (Stage::Dooming { ends: true }, Event::Doomed) => Stage::Over(ObjectEnding::Doomed),
            // The next attempt begins at the next retry: a store that damages each object is not asked without a pause.
            (Stage::Dooming { ends: false }, Event::Doomed) => {
                self.stage = Stage::Leasing;
                return None;
            }
            (Stage::Committing | Stage::Dooming { .. }, Event::Lost) => Stage::Over(ObjectEnding::Lost),
            (
                Stage::Leasing
                | Stage::Writing
                | Stage::Putting
                | Stage::Verifying
                | Stage::Committing
                | Stage::Dooming { .. },
                _,
            ) => return None,
        };
        self.stage = next;
        Some(self.action())
    }

    /// The action of the stage.
    fn action(&self) -> ObjectAction {
        let (lease, attempt) = (self.lease, self.attempt);
        match self.stage {
            Stage::Leasing => ObjectAction::Lease,
            Stage::Writing => ObjectAction::Write,
            Stage::Putting => ObjectAction::Put { lease, attempt },
            Stage::Verifying => ObjectAction::Verify { lease, attempt },
            Stage::Committing => {
                let (bytes, digest) = self.written.expect("what was put was written");
                ObjectAction::Commit {
                    lease,
                    attempt,
                    bytes,
                    digest,
                }
            }
            Stage::Dooming { ends } => ObjectAction::Doom { lease, attempt, ends },
            Stage::Over(ending) => ObjectAction::End(ending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASED: ObjectEvent = ObjectEvent::Leased { lease: 7, attempt: 2 };
    const WRITTEN: ObjectEvent = ObjectEvent::Written {
        bytes: 9,
        digest: [1; 32],
    };
    const PUT: ObjectEvent = ObjectEvent::Put { attempt: 2 };
    const SAME: ObjectEvent = ObjectEvent::Verified {
        attempt: 2,
        is_same: true,
    };
    const DIFFERS: ObjectEvent = ObjectEvent::Verified {
        attempt: 2,
        is_same: false,
    };
    const TAKEN: ObjectEvent = ObjectEvent::NameTaken { attempt: 2 };

    fn after(events: &[ObjectEvent]) -> (ObjectRound, Option<ObjectAction>) {
        let (mut round, first) = ObjectRound::new();
        let mut last = Some(first);
        for event in events {
            last = round.step(*event);
        }
        (round, last)
    }

    #[test]
    fn i1_i2_every_step_waits_for_the_one_before() {
        let steps = [
            (LEASED, ObjectAction::Write),
            (WRITTEN, ObjectAction::Put { lease: 7, attempt: 2 }),
            (PUT, ObjectAction::Verify { lease: 7, attempt: 2 }),
            (
                SAME,
                ObjectAction::Commit {
                    lease: 7,
                    attempt: 2,
                    bytes: 9,
                    digest: [1; 32],
                },
            ),
            (ObjectEvent::Committed, ObjectAction::End(ObjectEnding::Committed)),
        ];
        let (mut round, mut last) = ObjectRound::new();
        for (at, (event, action)) in steps.iter().enumerate() {
            // What is not the answer to this action changes nothing, and the action can be had again.
            let others = steps.iter().enumerate().filter(|(other, _)| *other != at);
            for (_, (other, _)) in others {
                assert_eq!(round.step(*other), None, "{other:?} before {event:?}");
            }
            for old in [
                ObjectEvent::Put { attempt: 1 },
                ObjectEvent::NameTaken { attempt: 1 },
                ObjectEvent::Verified {
                    attempt: 1,
                    is_same: true,
                },
            ] {
                assert_eq!(round.step(old), None, "{old:?} before {event:?}");
            }
            assert_eq!(round.step(ObjectEvent::Retry), Some(last));
            last = round.step(*event).unwrap();
            assert_eq!(last, *action);
        }
        assert_eq!(round.step(ObjectEvent::Retry), None);
    }

    #[test]
    fn i3_another_content_dooms_the_name_and_the_next_attempt_puts_the_same_object() {
        let doom = ObjectAction::Doom {
            lease: 7,
            attempt: 2,
            ends: false,
        };
        for wrong in [&[LEASED, WRITTEN, TAKEN][..], &[LEASED, WRITTEN, PUT, DIFFERS]] {
            let (mut round, last) = after(wrong);
            assert_eq!(last, Some(doom));
            assert_eq!(round.step(ObjectEvent::Doomed), None, "it pauses");
            assert_eq!(round.step(ObjectEvent::Retry), Some(ObjectAction::Lease));
            let next = ObjectEvent::Leased { lease: 7, attempt: 3 };
            assert_eq!(round.step(next), Some(ObjectAction::Put { lease: 7, attempt: 3 }));
            assert_eq!(round.step(PUT), None, "an answer of the attempt before");
        }
    }

    #[test]
    fn a_round_ends_where_it_cannot_go_on() {
        let end = |ending| Some(ObjectAction::End(ending));
        assert_eq!(after(&[ObjectEvent::LeaseRefused]).1, end(ObjectEnding::Refused));
        let (mut round, last) = after(&[LEASED, ObjectEvent::CannotWrite]);
        let doom = ObjectAction::Doom {
            lease: 7,
            attempt: 2,
            ends: true,
        };
        assert_eq!(last, Some(doom));
        assert_eq!(round.step(ObjectEvent::Doomed), end(ObjectEnding::Doomed));
        for held in [&[LEASED, WRITTEN, PUT, SAME][..], &[LEASED, WRITTEN, TAKEN]] {
            let (mut round, _) = after(held);
            assert_eq!(round.step(ObjectEvent::Lost), end(ObjectEnding::Lost));
        }
    }
}

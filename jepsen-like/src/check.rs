//! The checker: a pure function that compares what clients saw with what a replay returned.
//!
//! **Owns**: [`check`] and [`Verdict`].
//!
//! **Invariants**:
//! - I1: every acknowledged payload is in the replay.
//! - I2: every payload in the replay was sent, with equal bytes.
//! - I3: the replay holds a payload more than once only as often as it was sent and not clearly refused.
//! - I4: of two payloads of one connection, the one acknowledged before the other was sent comes first.
//!
//! **Not here**: payloads that were sent more than once are left out of I4, since any of their copies may be the first.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::history::{Attempt, History, Outcome};
use crate::payload::{PayloadHash, PayloadId};

/// A payload that nobody sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Phantom {
    /// Index of its entry in the replay.
    pub position: usize,
    /// A description: the mark that its bytes carry, if any.
    pub what: String,
}

/// A payload with more copies than its attempts explain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Duplicate {
    /// The payload.
    pub id: PayloadId,
    /// Number of copies in the replay.
    pub copies: usize,
    /// Number of copies that its attempts allow.
    pub allowed: usize,
}

/// Two payloads of one connection in the wrong order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Disorder {
    /// The payload that was acknowledged before `later` was sent.
    pub earlier: PayloadId,
    /// The payload that the replay nevertheless has first.
    pub later: PayloadId,
}

impl fmt::Display for Phantom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, self.position)
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} times, {} allowed", self.id, self.copies, self.allowed)
    }
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} behind {}", self.earlier, self.later)
    }
}

/// The findings of a check.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Verdict {
    /// Distinct payloads acknowledged.
    pub acked: usize,
    /// Entries in the replay.
    pub replayed: usize,
    /// Payloads in the replay that were never acknowledged. They are allowed, since the client does not know their
    /// fate.
    pub stored_unacked: usize,
    /// Copies that a client's retry explains.
    pub retried_copies: usize,
    /// Payloads that were acknowledged and are not in the replay.
    pub lost: Vec<PayloadId>,
    /// Payloads that are in the replay and were never sent.
    pub phantoms: Vec<Phantom>,
    /// Payloads with too many copies.
    pub duplicates: Vec<Duplicate>,
    /// Pairs of payloads in the wrong order.
    pub disorder: Vec<Disorder>,
}

impl Verdict {
    /// True where every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.is_clean_but_for_loss()
    }

    /// True where every promise but that of durability was kept.
    pub fn is_clean_but_for_loss(&self) -> bool {
        self.phantoms.is_empty() && self.duplicates.is_empty() && self.disorder.is_empty()
    }
}

/// One entry of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Hash of its bytes.
    pub hash: PayloadHash,
    /// Description for the report, where nobody sent it.
    pub label: String,
}

struct Sent {
    id: PayloadId,
    attempts: usize,
    acked: usize,
    open: usize,
    copies: usize,
    first_position: usize,
}

impl Sent {
    /// An unanswered request counts as a copy that may exist, as an acknowledged one does.
    fn allowed(&self) -> usize {
        (self.acked + self.open).max(1)
    }
}

/// Compares a replay with the history of all that was sent before it.
pub fn check(history: &History, replay: &[Replayed]) -> Verdict {
    let mut sent = by_hash(&history.attempts);
    let mut verdict = Verdict {
        replayed: replay.len(),
        ..Verdict::default()
    };
    for (position, entry) in replay.iter().enumerate() {
        match sent.get_mut(&entry.hash) {
            None => verdict.phantoms.push(Phantom {
                position,
                what: entry.label.clone(),
            }),
            Some(payload) => {
                if payload.copies == 0 {
                    payload.first_position = position;
                }
                payload.copies += 1;
            }
        }
    }
    for payload in sent.values() {
        verdict.acked += usize::from(payload.acked > 0);
        if payload.acked > 0 && payload.copies == 0 {
            verdict.lost.push(payload.id);
        }
        if payload.acked == 0 && payload.copies > 0 {
            verdict.stored_unacked += 1;
        }
        if payload.copies > payload.allowed() {
            verdict.duplicates.push(Duplicate {
                id: payload.id,
                copies: payload.copies,
                allowed: payload.allowed(),
            });
        } else {
            verdict.retried_copies += payload.copies.saturating_sub(1);
        }
    }
    verdict.lost.sort_unstable();
    verdict.duplicates.sort_by_key(|duplicate| duplicate.id);
    verdict.disorder = disorder(&history.attempts, &sent);
    verdict
}

fn by_hash(attempts: &[Attempt]) -> HashMap<PayloadHash, Sent> {
    let mut sent = HashMap::new();
    for attempt in attempts {
        let payload = sent.entry(attempt.hash).or_insert(Sent {
            id: attempt.id,
            attempts: 0,
            acked: 0,
            open: 0,
            copies: 0,
            first_position: 0,
        });
        payload.attempts += 1;
        payload.acked += usize::from(attempt.outcome == Outcome::Acked);
        payload.open += usize::from(attempt.outcome.is_open());
    }
    sent
}

/// Pairs in the wrong order. In a connection's order of sending, each payload must come after the furthest position of
/// all that was acknowledged before it was sent.
fn disorder(attempts: &[Attempt], sent: &HashMap<PayloadHash, Sent>) -> Vec<Disorder> {
    let mut links: HashMap<u32, Vec<(&Attempt, usize)>> = HashMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.outcome == Outcome::Acked) {
        let payload = &sent[&attempt.hash];
        if payload.attempts == 1 && payload.copies > 0 {
            let link = links.entry(attempt.link).or_default();
            link.push((attempt, payload.first_position));
        }
    }
    let mut found = Vec::new();
    for link in links.values_mut() {
        link.sort_by_key(|(attempt, _)| attempt.sent);
        let mut answered = link.clone();
        answered.sort_by_key(|(attempt, _)| attempt.answered);
        let mut answered = answered.into_iter().peekable();
        let mut furthest: Option<(&Attempt, usize)> = None;
        for &(attempt, position) in link.iter() {
            while let Some(earlier) = answered.next_if(|(earlier, _)| earlier.answered < attempt.sent) {
                if furthest.is_none_or(|(_, place)| earlier.1 > place) {
                    furthest = Some(earlier);
                }
            }
            if let Some((earlier, _)) = furthest.filter(|(_, place)| *place > position) {
                found.push(Disorder {
                    earlier: earlier.id,
                    later: attempt.id,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;

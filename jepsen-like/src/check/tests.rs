//! The checker catches planted faults: each promise broken once.

use super::*;
use crate::fingerprint::Fingerprint;

const REFUSED: Outcome = Outcome::Refused {
    code: 14,
    retry_info: true,
    settled: true,
};

fn hash(connection: u32, sequence: u64) -> PayloadHash {
    PayloadHash::of(format!("{connection}/{sequence}").as_bytes())
}

fn attempt(connection: u32, sequence: u64, at: u64, outcome: Outcome) -> Attempt {
    Attempt {
        id: PayloadId { connection, sequence },
        hash: hash(connection, sequence),
        fingerprint: Fingerprint::of(b""),
        link: connection,
        sent: at,
        answered: at + 5,
        outcome,
    }
}

fn replayed(connection: u32, sequence: u64) -> Replayed {
    Replayed {
        hash: hash(connection, sequence),
        label: String::new(),
    }
}

/// Two connections, 50 acknowledged requests each, one after the other; then the same as it should be replayed.
fn good() -> (History, Vec<Replayed>) {
    let attempts = (0..100)
        .map(|n| attempt(n % 2, u64::from(n / 2), u64::from(n / 2) * 10, Outcome::Acked))
        .collect();
    let replay = (0..100).map(|n| replayed(n % 2, u64::from(n / 2))).collect();
    (History { attempts }, replay)
}

#[test]
fn what_kept_every_promise_is_clean() {
    let (history, replay) = good();
    let verdict = check(&history, &replay);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.acked, verdict.replayed), (100, 100));
}

#[test]
fn i1_a_planted_loss_is_caught() {
    for place in [0, 37, 99] {
        let (history, mut replay) = good();
        replay.remove(place);
        let verdict = check(&history, &replay);
        assert_eq!(verdict.lost.len(), 1);
        assert!(!verdict.is_clean() && verdict.is_clean_but_for_loss());
    }
}

#[test]
fn i2_a_planted_phantom_is_caught_and_a_changed_byte_is_both_phantom_and_loss() {
    let (history, mut replay) = good();
    replay.insert(5, replayed(9, 9));
    let verdict = check(&history, &replay);
    assert_eq!(verdict.phantoms[0].position, 5);
    assert!(!verdict.is_clean_but_for_loss());

    let (history, mut replay) = good();
    replay[5].hash = PayloadHash::of(b"changed");
    let verdict = check(&history, &replay);
    assert_eq!((verdict.phantoms.len(), verdict.lost.len()), (1, 1));
}

#[test]
fn i3_a_planted_duplicate_is_caught() {
    let (history, mut replay) = good();
    replay.insert(11, replayed(1, 4));
    let verdict = check(&history, &replay);
    assert_eq!((verdict.duplicates[0].copies, verdict.duplicates[0].allowed), (2, 1));
    assert!(!verdict.is_clean());
}

#[test]
fn i3_a_retry_after_no_answer_explains_one_more_copy_and_no_third() {
    let (mut history, mut replay) = good();
    history
        .attempts
        .extend([attempt(7, 0, 0, Outcome::TimedOut), attempt(7, 0, 50, Outcome::Acked)]);
    replay.extend([replayed(7, 0), replayed(7, 0)]);
    let verdict = check(&history, &replay);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.retried_copies, 1);
    replay.push(replayed(7, 0));
    assert_eq!(check(&history, &replay).duplicates.len(), 1);
}

#[test]
fn i3_a_retry_after_a_clear_refusal_explains_none() {
    let (mut history, mut replay) = good();
    history
        .attempts
        .extend([attempt(7, 0, 0, REFUSED), attempt(7, 0, 50, Outcome::Acked)]);
    replay.push(replayed(7, 0));
    assert!(check(&history, &replay).is_clean());
    replay.push(replayed(7, 0));
    assert_eq!(check(&history, &replay).duplicates.len(), 1);
}

#[test]
fn i4_a_planted_reorder_is_caught_and_other_connections_may_stand_anyhow() {
    let (history, mut replay) = good();
    replay.swap(10, 11);
    assert!(check(&history, &replay).is_clean(), "different connections");
    replay.swap(20, 30);
    assert!(!check(&history, &replay).disorder.is_empty());
}

#[test]
fn i4_requests_that_were_in_flight_together_have_no_order() {
    let attempts = vec![attempt(0, 0, 0, Outcome::Acked), attempt(0, 1, 3, Outcome::Acked)];
    let verdict = check(&History { attempts }, &[replayed(0, 1), replayed(0, 0)]);
    assert!(verdict.is_clean());
}

#[test]
fn an_unanswered_request_may_be_there_or_not() {
    let attempts = vec![
        attempt(0, 0, 0, Outcome::ConnectionLost),
        attempt(0, 1, 10, Outcome::TimedOut),
    ];
    let verdict = check(&History { attempts }, &[replayed(0, 1)]);
    assert!(verdict.is_clean());
    assert_eq!((verdict.acked, verdict.stored_unacked), (0, 1));
}

#[test]
fn a_forgiven_loss_is_not_reported_again() {
    let (mut history, mut replay) = good();
    replay.remove(3);
    let lost = check(&history, &replay).lost;
    history.forgive(&lost);
    assert!(check(&history, &replay).is_clean());
}

use openraft::raft::AppendEntriesRequest;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::consensus::wire::tests::{golden, golden_entries, hex, id};

fn messages() -> Vec<Message> {
    let append = |entries, prev_log_id, leader_commit| {
        Message::Append(AppendEntriesRequest {
            vote: Vote::new_committed(7, 2),
            prev_log_id,
            entries,
            leader_commit,
        })
    };
    vec![
        append(golden_entries(), Some(id(6, 1, 0x0102_0303)), Some(id(6, 1, 9))),
        append(vec![], None, None),
        Message::Vote(VoteRequest::new(Vote::new(8, 3), Some(id(7, 2, 5)))),
        Message::Snapshot {
            vote: Vote::new_committed(7, 2),
        },
        Message::Submit(Proposal {
            ticket: Uuid::from_bytes([0xAB; 16]),
            request: b"a command".to_vec(),
        }),
        Message::ReadIndex,
        Message::PreVote {
            last: Some(id(7, 2, 5)),
        },
        Message::PreVote { last: None },
        Message::Elect,
    ]
}

fn answers() -> Vec<Answer> {
    let vote = Vote::new_committed(7, 2);
    vec![
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(id(7, 2, 5)))),
        Answer::Append(AppendEntriesResponse::PartialSuccess(None)),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(vote)),
        Answer::Vote(VoteResponse::new(vote, Some(id(7, 2, 5)), true)),
        Answer::Vote(VoteResponse::new(vote, None, false)),
        Answer::Snapshot { vote },
        Answer::Submitted,
        Answer::ReadIndex(Some(id(7, 2, 5))),
        Answer::ReadIndex(None),
        Answer::PreVote {
            granted: true,
            takes_part: true,
        },
        Answer::PreVote {
            granted: false,
            takes_part: true,
        },
        Answer::Done,
        Answer::NotLeader,
        Answer::Failed("the disk is full".to_owned()),
    ]
}

#[test]
fn i1_messages_and_answers_are_what_they_always_were() {
    let asked = messages().into_iter().map(|m| format!("message {}", hex(&m.encode())));
    let answered = answers().into_iter().map(|a| format!("answer {}", hex(&a.encode())));
    golden("messages.txt", &asked.chain(answered).collect::<Vec<_>>());
    for message in messages() {
        let read = Message::decode(&message.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }
    for answer in answers() {
        let read = Answer::decode(&answer.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{answer:?}"));
    }
}

#[test]
fn a_message_may_begin_with_what_its_sender_has_heard() {
    let vote = Vote::new_committed(7, 2);
    let promises = [
        Promise::of_vote(vote),
        Promise {
            vote,
            last: Some(id(7, 2, 5)),
        },
    ];
    let with = |promise| with_promise(Some(promise), Message::ReadIndex.encode());
    golden("words.txt", &promises.map(|promise| hex(&with(promise))));
    for promise in promises {
        let (bytes, message) = (with(promise), Message::ReadIndex.encode());
        assert_eq!(split_promise(&bytes).unwrap(), (Some(promise), &message[..]));
        for at in 0..bytes.len() {
            let read = split_promise(&bytes[..at]).and_then(|(_, rest)| Message::decode(rest));
            assert!(read.is_err(), "{at}");
        }
    }
    let message = Message::Elect.encode();
    assert_eq!(
        split_promise(&with_promise(None, message.clone())).unwrap(),
        (None, &message[..])
    );
}

#[test]
fn i2_what_is_cut_off_or_too_long_is_an_error() {
    let all = messages().into_iter().map(|m| m.encode());
    for bytes in all {
        for at in 0..bytes.len() {
            assert!(Message::decode(&bytes[..at]).is_err());
        }
        assert!(Message::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
    for bytes in answers().into_iter().map(|a| a.encode()) {
        for at in 0..bytes.len() {
            assert!(Answer::decode(&bytes[..at]).is_err());
        }
        assert!(Answer::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

proptest! {
    #[test]
    fn i2_any_bytes_are_an_error_or_a_message(kind in 0..12u8, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let bytes = [&[1, kind][..], &bytes].concat();
        let _either = Message::decode(&bytes);
        let _either = Answer::decode(&bytes);
    }
}

//! Dead letters: entries that a sink refused because of their content. A lane puts them on record; an operator sends
//! them again or drops them.
//!
//! **Invariants**:
//! - I1: a dead letter leaves the record only when its sink accepted it or an operator dropped it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::Actor;
use gophership_catalogue::exporter::{DeadLetter, EntryId, LetterCause};
use gophership_catalogue::limits::DEAD_LETTER_ANSWER_BYTES_MAX;
use gophership_catalogue::{CatalogueError, Refusal};
use gophership_somatic::{Job, Throttle};
use gophership_vault::NodeSet;
use gophership_vault::time::now_unix_nano;
use tokio::task::spawn_blocking;

use super::letter_store::{LetterStore, not_here};
use super::limits::FAILURES_MAX;
use crate::sink::{
    Answer, Courier, DeferredDecoder, End, Go, Hold, Host, Item, Piece, RefusedEntry, Rules, Settled, Sink,
};

/// A dead letter with the present time.
pub(super) fn letter(
    exporter: &str,
    (node, shard, lsn): EntryId,
    cause: LetterCause,
    records: u64,
    why: &str,
) -> DeadLetter {
    DeadLetter {
        cause,
        exporter: exporter.to_owned(),
        node,
        shard,
        lsn,
        records: u32::try_from(records).unwrap_or(u32::MAX),
        answer: shortened(why).to_owned(),
        at_ns: now_unix_nano(),
        copies: NodeSet::EMPTY,
    }
}

fn shortened(text: &str) -> &str {
    let end = (0..=DEAD_LETTER_ANSWER_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// True where the record has no room for more letters of the exporter.
pub(super) fn is_full(error: &CatalogueError) -> bool {
    matches!(error, CatalogueError::Refused(Refusal::TooManyDeadLetters { .. }))
}

/// The result of sending dead letters again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplayedLetters {
    /// Number that the sink accepted; they are no dead letters any more.
    pub taken: u64,
    /// Number that the sink refused again.
    pub refused_again: u64,
    /// Number not sent, or not readable.
    pub left: u64,
    /// The last answer that was not acceptance.
    pub last_answer: String,
}

/// Rules for dead letters: nothing is waited for, since the operator who asked waits.
const RULES: Rules = Rules {
    splits_entries: false,
    retries: false,
    waits_for_operator: false,
    exhausted_tries: None,
    last_tries: Some(1),
    failures_max: Some(FAILURES_MAX),
};

/// Sends dead letters of one exporter again.
pub struct SendLetters {
    pub(super) letters: Arc<LetterStore>,
    pub(super) throttle: Throttle,
    pub(super) sink: Sink,
    pub(super) exporter: String,
    pub(super) max_message: usize,
}

impl SendLetters {
    /// Sends `letters` in their order, up to the first answer that refuses not the data but the exporter or the moment.
    ///
    /// # Errors
    ///
    /// The catalogue's error. Letters that were accepted before may still be on record then.
    pub async fn run(self, letters: Vec<EntryId>) -> Result<ReplayedLetters, CatalogueError> {
        let mut courier = Courier::new(self.sink, RULES);
        let mut sending = Sending {
            letters: self.letters,
            exporter: self.exporter,
            max_message: self.max_message,
            decoder: DeferredDecoder::default(),
            failure: None,
            done: ReplayedLetters {
                left: letters.len() as u64,
                ..ReplayedLetters::default()
            },
        };
        let mut ended = Ok(());
        for key in letters {
            let Ok(Some(item)) = sending.read(key).await else {
                continue;
            };
            let began = std::time::Instant::now();
            ended = courier.deliver(Piece { items: vec![item] }, &mut sending).await;
            if ended.is_err() {
                break;
            }
            let took = began.elapsed().max(Duration::from_micros(1));
            self.throttle.pass(Job::DeadLetterReplay, took).await;
        }
        if ended.is_ok() {
            ended = courier.finish(&mut sending).await;
        }
        match (ended, sending.failure) {
            (_, Some(failure)) => Err(failure),
            (Ok(()) | Err(End::Interrupted | End::Stopped(_)), None) => Ok(sending.done),
        }
    }
}

/// Dead letters on their way.
struct Sending {
    letters: Arc<LetterStore>,
    exporter: String,
    max_message: usize,
    decoder: DeferredDecoder,
    /// The error for which the sending was broken off.
    failure: Option<CatalogueError>,
    done: ReplayedLetters,
}

impl Host for Sending {
    async fn before(&mut self, _piece: &Piece, _again: bool) -> Go {
        Go::Send
    }

    fn answered(&mut self, _piece: &Piece, answer: &Answer) {
        if let Some(why) = answer.why() {
            why.clone_into(&mut self.done.last_answer);
        }
    }

    async fn pause(&mut self, _hold: Hold, pause: Duration, _piece: Option<&Piece>) -> ControlFlow<()> {
        tokio::time::sleep(pause).await;
        ControlFlow::Continue(())
    }

    async fn settled(&mut self, piece: &Piece, _how: Settled) -> ControlFlow<()> {
        let Some(entry) = piece.done() else {
            return ControlFlow::Continue(());
        };
        self.done.taken += 1;
        self.done.left -= 1;
        let (store, exporter) = (Arc::clone(&self.letters), self.exporter.clone());
        let removed = spawn_blocking(move || store.remove(&exporter, vec![entry], Actor::Node)).await;
        match removed.expect("the catalogue answers a panic with an error, and nobody cancels this") {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    async fn refused(&mut self, refused: RefusedEntry) -> ControlFlow<()> {
        self.done.refused_again += 1;
        self.done.left -= 1;
        self.done.last_answer = refused.why;
        ControlFlow::Continue(())
    }

    fn set_aside(&mut self, _entry: EntryId) {}

    async fn read(&mut self, entry: EntryId) -> Result<Option<Item>, String> {
        let Some(stored) = self.letters.read(entry).await else {
            let why = self
                .letters
                .catalogue
                .read(|state| not_here(state, &self.exporter, entry));
            self.done.last_answer = why.to_string();
            return Ok(None);
        };
        let item = self.decoder.item(stored, self.max_message);
        Ok(item.map_err(|why| self.done.last_answer = why).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shortened_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(DEAD_LETTER_ANSWER_BYTES_MAX);
        assert_eq!(shortened(&long).len(), DEAD_LETTER_ANSWER_BYTES_MAX);
        assert_eq!(shortened(&format!("a{long}")).len(), DEAD_LETTER_ANSWER_BYTES_MAX - 1);
    }
}

//! What a lane does where the courier has it do something: it keeps the exporter's counts, waits, has dead letters put
//! on record, and moves its cursor.

use std::ops::ControlFlow;
use std::time::Duration;

use gophership_catalogue::exporter::{EntryId, LetterCause};

use super::Lane;
use crate::export::status::{LaneState, add};
use crate::sink::{Answer, Go, Hold, Host, Item, Piece, RefusedEntry, Settled, read_again};

impl Host for Lane {
    async fn before(&mut self, piece: &Piece, again: bool) -> Go {
        if self.is_expired(piece) {
            return Go::Expired;
        }
        add(&self.parts.status.counts.retried_requests, u64::from(again));
        self.parts.status.in_hand(self.shard, true, piece.oldest_ns());
        Go::Send
    }

    fn answered(&mut self, piece: &Piece, answer: &Answer) {
        let status = &self.parts.status;
        status.in_hand(self.shard, false, piece.oldest_ns());
        match answer {
            Answer::Accepted => status.accepted(),
            Answer::AcceptedInPart { rejected, why } => {
                add(&status.counts.rejected_records, *rejected);
                status.answered(&format!("{rejected} records rejected: {why}"));
            }
            Answer::Retry { why, .. }
            | Answer::Failed { why, .. }
            | Answer::TooLarge(why)
            | Answer::Exhausted(why)
            | Answer::Refused(why)
            | Answer::Operator(why) => {
                add(&status.counts.failed_requests, 1);
                status.answered(why);
                tracing::warn!(
                    exporter = self.parts.name, shard = %self.shard, count = piece.items.len(), error = why,
                    "export.request.failed"
                );
            }
        }
    }

    async fn pause(&mut self, hold: Hold, pause: Duration, piece: Option<&Piece>) -> ControlFlow<()> {
        let state = match hold {
            Hold::Retry => LaneState::Retrying,
            Hold::Operator => LaneState::Stopped,
        };
        if self.wait(state, pause, piece).await {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn split(&mut self) {
        add(&self.parts.status.counts.split_requests, 1);
    }

    async fn settled(&mut self, piece: &Piece, how: Settled) -> ControlFlow<()> {
        let counts = &self.parts.status.counts;
        match how {
            Settled::Taken => {
                add(&counts.sent_entries, piece.entries());
                add(&counts.sent_records, piece.records());
                add(&counts.sent_bytes, piece.bytes() as u64);
            }
            Settled::Empty => {}
            Settled::Expired => add(&counts.expired_entries, piece.entries()),
        }
        if let Some((_, _, lsn)) = piece.done() {
            self.advance(lsn);
        }
        ControlFlow::Continue(())
    }

    async fn refused(&mut self, refused: RefusedEntry) -> ControlFlow<()> {
        let (_, _, lsn) = refused.entry;
        if !self
            .dead_letter(lsn, LetterCause::Refused, refused.records, &refused.why)
            .await
        {
            return ControlFlow::Break(());
        }
        if !refused.more_follows {
            self.advance(lsn);
        }
        ControlFlow::Continue(())
    }

    fn set_aside(&mut self, entry: EntryId) {
        self.frontier.set_aside(entry);
    }

    async fn read(&mut self, entry: EntryId) -> Result<Option<Item>, String> {
        self.unread = None;
        let stored = match &self.parts.logs {
            Some(logs) => logs.entry_again(entry).await?,
            None => read_again(&self.parts.vault, entry).await?,
        };
        Ok(stored.and_then(|stored| self.decoder.item(stored, self.parts.max_message).ok()))
    }

    fn unread(&mut self, entry: EntryId, why: &str) {
        let (_, _, lsn) = entry;
        self.unread = Some(format!(
            "entry {lsn}, which the sink failed at, cannot be read again: {why}"
        ));
    }
}

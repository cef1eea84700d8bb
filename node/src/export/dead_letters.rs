//! Dead letters: entries that a sink refused for what is in them. Put on record by a lane; sent once more, or given up, by an operator.
//!
//! **Invariant.** I1: a dead letter leaves the record only when its sink took it or an operator gave it up.

use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::exporter::{DeadLetter, EntryKey};
use gophership_catalogue::limits::DEAD_LETTER_ANSWER_BYTES_MAX;
use gophership_catalogue::{CatalogueError, Command, LocalCatalogue, Refusal};
use gophership_vault::ids::Lsn;
use gophership_vault::time::{TimeRange, now_unix_nano};
use gophership_vault::{StoredEntry, Vault};
use tokio::task::spawn_blocking;

use crate::sink::{Answer, Outgoing, Readier, Sink};
use crate::somatic::{Job, Throttle};

/// A dead letter of now.
pub(super) fn letter(exporter: &str, (node, shard, lsn): EntryKey, records: u64, why: &str) -> DeadLetter {
    DeadLetter {
        exporter: exporter.to_owned(),
        node,
        shard,
        lsn,
        records: u32::try_from(records).unwrap_or(u32::MAX),
        answer: shortened(why).to_owned(),
        at_ns: now_unix_nano(),
    }
}

fn shortened(text: &str) -> &str {
    let end = (0..=DEAD_LETTER_ANSWER_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Puts a letter on record.
pub(super) async fn add(catalogue: &Arc<LocalCatalogue>, letter: DeadLetter) -> Result<(), CatalogueError> {
    submit(catalogue, Command::AddDeadLetters { letters: vec![letter] }).await
}

/// Whether the record has no room for more letters of the exporter.
pub(super) fn is_full(error: &CatalogueError) -> bool {
    matches!(error, CatalogueError::Refused(Refusal::TooManyDeadLetters { .. }))
}

/// Says a command, on a thread that may wait.
pub(super) async fn submit(catalogue: &Arc<LocalCatalogue>, command: Command) -> Result<(), CatalogueError> {
    let catalogue = Arc::clone(catalogue);
    let said = spawn_blocking(move || catalogue.submit(command).map(drop)).await;
    said.expect("the catalogue answers a panic with an error, and nobody cancels this")
}

/// What became of dead letters that were sent once more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplayedLetters {
    /// Taken by the sink: no dead letters any more.
    pub taken: u64,
    /// Refused again.
    pub refused_again: u64,
    /// Not sent, or not readable.
    pub left: u64,
    /// The last answer that was not acceptance.
    pub last_answer: String,
}

/// Sends dead letters of one exporter once more.
pub struct SendLetters {
    pub(super) vault: Vault,
    pub(super) catalogue: Arc<LocalCatalogue>,
    pub(super) throttle: Throttle,
    pub(super) sink: Sink,
    pub(super) exporter: String,
    pub(super) max_message: usize,
}

impl SendLetters {
    /// Sends `letters` in their order, up to the first answer that refuses not the data but the exporter or the moment.
    ///
    /// # Errors
    /// The catalogue's: what was taken before may still be on record then.
    pub async fn run(mut self, letters: Vec<EntryKey>) -> Result<ReplayedLetters, CatalogueError> {
        let mut done = ReplayedLetters {
            left: letters.len() as u64,
            ..ReplayedLetters::default()
        };
        let mut readier = Readier::default();
        for key in letters {
            let ready = match self.read(key).await {
                Some(entry) => readier.ready(entry, self.max_message),
                None => Err("its entry cannot be read here".to_owned()),
            };
            let ready = match ready {
                Ok(ready) => ready,
                Err(why) => {
                    done.last_answer = why;
                    continue;
                }
            };
            let out = Outgoing {
                payload: ready.payload,
                entry: format!("{}/{}/{},1", key.0, key.1, key.2),
            };
            let began = std::time::Instant::now();
            match self.sink.send(&out).await {
                Answer::Accepted => done.taken += 1,
                Answer::AcceptedInPart { why, .. } => {
                    done.taken += 1;
                    done.last_answer = why;
                }
                Answer::Refused(why) | Answer::TooLarge(why) => {
                    done.refused_again += 1;
                    done.left -= 1;
                    done.last_answer = why;
                    continue;
                }
                Answer::Retry { why, .. } | Answer::Exhausted(why) | Answer::Operator(why) => {
                    done.last_answer = why;
                    return Ok(done);
                }
            }
            done.left -= 1;
            let drop = Command::DropDeadLetters {
                exporter: self.exporter.clone(),
                letters: vec![key],
            };
            submit(&self.catalogue, drop).await?;
            self.throttle
                .pass(Job::DeadLetterReplay, began.elapsed().max(Duration::from_micros(1)))
                .await;
        }
        Ok(done)
    }

    async fn read(&self, (node, shard, lsn): EntryKey) -> Option<StoredEntry> {
        if node != self.vault.identity().node_id {
            return None;
        }
        let vault = self.vault.clone();
        let found = spawn_blocking(move || {
            vault
                .cursor(shard, Some(lsn), TimeRange::ALL)
                .take_while(|found| found.as_ref().map_or(true, |entry: &StoredEntry| entry.lsn <= lsn))
                .find_map(|found| found.ok().filter(|entry| at(entry) == lsn))
        });
        found.await.ok().flatten()
    }
}

fn at(entry: &StoredEntry) -> Lsn {
    entry.lsn
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

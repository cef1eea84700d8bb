//! `gs-ctl dead-letter`.

use gophership_proto::control::v1::{DeadLetter, DeadLetterSelection, ListDeadLettersRequest, ShowDeadLetterRequest};
use gophership_proto::otlp::json as otlp_json;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arg::cli::{DeadLetter as Asked, Letters};
use crate::arg::format::Format;
use crate::arg::letter_name::LetterName;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::pairs;
use crate::view::letters::{LetterList, LetterView};

/// Checks that a command may be run.
///
/// # Errors
///
/// It drops something, and the command line does not accept that loss.
pub(crate) fn check(asked: &Asked) -> Result<(), Failure> {
    match asked {
        Asked::Drop {
            letters,
            accept_loss: false,
        } => Err(Failure::Usage(format!(
            "dropped dead letters are never sent to {}: if they may be lost for it, say --accept-loss",
            letters.exporter
        ))),
        Asked::Drop { accept_loss: true, .. } | Asked::List { .. } | Asked::Show { .. } | Asked::Replay(_) => Ok(()),
    }
}

/// Runs the command.
pub(crate) async fn dead_letter(node: &mut Client, asked: Asked, format: Format) -> anyhow::Result<Outcome> {
    match asked {
        Asked::List { exporter, limit } => list(node, exporter, limit, format).await,
        Asked::Show { exporter, letter } => show(node, exporter, letter, format).await,
        Asked::Replay(letters) => replay(node, letters, format).await,
        Asked::Drop { letters, .. } => {
            let exporter = letters.exporter.clone();
            let answer = node.drop_dead_letters(selection(letters)).await;
            let dropped = answer.map_err(|e| refused(&e))?.into_inner().dropped;
            print(&Dropped { exporter, dropped }, format)?;
            Ok(Outcome::Done)
        }
    }
}

/// What is in one letter.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    #[serde(flatten)]
    letter: LetterView,
    /// Its entry as OTLP/JSON, with x-gophership-not-utf8-hex where strings are not UTF-8; null where it is no logs.
    logs: Option<Value>,
    /// Why nothing can be made of its entry; null where something can.
    malformed: Option<String>,
    /// The bytes of an entry that is no logs, in hexadecimal.
    payload_hex: Option<String>,
}

impl Answer for Shown {
    /// The same line of JSON for every reader, for `jq`.
    fn table(&self) -> String {
        match &self.logs {
            Some(logs) => format!("{logs}\n"),
            None => {
                let (entry, malformed, bytes) = (&self.letter.letter, &self.malformed, &self.payload_hex);
                format!(
                    "{}\n",
                    json!({"entry": entry, "malformed": malformed, "payload_hex": bytes})
                )
            }
        }
    }
}

async fn show(node: &mut Client, exporter: String, letter: LetterName, format: Format) -> anyhow::Result<Outcome> {
    let asked = ShowDeadLetterRequest {
        exporter: exporter.clone(),
        letter: Some(letter.0),
    };
    let shown = node
        .show_dead_letter(asked)
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    let unknown = || DeadLetter {
        exporter,
        letter: Some(letter.0),
        ..DeadLetter::default()
    };
    let (logs, malformed) = match logs(&letter, &shown.payload) {
        Ok(logs) if shown.malformed.is_empty() => (Some(logs), None),
        Err(error) if shown.malformed.is_empty() => (None, Some(error.to_string())),
        Ok(_) | Err(_) => (None, Some(shown.malformed)),
    };
    let shown = Shown {
        // The letter was dropped while its payload was read.
        letter: LetterView::from(shown.letter.unwrap_or_else(unknown)),
        payload_hex: logs.is_none().then(|| human::hex(&shown.payload)),
        logs,
        malformed,
    };
    print(&shown, format)?;
    Ok(Outcome::Done)
}

/// A payload as OTLP/JSON.
fn logs(letter: &LetterName, payload: &[u8]) -> anyhow::Result<Value> {
    let mut line = Vec::new();
    otlp_json::write_line(payload, Some(&letter.to_string()), &mut line)?;
    let mut logs: Value = serde_json::from_slice(&line)?;
    // The original bytes cannot be seen any more: JSON has U+FFFD in their place.
    let hidden: Vec<String> = otlp_json::strings_not_utf8(payload)
        .iter()
        .map(|s| human::hex(s))
        .collect();
    if !hidden.is_empty() {
        logs["x-gophership-not-utf8-hex"] = hidden.into();
    }
    Ok(logs)
}

/// The letters that are named. No names mean all; the command line has made sure that all were asked for.
fn selection(letters: Letters) -> DeadLetterSelection {
    assert_eq!(
        letters.all,
        letters.refs.is_empty(),
        "no names mean all, which was not asked for"
    );
    DeadLetterSelection {
        exporter: letters.exporter,
        refs: letters.refs.into_iter().map(|name| name.0).collect(),
    }
}

/// Lists all pages, or as many letters as were asked for.
async fn list(
    node: &mut Client,
    exporter: Option<String>,
    limit: Option<u32>,
    format: Format,
) -> anyhow::Result<Outcome> {
    let most = limit.map_or(usize::MAX, |n| n as usize);
    let mut letters: Vec<LetterView> = Vec::new();
    let mut after = None;
    let total = loop {
        let asked = ListDeadLettersRequest {
            exporter: exporter.clone(),
            limit: limit.map_or(0, |n| {
                n.saturating_sub(u32::try_from(letters.len()).unwrap_or(u32::MAX))
            }),
            after,
        };
        let page = node
            .list_dead_letters(asked)
            .await
            .map_err(|e| refused(&e))?
            .into_inner();
        letters.extend(page.letters.into_iter().map(LetterView::from));
        letters.truncate(most);
        after = page.next;
        if after.is_none() || letters.len() == most {
            break page.total;
        }
    };
    let shown = letters.len() as u64;
    print(&LetterList { total, letters }, format)?;
    if shown < total {
        eprintln!("gs-ctl: {} of {} are shown", human::count(shown), human::count(total));
    }
    Ok(Outcome::Done)
}

async fn replay(node: &mut Client, letters: Letters, format: Format) -> anyhow::Result<Outcome> {
    let exporter = letters.exporter.clone();
    let answer = node.replay_dead_letters(selection(letters)).await;
    let done = answer.map_err(|e| refused(&e))?.into_inner();
    let replayed = Replayed {
        exporter,
        taken: done.taken,
        refused_again: done.refused_again,
        left: done.left,
        last_answer: (!done.last_answer.is_empty()).then_some(done.last_answer),
    };
    print(&replayed, format)?;
    Ok(if replayed.refused_again + replayed.left == 0 {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Replayed {
    exporter: String,
    taken: u64,
    refused_again: u64,
    left: u64,
    last_answer: Option<String>,
}

impl Answer for Replayed {
    fn table(&self) -> String {
        let mut rows = vec![
            ("Exporter", human::one_line(&self.exporter)),
            ("Taken", human::count(self.taken)),
            ("Refused again", human::count(self.refused_again)),
            ("Not tried", human::count(self.left)),
        ];
        if let Some(answer) = &self.last_answer {
            rows.push(("Last answer", human::one_line(answer)));
        }
        pairs(&rows)
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Dropped {
    exporter: String,
    dropped: u64,
}

impl Answer for Dropped {
    fn table(&self) -> String {
        pairs(&[
            ("Exporter", human::one_line(&self.exporter)),
            ("Dropped", human::count(self.dropped)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(all: bool) -> DeadLetterSelection {
        selection(Letters {
            exporter: "siem".to_owned(),
            refs: Vec::new(),
            all,
        })
    }

    #[test]
    fn all_letters_are_those_of_no_name() {
        assert!(select(true).refs.is_empty());
    }

    #[test]
    #[should_panic(expected = "no names mean all, which was not asked for")]
    fn no_letter_at_all_is_a_bug_of_the_caller() {
        let _ = select(false);
    }
}

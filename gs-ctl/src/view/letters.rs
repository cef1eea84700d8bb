//! Dead letters as they are shown.

use gophership_proto::control::v1::DeadLetter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::letter_name::LetterName;
use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::Table;

/// Characters of an answer in a list.
const ANSWER_CHARS: usize = 60;

/// One dead letter.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LetterView {
    exporter: String,
    pub(crate) letter: String,
    records: u32,
    at_unix_nano: u64,
    segment_held: bool,
    answer: String,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            exporter: letter.exporter,
            letter: LetterName(letter.letter.unwrap_or_default()).to_string(),
            records: letter.records,
            at_unix_nano: letter.at_unix_nano,
            segment_held: letter.segment_held,
            answer: letter.answer,
        }
    }
}

/// Dead letters, and how many there are in all.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LetterList {
    pub(crate) total: u64,
    pub(crate) letters: Vec<LetterView>,
}

impl Answer for LetterList {
    fn table(&self) -> String {
        self.rows(|answer| human::cut(answer, ANSWER_CHARS))
    }

    fn wide(&self) -> String {
        self.rows(human::one_line)
    }
}

impl LetterList {
    fn rows(&self, shown: impl Fn(&str) -> String) -> String {
        let mut table = Table::new(&["EXPORTER", "LETTER", ">RECORDS", "SINCE", "SEGMENT", "ANSWER"]);
        for l in &self.letters {
            table.row(vec![
                human::one_line(&l.exporter),
                l.letter.clone(),
                human::count(l.records.into()),
                human::time(l.at_unix_nano),
                if l.segment_held { "held" } else { "gone" }.to_owned(),
                shown(&l.answer),
            ]);
        }
        table.text()
    }
}

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
    /// True where this letter keeps its segment from retention, since fewer than two nodes keep a copy of the entry, or
    /// none where there is but one node.
    segment_held: bool,
    /// The nodes that keep a copy of the entry, on which the letter can be shown and sent again.
    copies: Vec<u32>,
    /// True where the segment is on the node that was asked. Without it, and without a copy, the letter can only be
    /// dropped.
    segment_here: bool,
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
            copies: letter.copies,
            segment_here: letter.segment_here,
            answer: letter.answer,
        }
    }
}

impl LetterView {
    /// The place of the letter's entry, in a word or two.
    fn place(&self) -> String {
        let nodes = self.copies.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        match (nodes.as_str(), self.segment_held, self.segment_here) {
            ("", true, _) => "held".to_owned(),
            ("", false, true) => "here".to_owned(),
            ("", false, false) => "gone".to_owned(),
            (nodes, true, _) => format!("copy on {nodes}; held"),
            (nodes, false, _) => format!("copy on {nodes}"),
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
        let mut table = Table::new(&["EXPORTER", "LETTER", ">RECORDS", "SINCE", "ENTRY", "ANSWER"]);
        for l in &self.letters {
            table.row(vec![
                human::one_line(&l.exporter),
                l.letter.clone(),
                human::count(l.records.into()),
                human::time(l.at_unix_nano),
                l.place(),
                shown(&l.answer),
            ]);
        }
        table.text()
    }
}

//! Dead letters as the command line names them and as they are shown.

use std::fmt;
use std::str::FromStr;

use gophership_proto::control::v1::{DeadLetter, DeadLetterRef, Lsn};
use schemars::JsonSchema;
use serde::Serialize;

use crate::human;
use crate::output::Answer;
use crate::table::Table;

/// Characters of an answer in a list.
const ANSWER_CHARS: usize = 60;

/// Names an entry: `node/shard/segment:number`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LetterName(pub(crate) DeadLetterRef);

impl fmt::Display for LetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        let lsn = name.lsn.unwrap_or_default();
        write!(f, "{}/{}/{}:{}", name.node, name.shard, lsn.segment_index, lsn.number)
    }
}

impl FromStr for LetterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (node, rest) = text.split_once('/')?;
            let (shard, rest) = rest.split_once('/')?;
            let (segment, number) = rest.split_once(':')?;
            let name = DeadLetterRef {
                node: node.parse().ok().filter(|n| *n > 0)?,
                shard: shard.parse().ok()?,
                lsn: Some(Lsn {
                    segment_index: segment.parse().ok().filter(|n| *n > 0)?,
                    number: number.parse().ok().filter(|n| *n > 0)?,
                }),
            };
            Some(Self(name))
        };
        parse().ok_or_else(|| {
            "a dead letter is named node/shard/segment:number, as in 1/0/42:7 and as the list shows it".to_owned()
        })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for text in ["1/0/42:7", "3/15/1:4294967295"] {
            assert_eq!(text.parse::<LetterName>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "1/0/42",
            "1/0/42:0",
            "1/0/0:1",
            "0/0/1:1",
            "1/0:1",
            "a/0/1:1",
            "1/0/1:1:1",
            "1/-1/1:1",
        ] {
            assert!(bad.parse::<LetterName>().is_err(), "{bad}");
        }
    }
}

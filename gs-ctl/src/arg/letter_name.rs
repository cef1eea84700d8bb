//! Dead letters as the command line names them.

use std::fmt;
use std::str::FromStr;

use gophership_proto::control::v1::{DeadLetterRef, Lsn};

/// The name of an entry: `node/shard/segment:number`.
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

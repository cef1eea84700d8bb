//! Segments as the command line names them.

use std::str::FromStr;

/// A segment as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentName {
    pub(crate) node: u32,
    pub(crate) shard: u32,
    pub(crate) index: u32,
}

impl FromStr for SegmentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u32>> = text.split('/').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some([node, shard, index]) if *node > 0 && *index > 0 => Ok(Self {
                node: *node,
                shard: *shard,
                index: *index,
            }),
            _ => Err("a segment is named node/shard/index, as in 1/0/42".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_three_numbers() {
        assert_eq!(
            "1/0/42".parse(),
            Ok(SegmentName {
                node: 1,
                shard: 0,
                index: 42
            })
        );
        for bad in ["", "1/0", "1/0/0", "0/0/1", "1/0/1/2", "a/b/c", "1/-1/1"] {
            assert!(bad.parse::<SegmentName>().is_err(), "{bad}");
        }
    }
}

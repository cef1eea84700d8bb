//! What a replay passed over: counts, and names for a part of it.

use gophership_catalogue::job::{JobLoss, LossNames};
use gophership_catalogue::limits::JOB_LOSS_NAME_BYTES_MAX;
use gophership_vault::ScanFault;
use gophership_vault::ids::SegmentId;

use super::limits::REASON_BYTES_MAX;
use super::plan::Dropped;
use super::reader;

/// Ranges that could not be read, and what the sink rejected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Loss {
    pub(super) counts: JobLoss,
    pub(super) names: LossNames,
}

impl Loss {
    pub(super) fn missing(&mut self, fault: &ScanFault) {
        self.range(reader::entries_lost(fault), &reader::describe(fault));
    }

    pub(super) fn dropped(&mut self, first: SegmentId, dropped: &Dropped) {
        self.range(dropped.entries, &reader::describe_dropped(first, dropped));
    }

    fn range(&mut self, entries: u64, name: &str) {
        self.add(&Self {
            counts: JobLoss {
                ranges: 1,
                missing_entries: entries,
                ..JobLoss::default()
            },
            names: LossNames {
                missing: vec![cut(name, JOB_LOSS_NAME_BYTES_MAX)],
                rejected: None,
            },
        });
    }

    pub(super) fn rejected(&mut self, entries: u64, records: u64, why: &str) {
        self.counts.rejected_entries += entries;
        self.counts.rejected_records += records;
        let rejected = &mut self.names.rejected;
        rejected.get_or_insert_with(|| cut(why, JOB_LOSS_NAME_BYTES_MAX));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts = self.counts.plus(&other.counts);
        self.names.merge(&other.names);
    }

    /// A text for people; `None` when nothing was lost.
    pub(super) fn shown(&self) -> Option<String> {
        let c = &self.counts;
        let rejected = (c.rejected_entries + c.rejected_records > 0).then(|| {
            format!(
                "the sink rejected {} entries and {} records; the first: {}",
                c.rejected_entries,
                c.rejected_records,
                self.names.rejected.as_deref().unwrap_or_default()
            )
        });
        let parts: Vec<String> = [rejected, self.missing_shown()].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| shortened(&parts.join(". ")))
    }

    fn missing_shown(&self) -> Option<String> {
        let (JobLoss { ranges, .. }, named) = (self.counts, &self.names.missing);
        if ranges == 0 {
            return None;
        }
        let more = match ranges.saturating_sub(named.len() as u64) {
            0 => String::new(),
            unnamed => format!("; and {unnamed} more"),
        };
        let count = match self.counts.missing_entries {
            0 => "how many entries is not known".to_owned(),
            n => format!("at least {n} entries"),
        };
        let list = shortened(&named.join("; "));
        Some(format!("{ranges} ranges could not be read ({count}): {list}{more}"))
    }
}

/// A text cut to the length that may be shown and kept.
pub(super) fn shortened(text: &str) -> String {
    cut(text, REASON_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes_max - 3)])
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::limits::JOB_LOSS_NAMES_MAX;
    use gophership_vault::ids::{EntryNumber, NodeId, SegmentIndex, ShardId};

    use super::*;

    fn fault(numbers: Option<(u32, u32)>) -> ScanFault {
        let number = |n| EntryNumber::new(n).unwrap();
        ScanFault {
            segment: SegmentId {
                node: NodeId::FIRST,
                shard: ShardId::new(0),
                index: SegmentIndex::FIRST,
            },
            numbers: numbers.map(|(a, b)| (number(a), number(b))),
            what: "the bytes are bad".to_owned(),
            is_for_now: false,
        }
    }

    #[test]
    fn what_is_missing_is_named_and_past_some_counted() {
        let mut loss = Loss::default();
        assert_eq!(loss.shown(), None);
        loss.missing(&fault(Some((3, 5))));
        loss.missing(&fault(None));
        assert_eq!(
            loss.shown().unwrap(),
            "2 ranges could not be read (at least 3 entries): segment 1/0/1, entries 3 to 5: the bytes are bad; \
             segment 1/0/1: the bytes are bad"
        );
        for n in 0..JOB_LOSS_NAMES_MAX as u32 {
            loss.missing(&fault(Some((10 + n, 10 + n))));
        }
        assert!(loss.shown().unwrap().ends_with("; and 2 more"));
    }

    #[test]
    fn what_was_rejected_is_counted_and_the_first_is_named() {
        let mut loss = Loss::default();
        loss.rejected(1, 7, "InvalidArgument: bad");
        loss.rejected(1, 1, "another");
        assert_eq!(
            loss.shown().unwrap(),
            "the sink rejected 2 entries and 8 records; the first: InvalidArgument: bad"
        );
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "é".repeat(REASON_BYTES_MAX);
        assert!(shortened(&long).len() <= REASON_BYTES_MAX);
        assert_eq!(shortened("short"), "short");
        let mut loss = Loss::default();
        loss.rejected(1, 0, &long);
        assert!(loss.names.rejected.unwrap().len() <= JOB_LOSS_NAME_BYTES_MAX);
    }
}

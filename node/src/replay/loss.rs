//! What a replay passed over: counts, and names for a part of it.

use gophership_catalogue::job::{JobLoss, LossNames};
use gophership_catalogue::limits::JOB_LOSS_NAME_BYTES_MAX;
use gophership_catalogue::restore::{RestoreRecord, RestoreState};
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
                missing: vec![name.to_owned()],
                rejected: None,
            },
        });
    }

    pub(super) fn rejected(&mut self, entries: u64, records: u64, why: &str) {
        self.counts.rejected_entries += entries;
        self.counts.rejected_records += records;
        let rejected = &mut self.names.rejected;
        rejected.get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts = self.counts.plus(&other.counts);
        self.names.merge(&other.names);
    }

    /// The names, each cut to the length that is kept on record.
    pub(super) fn names_to_keep(&self) -> LossNames {
        let kept = |name: &String| cut(name, JOB_LOSS_NAME_BYTES_MAX);
        LossNames {
            missing: self.names.missing.iter().map(kept).collect(),
            rejected: self.names.rejected.as_ref().map(kept),
        }
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

/// What a restore has not taken in, in words; `None` where it has all of its archive.
pub(super) fn not_restored(restore: &RestoreRecord) -> Option<String> {
    let url = &restore.origin.url;
    let what = match (restore.state, restore.missing) {
        (RestoreState::Running, _) => format!(
            "is running: what it takes in later is missing here ({} objects so far)",
            restore.objects
        ),
        (RestoreState::Incomplete, missing) => format!("is incomplete: {missing} parts of it are missing"),
        (RestoreState::Complete, 0) => return None,
        (RestoreState::Complete, missing) => format!("is complete without {missing} parts, whose loss was accepted"),
    };
    Some(format!(
        "the restore of {url} {what}; gs-ctl cluster status -o json has which"
    ))
}

/// What is missing in all: what a restore has not taken in, and what was passed over.
pub(super) fn together(not_restored: Option<String>, passed_over: Option<String>) -> Option<String> {
    let parts: Vec<String> = not_restored.into_iter().chain(passed_over).collect();
    (!parts.is_empty()).then(|| shortened(&parts.join(". ")))
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
    use gophership_catalogue::testkit::restore_origin;
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
    fn a_long_reason_is_shown_whole_and_cut_for_the_record() {
        let mut loss = Loss::default();
        let what = format!("{} and what to do", "x".repeat(JOB_LOSS_NAME_BYTES_MAX));
        let long = ScanFault { what, ..fault(None) };
        loss.missing(&long);
        assert!(loss.shown().unwrap().ends_with("x and what to do"), "{loss:?}");
        let kept = &loss.names_to_keep().missing[0];
        assert!(
            kept.len() <= JOB_LOSS_NAME_BYTES_MAX && kept.ends_with("x..."),
            "{kept}"
        );
    }

    #[test]
    fn what_a_restore_lacks_is_said_until_it_has_everything() {
        let of = |state, missing| {
            not_restored(&RestoreRecord {
                origin: restore_origin(),
                state,
                began_ns: 1,
                ended_ns: 2,
                objects: 7,
                segments: 8,
                missing,
                names: Vec::new(),
            })
        };
        let said = |state, missing, what: &str| {
            let found = of(state, missing).unwrap();
            assert!(
                found.starts_with("the restore of s3://logs is ") && found.contains(what),
                "{found}"
            );
        };
        said(RestoreState::Running, 0, "running");
        said(RestoreState::Incomplete, 2, "2 parts");
        said(RestoreState::Complete, 3, "without 3 parts, whose loss was accepted");
        assert_eq!(of(RestoreState::Complete, 0), None);
        let both = together(of(RestoreState::Incomplete, 2), Some("more".to_owned())).unwrap();
        assert!(both.contains("2 parts") && both.ends_with(". more"), "{both}");
        assert_eq!(together(None, None), None);
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
        assert!(loss.names_to_keep().rejected.unwrap().len() <= JOB_LOSS_NAME_BYTES_MAX);
    }
}

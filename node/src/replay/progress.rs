//! The progress of a job, which its senders move and others read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gophership_catalogue::job::JobPosition;
use gophership_vault::ScanFault;
use gophership_vault::ids::{NodeId, SegmentId, ShardId};

use super::limits::{FAULTS_NAMED, REASON_BYTES_MAX};
use super::plan::Dropped;
use super::reader;

/// Stretches that could not be read, the first few by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Missing {
    stretches: u64,
    entries: u64,
    named: Vec<String>,
}

impl Missing {
    pub(super) fn add(&mut self, fault: &ScanFault) {
        self.count(reader::entries_lost(fault), || reader::describe(fault));
    }

    pub(super) fn add_dropped(&mut self, first: SegmentId, dropped: &Dropped) {
        self.count(dropped.entries, || reader::describe_dropped(first, dropped));
    }

    fn count(&mut self, entries: u64, name: impl FnOnce() -> String) {
        self.stretches += 1;
        self.entries += entries;
        if self.named.len() < FAULTS_NAMED {
            self.named.push(name());
        }
    }

    /// A text for people; `None` when nothing is missing.
    pub(super) fn shown(&self) -> Option<String> {
        if self.stretches == 0 {
            return None;
        }
        let unnamed = self.stretches - self.named.len() as u64;
        let more = if unnamed > 0 {
            format!("; and {unnamed} more")
        } else {
            String::new()
        };
        let list = shortened(&self.named.join("; "));
        let count = match self.entries {
            0 => "how many entries is not known".to_owned(),
            n => format!("at least {n} entries"),
        };
        Some(format!(
            "{} stretches could not be read ({count}): {list}{more}",
            self.stretches
        ))
    }
}

/// Entries that the sink rejected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Rejected {
    entries: u64,
    records: u64,
    /// The sink's reason for the first.
    why: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    positions: BTreeMap<(NodeId, ShardId), JobPosition>,
    missing: Missing,
    rejected: Rejected,
    /// The sink's last answer, while it does not accept anything.
    trouble: Option<String>,
}

/// A job's progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    inner: Mutex<Inner>,
}

impl Progress {
    pub(super) fn from(positions: BTreeMap<(NodeId, ShardId), JobPosition>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                positions,
                ..Inner::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave a change half made.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn positions(&self) -> BTreeMap<(NodeId, ShardId), JobPosition> {
        self.lock().positions.clone()
    }

    pub(super) fn position(&self, shard: (NodeId, ShardId)) -> Option<JobPosition> {
        self.lock().positions.get(&shard).copied()
    }

    /// Moves the position of a shard.
    pub(super) fn advance(&self, shard: (NodeId, ShardId), to: JobPosition) {
        let mut inner = self.lock();
        inner.positions.insert(shard, to);
        inner.trouble = None;
    }

    pub(super) fn missing(&self, fault: &ScanFault) {
        self.lock().missing.add(fault);
    }

    pub(super) fn dropped(&self, first: SegmentId, dropped: &Dropped) {
        self.lock().missing.add_dropped(first, dropped);
    }

    pub(super) fn rejected(&self, entries: u64, records: u64, why: &str) {
        let rejected = &mut self.lock().rejected;
        rejected.entries += entries;
        rejected.records += records;
        rejected.why.get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn trouble(&self, why: &str) {
        self.lock().trouble = Some(shortened(why));
    }

    /// A text on entries that were not delivered; `None` when nothing was lost so far.
    pub(super) fn not_delivered(&self) -> Option<String> {
        let inner = self.lock();
        let r = &inner.rejected;
        let rejected = (r.entries + r.records > 0).then(|| {
            let why = r.why.as_deref().unwrap_or("for a reason that is not known any more");
            format!(
                "the sink rejected {} entries and {} records; the first: {}",
                r.entries,
                r.records,
                shortened(why)
            )
        });
        let parts: Vec<String> = [rejected, inner.missing.shown()].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| shortened(&parts.join(". ")))
    }

    /// The remark shown for a job under way.
    pub(super) fn remark(&self) -> String {
        let trouble = self
            .lock()
            .trouble
            .as_ref()
            .map(|t| format!("waiting for the sink: {t}"));
        let parts: Vec<String> = [trouble, self.not_delivered()].into_iter().flatten().collect();
        shortened(&parts.join(". "))
    }
}

/// A text cut to the length that may be shown and kept.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= REASON_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(REASON_BYTES_MAX - 3)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use gophership_vault::ids::{EntryNumber, SegmentIndex};

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
        }
    }

    #[test]
    fn what_is_missing_is_named_and_past_some_counted() {
        let mut missing = Missing::default();
        assert_eq!(missing.shown(), None);
        missing.add(&fault(Some((3, 5))));
        missing.add(&fault(None));
        assert_eq!(
            missing.shown().unwrap(),
            "2 stretches could not be read (at least 3 entries): segment 1/0/1, entries 3 to 5: the bytes are bad; \
             segment 1/0/1: the bytes are bad"
        );
        for _ in 0..FAULTS_NAMED {
            missing.add(&fault(Some((1, 1))));
        }
        assert!(missing.shown().unwrap().ends_with("; and 2 more"));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let long = "é".repeat(REASON_BYTES_MAX);
        assert!(shortened(&long).len() <= REASON_BYTES_MAX);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn what_was_not_delivered_is_said() {
        let progress = Progress::default();
        assert_eq!((progress.not_delivered(), progress.remark()), (None, String::new()));
        progress.rejected(1, 7, "InvalidArgument: bad");
        progress.rejected(1, 1, "another");
        assert_eq!(
            progress.not_delivered().unwrap(),
            "the sink rejected 2 entries and 8 records; the first: InvalidArgument: bad"
        );
        progress.trouble("Unavailable: later");
        assert!(
            progress
                .remark()
                .starts_with("waiting for the sink: Unavailable: later. the sink rejected 2")
        );
    }
}
